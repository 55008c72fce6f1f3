//! Values longer than the target takes at once: they arrive element by element, whole or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::cmd;

use crate::support::client::Client;
use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::permissions::{PAGE, rules_of};
use crate::support::server::{Kind, Server, Setup};
use crate::support::streams::deliveries;
use crate::support::{now_ms, wait_until};

/// The least that `proto-max-bulk-len` can be: 1 MiB.
const LIMIT: &str = "1mb";
const MB: usize = 1_000_000;
/// What each temporary name begins with.
const TEMPORARY: &str = "keyferry:tmp:*";
/// The keys that `fill` makes and that do not go at once.
const LONG: u64 = 9;

fn limited(kind: Kind) -> Server {
    Setup::new(kind).option("--proto-max-bulk-len", LIMIT).start()
}

fn pair() -> (Server, Server) {
    (Server::start(Kind::Redis70), limited(Kind::Redis70))
}

fn temporary(target: &Server) -> Vec<String> {
    target.client(0).call(cmd("KEYS").arg(TEMPORARY))
}

/// `command key part …` until the key has so many elements; each part is made of its number.
fn add<A: redis::ToRedisArgs>(
    client: &mut Client,
    command: &str,
    key: &str,
    elements: u64,
    part: impl Fn(u64) -> A,
) {
    for start in (0..elements).step_by(100) {
        let mut batch = redis::pipe();
        for number in start..elements.min(start + 100) {
            batch.cmd(command).arg(key).arg(part(number));
        }
        client.run_all(&batch);
    }
}

/// A value of each type that is longer than the limit, small and large elements in each.
fn fill(source: &Server) {
    let mut client = source.client(0);
    for number in 0..50 {
        client.set(format!("small:{number}").as_bytes(), b"value");
    }
    client.set(b"string", &noise(1, 5 * MB));
    // Short enough for the server, but not its DUMP.
    client.set(b"string:edge", &noise(1, 1 << 20));
    add(&mut client, "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    add(&mut client, "RPUSH", "list:large", 6, |n| noise(n, 400_000 * (1 + n as usize % 2)));
    add(&mut client, "SADD", "set", 1_500, |n| noise(n, 1_000));
    client.run(cmd("SADD").arg("set").arg(noise(1, 300_000)));
    add(&mut client, "HSET", "hash", 1_500, |n| (format!("field {n}"), noise(n, 1_000)));
    client.run(cmd("HSET").arg("hash").arg(noise(2, 100_000)).arg(noise(3, 900_000)));
    let score = |n: u64| (f64::from(n as u32) / 3.0).to_string();
    add(&mut client, "ZADD", "zset", 1_500, |n| (score(n), noise(n, 1_000)));
    let edges = [("-inf", 7), ("+inf", 300_000), ("5e-324", 9), ("9007199254740993", 10)];
    for (score, length) in edges {
        client.run(cmd("ZADD").arg("zset").arg(score).arg(noise(4, length)));
    }
    stream(&mut client, "stream");
    client.run(cmd("XADD").arg("stream:plain").arg("9-9").arg("f").arg(noise(1, 900_000)));
    client.run(cmd("XADD").arg("stream:plain").arg("10-0").arg(noise(2, 90_000)).arg(""));
    client.run(
        cmd("XADD")
            .arg("stream:plain")
            .arg("18446744073709551615-3")
            .arg("a")
            .arg(noise(5, 90_000)),
    );
    let far = now_ms() + 3_600_000;
    for (number, key) in ["string", "set", "stream", "zset"].iter().enumerate() {
        client.run(cmd("PEXPIREAT").arg(key).arg(far + number as i64));
    }
    if matches!(source.kind, Kind::Redis82 | Kind::Valkey91) {
        for number in (0..1_500).step_by(7) {
            let mut expire = cmd("HPEXPIREAT");
            expire.arg("hash").arg(far + number).arg("FIELDS").arg(1);
            client.run(expire.arg(format!("field {number}")));
        }
    }
}

/// With groups, consumers, pending entries, some of them deleted at either end and in the middle.
fn stream(client: &mut Client, key: &str) {
    for number in 1..=1_200_u64 {
        let mut add = cmd("XADD");
        add.arg(key).arg(format!("{}-{number}", 1_000 + number / 10));
        client.run(add.arg("n").arg(number).arg("bytes").arg(noise(number, 1_000)));
    }
    for (group, from) in [("readers", "0"), ("late", "1010-100"), ("idle", "$")] {
        client.run(cmd("XGROUP").arg("CREATE").arg(key).arg(group).arg(from));
    }
    for (group, consumer, count) in
        [("readers", "alice", 600), ("readers", "bob", 600), ("late", "carol", 30)]
    {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(count);
        client.run(read.arg("STREAMS").arg(key).arg(">"));
    }
    client.run(cmd("XACK").arg(key).arg("readers").arg("1000-1").arg("1000-2"));
    let mut claim = cmd("XCLAIM");
    claim.arg(key).arg("readers").arg("bob").arg(0).arg("1000-5");
    client.run(claim.arg("RETRYCOUNT").arg(9).arg("IDLE").arg(1_000));
    client.run(cmd("XDEL").arg(key).arg(&["1000-3", "1000-4", "1050-500", "1120-1200"]));
    client.run(cmd("XGROUP").arg("CREATECONSUMER").arg(key).arg("idle").arg("nobody"));
}

#[track_caller]
fn arrives(from: Kind, to: Kind) {
    let (source, target) = (Server::start(from), limited(to));
    fill(&source);
    let run = Keyferry::copy(source.url(), target.url()).args(["--fetch", "dump"]).expect(0);
    run.assert_counts(&[("copied", 50 + LONG)]);
    assert_eq!(run.report()["ways"]["commands"], LONG, "{}", run.frame());
    assert!(run.report()["bytes"].as_u64() > Some(15 * MB as u64), "{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn every_type_arrives_on_redis() {
    arrives(Kind::Redis70, Kind::Redis70);
    arrives(Kind::Redis62, Kind::Redis62);
}

#[test]
fn every_type_arrives_on_valkey() {
    arrives(Kind::Redis62, Kind::Valkey81);
    arrives(Kind::Valkey81, Kind::Valkey81);
}

#[test]
fn every_type_arrives_where_fields_expire() {
    arrives(Kind::Redis82, Kind::Redis82);
    arrives(Kind::Valkey91, Kind::Valkey91);
}

#[test]
fn expiries_of_fields_go_from_one_family_to_the_other() {
    let (source, target) = (Server::start(Kind::Redis82), limited(Kind::Valkey91));
    fill(&source);
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    run.assert_counts(&[("copied", 50 + LONG)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn expiries_of_fields_are_not_lost_unasked() {
    let (source, target) = (Server::start(Kind::Redis82), limited(Kind::Redis70));
    fill(&source);
    let run = Keyferry::copy(source.url(), target.url()).expect(1);
    run.assert_counts(&[("copied", 50 + LONG - 1), ("failed", 1)]);
    let failure = &run.report()["failures"][0];
    assert_eq!(failure["key"], "hash");
    assert!(failure["error"].as_str().is_some_and(|text| text.contains("expir")), "{failure}");
    assert!(!target.client(0).exists(b"hash"));
    assert_eq!(temporary(&target), [""; 0]);
}

#[test]
fn an_element_that_is_too_long_is_named_and_the_others_arrive() {
    let (source, target) = pair();
    fill(&source);
    let mut client = source.client(0);
    client.run(cmd("RPUSH").arg("list:too-long").arg(&["a", "b"]).arg(noise(1, 2 * MB)));
    client.run(cmd("HSET").arg("hash:too-long").arg(noise(2, 2 * MB)).arg("value"));
    client.run(cmd("XADD").arg("stream:too-long").arg("1-1").arg("f").arg(noise(3, 2 * MB)));
    let run = Keyferry::copy(source.url(), target.url()).expect(1);
    run.assert_counts(&[("copied", 50 + LONG), ("failed", 3)]);
    for failure in run.report()["failures"].as_array().expect("failures") {
        let text = failure["error"].as_str().unwrap_or_default();
        assert!(text.contains("proto-max-bulk-len"), "{failure}");
    }
    assert_eq!(temporary(&target), [""; 0]);
    for key in ["list:too-long", "hash:too-long", "stream:too-long"] {
        client.run(cmd("DEL").arg(key));
    }
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn pending_entries_keep_the_moment_of_their_delivery() {
    for kind in Kind::ALL {
        let (source, target) = (Server::start(kind), limited(kind));
        let mut client = source.client(0);
        client.run(cmd("XGROUP").arg("CREATE").arg("stream").arg("g").arg("$").arg("MKSTREAM"));
        for number in 0..250 {
            let mut batch = redis::pipe();
            for entry in 0..10 {
                let id = format!("{}-{entry}", number + 1);
                batch
                    .cmd("XADD")
                    .arg("stream")
                    .arg(id)
                    .arg("f")
                    .arg(noise(number * 10 + entry, 500));
            }
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg("g").arg(format!("consumer {}", number % 3));
            batch.add_command(read.arg("STREAMS").arg("stream").arg(">").clone());
            client.run_all(&batch);
        }
        let run = Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]).expect(0);
        assert_eq!(run.report()["ways"]["commands"], 1, "{kind:?}{}", run.frame());
        let [before, after] = [&source, &target].map(|server| deliveries(server, "stream"));
        assert_eq!(before.len(), 2_500);
        assert_eq!(before, after, "{kind:?}");
    }
}

#[test]
fn what_the_target_holds_is_treated_as_asked() {
    let (source, target) = pair();
    fill(&source);
    target.client(0).set(b"string", b"other");
    target.client(0).run(cmd("SADD").arg("set").arg("mine"));
    let copy = |policy: &str| {
        Keyferry::copy(source.url(), target.url()).args(["--if-exists", policy]).run()
    };
    let run = copy("fail");
    run.assert_code(&[1]);
    run.assert_counts(&[("copied", 57), ("failed", 2)]);
    let run = copy("skip");
    run.assert_code(&[0]);
    run.assert_counts(&[("skipped", 59)]);
    assert_eq!(target.client(0).get(b"string").as_deref(), Some(&b"other"[..]));
    assert_eq!(target.client(0).call::<u64>(cmd("SCARD").arg("set")), 1);
    let run = copy("merge");
    run.assert_code(&[0]);
    run.assert_counts(&[("merged", 3), ("skipped", 56)]);
    assert_eq!(target.client(0).call::<u64>(cmd("SCARD").arg("set")), 1_502);
    let run = copy("replace");
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", 59)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn they_are_deleted_from_the_source_as_they_were_copied() {
    let (source, target, kept) =
        (Server::start(Kind::Redis70), limited(Kind::Redis70), Server::start(Kind::Redis70));
    fill(&source);
    Keyferry::copy(source.url(), kept.url()).expect(0);
    let run = Keyferry::copy(source.url(), target.url()).arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", 59), ("deleted_from_source", 59)]);
    assert_eq!(source.client(0).dbsize(), 0);
    assert_equal(&kept, &target, &[(0, 0)]);
}

#[test]
fn one_that_changed_after_its_copy_stays_on_the_source() {
    let (source, target) = pair();
    add(&mut source.client(0), "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    // Between the renaming on the target and the news of it there is time for a write.
    let delay = Some(Duration::from_millis(100));
    let slow = Behaviour { delay, piece: Some(MB), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, slow);
    let run = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut there = target.client(0);
            wait_until("the key has arrived", || there.exists(b"list"));
            source.client(0).run(cmd("RPUSH").arg("list").arg("later"));
        });
        let run = Keyferry::copy(source.url(), proxy.url()).arg("--delete-source").run();
        writer.join().expect("the writer does not panic");
        run
    });
    run.assert_code(&[1]);
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(run.count("kept_on_source"), 1, "{}", run.frame());
    assert_eq!(source.client(0).call::<u64>(cmd("LLEN").arg("list")), 1_501);
    assert_eq!(target.client(0).call::<u64>(cmd("LLEN").arg("list")), 1_500);
}

/// Adds the user `mover` with these rights and answers its URL.
fn mover(server: &Server, rights: &str) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(">word").arg("~*");
    server.client(0).run(user.arg(rights.split_whitespace().collect::<Vec<_>>()));
    format!("redis://mover:word@127.0.0.1:{}", server.port)
}

#[test]
fn the_rights_that_are_listed_are_enough() {
    let (source, target) = pair();
    fill(&source);
    let (_, paragraph) = PAGE.split_once("\nValues longer than").expect("the paragraph");
    let (paragraph, _) = paragraph.split_once("\n\n").expect("its end");
    let (reader, writer) = paragraph.split_once("of the writer").expect("both users");
    let rights = |user: &str, text: &str| {
        let usual = rules_of(user).into_iter().filter(|rule| rule.starts_with('+'));
        let named = text.split([' ', '\n', '`', '(', ')', ',', ';']);
        // Those that this server does not know are not needed with it.
        let more = named.filter(|word| word.starts_with('+') && !word.starts_with("+hp"));
        usual.chain(more).collect::<Vec<_>>().join(" ")
    };
    let (reader, writer) = (rights("reader", reader), rights("writer", writer));
    assert!(reader.contains("+xpending") && writer.contains("+xsetid"), "{reader} | {writer}");
    let run = Keyferry::copy(mover(&source, &reader), mover(&target, &writer)).expect(0);
    run.assert_counts(&[("copied", 50 + LONG)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

/// One that may not delete lets it expire.
#[test]
fn a_user_that_may_not_unlink_leaves_nothing_behind() {
    for rules in ["+@all -unlink -llen", "+@all -unlink -rename -renamenx"] {
        let (source, target) = pair();
        source.client(0).set(b"string", &noise(1, 5 * MB));
        let run = Keyferry::copy(source.url(), mover(&target, rules)).expect(1);
        run.assert_counts(&[("failed", 1)]);
        assert_eq!(temporary(&target), Vec::<String>::new(), "{rules}{}", run.frame());
        assert_eq!(run.report()["verify"]["extra"], 0, "{rules}{}", run.frame());
    }
}

#[test]
fn a_right_that_lacks_is_named() {
    let (source, target) = pair();
    source.client(0).set(b"string", &noise(1, 5 * MB));
    let run = Keyferry::copy(source.url(), mover(&target, "+@all -eval")).expect(1);
    run.assert_counts(&[("failed", 1)]);
    assert!(run.frame().contains("+eval"), "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0, "{:?}", temporary(&target));
}

#[test]
fn a_target_that_does_not_tell_its_limit_gets_them_too() {
    let (source, target) = pair();
    fill(&source);
    let url = mover(&target, "+@all -config");
    let run = Keyferry::copy(source.url(), url).expect(0);
    run.assert_counts(&[("copied", 50 + LONG)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_cut_on_either_side_costs_nothing() {
    for at in [1_500_000, 6_000_000, 9_000_000] {
        for (policy, of_source) in [("replace", true), ("replace", false), ("fail", false)] {
            let (source, target) = pair();
            fill(&source);
            let (proxy, [from, to]) = FaultProxy::cut_between(&source, &target, of_source, at);
            let run = Keyferry::copy(from, to).args(["--if-exists", policy]).expect(0);
            assert!(proxy.struck());
            run.assert_counts(&[("copied", 50 + LONG)]);
            assert_equal(&source, &target, &[(0, 0)]);
        }
    }
}

#[test]
fn a_cut_leaves_nothing_behind_where_connections_may_not_be_killed() {
    let (source, target) = pair();
    fill(&source);
    let cut = Some((6_000_000, Fault::CloseOnce));
    let behaviour = Behaviour { after_requests: cut, ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, behaviour);
    let url = mover(&target, "+@all -client|kill");
    let url = url.replace(&target.port.to_string(), &proxy.port.to_string());
    let run = Keyferry::copy(source.url(), url).expect(0);
    assert!(proxy.struck());
    run.assert_counts(&[("copied", 50 + LONG)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_lost_answer_does_not_make_our_own_value_somebody_elses() {
    for (policy, rename) in [("fail", &b"RENAMENX"[..]), ("replace", b"RENAME")] {
        let (source, target) = pair();
        source.client(0).set(b"string", &noise(1, 5 * MB));
        let behaviour =
            Behaviour { for_answer_to: Some((rename, Fault::CloseOnce)), ..Behaviour::default() };
        let proxy = FaultProxy::start(target.port, behaviour);
        let run = Keyferry::copy(source.url(), proxy.url()).args(["--if-exists", policy]).expect(0);
        assert!(proxy.struck());
        run.assert_counts(&[("copied", 1)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

/// A source that is slow enough for something to happen while its key is read.
fn slow(source: &Server, rate: u64) -> FaultProxy {
    FaultProxy::start(source.port, Behaviour { rate: Some(rate), ..Behaviour::default() })
}

/// Changes the head of the list again and again while `goes_on`.
fn write_while(client: &mut Client, mut goes_on: impl FnMut() -> bool) {
    let mut round = 0;
    while goes_on() {
        round += 1;
        client.run(cmd("LSET").arg("list").arg(0).arg(format!("round {round}")));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_key_that_is_written_meanwhile_is_begun_anew() {
    let (source, target) = pair();
    add(&mut source.client(0), "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    let proxy = slow(&source, 3_000_000);
    let run = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // It stops when the second reading has begun: the first cannot have been of one moment.
            write_while(&mut source.client(0), || source.calls("watch") < 2);
        });
        let run = Keyferry::copy(proxy.url(), target.url()).expect(0);
        writer.join().expect("the writer does not panic");
        run
    });
    assert!(source.calls("watch") >= 2);
    run.assert_counts(&[("copied", 1)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_key_that_becomes_another_type_is_begun_anew() {
    let (source, target) = pair();
    add(&mut source.client(0), "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    let proxy = slow(&source, 3_000_000);
    let run = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            wait_until("it is being read", || source.calls("lrange") > 2);
            source.client(0).set(b"list", &noise(9, 2 * MB));
        });
        let run = Keyferry::copy(proxy.url(), target.url()).expect(0);
        writer.join().expect("the writer does not panic");
        run
    });
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(source.calls("watch"), 2, "{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_temporary_key_that_somebody_removes_is_begun_anew() {
    let (source, target) = pair();
    add(&mut source.client(0), "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    let proxy = slow(&source, 3_000_000);
    let run = std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            wait_until("a temporary key is there", || temporary(&target).len() == 1);
            // By eviction, say. What comes behind it makes a new key, without the beginning.
            target.client(0).run(cmd("DEL").arg(temporary(&target)));
        });
        let run = Keyferry::copy(proxy.url(), target.url()).expect(0);
        remover.join().expect("the other thread does not panic");
        run
    });
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(source.calls("watch"), 2, "{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_key_that_is_always_written_is_named() {
    let (source, target) = pair();
    add(&mut source.client(0), "RPUSH", "list", 1_500, |n| noise(n, 1_000));
    // Ten times as long as the writer pauses.
    let proxy = slow(&source, 30_000_000);
    let over = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| write_while(&mut source.client(0), || !over.load(Ordering::SeqCst)));
        let run = Keyferry::copy(proxy.url(), target.url()).run();
        over.store(true, Ordering::SeqCst);
        writer.join().expect("the writer does not panic");
        run
    });
    run.assert_code(&[1]);
    run.assert_counts(&[("failed", 1)]);
    assert!(run.frame().contains("was written"), "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0, "{:?}", temporary(&target));
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let (source, target) = pair();
    source.client(0).set(b"string", &noise(1, 12 * MB));
    let proxy = slow(&source, 3_000_000);
    let running = Keyferry::copy(proxy.url(), target.url()).start();
    wait_until("a temporary key is there", || temporary(&target).len() == 1);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    run.assert_counts(&[]);
    assert_eq!(target.client(0).dbsize(), 0, "{:?}", temporary(&target));
}

#[test]
fn an_interruption_at_once_leaves_nothing_behind() {
    let (source, target) = pair();
    let mut client = source.client(0);
    client.set(b"string", &noise(1, 12 * MB));
    add(&mut client, "RPUSH", "list", 4_000, |at| noise(at, 3_000));
    for pause in [0, 1, 2, 5, 20, 60] {
        let proxy = slow(&source, 12_000_000);
        let running = Keyferry::copy(proxy.url(), target.url()).start();
        wait_until("a temporary key is there", || temporary(&target).len() == 1);
        running.signal("INT");
        std::thread::sleep(Duration::from_millis(pause));
        running.signal("INT");
        let run = running.finish();
        run.assert_code(&[130]);
        // What the server still had of a connection that was closed is carried out by then.
        let left = temporary(&target);
        assert!(left.is_empty(), "after {pause} ms: {left:?}{}", run.frame());
        target.client(0).run(&cmd("FLUSHALL"));
    }
}

#[test]
fn what_a_killed_process_leaves_behind_goes_by_itself() {
    let (source, target) = pair();
    source.client(0).set(b"string", &noise(1, 12 * MB));
    let proxy = slow(&source, 3_000_000);
    let mut running = Keyferry::copy(proxy.url(), target.url()).start();
    wait_until("a temporary key is there", || temporary(&target).len() == 1);
    running.signal("KILL");
    wait_until("it is gone", || running.is_over());
    let left = temporary(&target);
    let expires: i64 = target.client(0).call(cmd("PTTL").arg(&left[..]));
    assert!((1..=3_600_000).contains(&expires), "{expires}");
}

#[test]
fn what_a_killed_process_leaves_behind_goes_when_its_run_goes_on() {
    let (source, target) = pair();
    source.client(0).set(b"string", &noise(1, 12 * MB));
    let proxy = slow(&source, 3_000_000);
    let place = tempfile::TempDir::new().expect("a temporary directory");
    let state = place.path().join("state").display().to_string();
    let mut running = Keyferry::copy(proxy.url(), target.url()).args(["--state", &state]).start();
    wait_until("a temporary key is there", || temporary(&target).len() == 1);
    running.signal("KILL");
    wait_until("it is gone", || running.is_over());
    assert_eq!(temporary(&target).len(), 1);
    let run = Keyferry::copy(proxy.url(), target.url())
        .args(["--state", &state, "--verify", "full"])
        .expect(0);
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(temporary(&target), Vec::<String>::new());
    assert_eq!(target.client(0).dbsize(), 1);
}

#[test]
fn they_do_not_take_more_memory_than_was_allowed() {
    let (source, target) = pair();
    let mut client = source.client(0);
    client.set(b"string", &noise(1, 50 * MB));
    add(&mut client, "RPUSH", "list", 40, |n| noise(n, MB));
    add(&mut client, "HSET", "hash", 40, |n| (format!("field {n}"), noise(n, MB)));
    add(&mut client, "SADD", "set", 30_000, |n| noise(n, 1_000));
    let run = Keyferry::copy(source.url(), target.url()).args(["--memory", "32MiB"]).expect(0);
    run.assert_counts(&[("copied", 4)]);
    assert_eq!(run.report()["ways"]["commands"], 4);
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a number");
    assert!(peak < 40 << 20, "{peak}{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}
