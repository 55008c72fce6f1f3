//! Strings that go by value, and the expiry question that is saved where there are none: never at
//! the price of a wrong value or a lost expiry.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill};
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server};

fn pair() -> (Server, Server) {
    (Server::start(Kind::Redis70), Server::start(Kind::Redis70))
}

#[test]
fn both_ways_give_the_same() {
    let source = Server::start(Kind::Redis70);
    fill(&source);
    for fetch in ["auto", "dump"] {
        let target = Server::start(Kind::Valkey81);
        Keyferry::copy(source.url(), target.url()).args(["--fetch", fetch]).expect(0);
        assert_equal(&source, &target, &SAME_NUMBERS);
        assert_eq!(target.calls("set") + target.calls("msetnx") > 3, fetch == "auto");
    }
}

/// As many as it takes for the question to be worth saving.
const MANY: usize = 120_000;

#[test]
fn strings_without_expiries_are_neither_dumped_nor_asked_for_one() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", MANY, 10);
    // A server that has started within this second may have saved without its showing.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    source.reset_commands();
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    run.assert_counts(&[("copied", MANY as u64)]);
    assert_eq!(run.report()["ways"]["commands"], MANY);
    // Two trials of what is permitted, and a sample: INFO's word alone counts for nothing.
    let (dumped, asked) = (source.calls("dump"), source.calls("pexpiretime"));
    assert!(dumped <= 2 && asked < MANY as u64 / 20, "{dumped} dumped, {asked} asked");
    assert_equal(&source, &target, &[(0, 0)]);
}

/// What else is served by the source waits for each of them.
#[test]
fn strings_without_expiries_cost_the_source_one_command_for_forty() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", MANY, 100);
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    source.reset_commands();
    Keyferry::copy(source.url(), target.url()).args(["--verify", "none"]).expect(0);
    let commands = source.all_calls();
    assert!(commands <= MANY as u64 / 40, "{commands} commands");
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn expiries_that_info_keeps_quiet_about_are_copied() {
    let (source, target) = pair();
    let mut client = source.client(0);
    fill_strings(&mut client, "key", MANY, 10);
    for number in 0..MANY / 10 {
        client.run(cmd("EXPIRE").arg(format!("key:{}", number * 10)).arg(5_000 + number));
    }
    let lying = RewritingProxy::of_info(&source, |info| {
        let lines = info.lines().map(|line| match line.split_once(",expires=") {
            Some((keys, _)) if line.starts_with("db") => format!("{keys},expires=0,avg_ttl=0"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\r\n")
    });
    Keyferry::copy(lying.url(), target.url()).args(["--verify", "none"]).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn other_types_among_strings_are_dumped() {
    let (source, target) = pair();
    let mut client = source.client(0);
    for number in 0..2_000 {
        let key = format!("key:{number}");
        match number % 3 {
            0 => client.run(cmd("SET").arg(&key).arg(number)),
            1 => client.run(cmd("RPUSH").arg(&key).arg(number).arg("x")),
            _ => client.run(cmd("HSET").arg(&key).arg("field").arg(number)),
        }
    }
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    run.assert_counts(&[("scanned", 2_000), ("copied", 2_000)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

/// Expiries that appear while a database that had none is being copied: a key has the one that it had
/// when it was read, or none if that was before.
#[test]
fn an_expiry_that_appears_before_its_key_is_read_is_not_lost() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", MANY, 100);
    // Slow enough that all the expiries below come while it runs.
    let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let mut running = Keyferry::copy(proxy.url(), target.url())
        .args(["--connections", "1", "--verify", "none"])
        .start();
    let mut there = target.client(0);
    crate::support::wait_until("the copy has begun", || there.dbsize() > 0);
    let mut here = source.client(0);
    let mut before = Vec::new();
    for number in 0..500 {
        let key = format!("key:{}", number * 240);
        here.run(cmd("EXPIRE").arg(&key).arg(5_000 + number));
        // Certainly read later than this.
        let absent = there.call::<i64>(cmd("EXISTS").arg(&key)) == 0;
        before.extend(absent.then_some(key));
    }
    assert!(!running.is_over(), "the copy ended before the last expiry was set");
    running.finish().assert_code(&[0]);
    let expires = |key: &String| cmd("PEXPIRETIME").arg(key).clone();
    let kept = before.iter().filter(|key| {
        let (of, at) = (here.call::<i64>(&expires(key)), there.call::<i64>(&expires(key)));
        assert!(at == of || at == -1, "{key} expires at {at} and not at {of}");
        at == of
    });
    let kept = kept.count();
    // Some were on their way when they were looked for.
    assert!(kept * 10 >= before.len() * 9 && kept > 100, "{kept} of {} kept theirs", before.len());
}

#[test]
fn existing_strings_follow_the_policy() {
    for (policy, code, counts, value) in [
        ("skip", 0, [("copied", 99), ("skipped", 1)], b"old".as_slice()),
        ("fail", 1, [("copied", 99), ("failed", 1)], b"old"),
        ("merge", 0, [("copied", 99), ("skipped", 1)], b"old"),
        ("replace", 0, [("copied", 100), ("skipped", 0)], b"new"),
    ] {
        let (source, target) = pair();
        fill_strings(&mut source.client(0), "key", 99, 20);
        source.client(0).run(cmd("SET").arg("both").arg("new").arg("EX").arg(900));
        target.client(0).run(cmd("SET").arg("both").arg("old"));
        let run = Keyferry::copy(source.url(), target.url()).args(["--if-exists", policy]);
        run.expect(code).assert_counts(&counts);
        assert_eq!(target.client(0).get(b"both").as_deref(), Some(value), "{policy}");
        let expires = cmd("PTTL").arg("both").clone();
        assert_eq!(target.client(0).call::<i64>(&expires) > 0, policy == "replace", "{policy}");
    }
}

#[test]
fn users_without_the_rights_get_their_keys_by_dump() {
    for (denied, on_source) in
        [("-mget", true), ("-msetnx", false), ("-set", false), ("-multi", true), ("-exec", true)]
    {
        let (source, target) = pair();
        fill_strings(&mut source.client(0), "key", 200, 20);
        let server = if on_source { &source } else { &target };
        let mut user = cmd("ACL");
        user.arg("SETUSER").arg("default").arg("+@all").arg(denied);
        server.client(0).run(&user);
        Keyferry::copy(source.url(), target.url()).expect(0).assert_counts(&[("copied", 200)]);
        server.client(0).run(cmd("ACL").arg("SETUSER").arg("default").arg("+@all"));
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

#[test]
fn one_refused_string_does_not_take_its_neighbours_along() {
    // A user who may write only some of the names: an MSETNX that carries others is refused whole.
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "yes", 300, 20);
    fill_strings(&mut source.client(0), "no", 3, 20);
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("some").arg("on").arg("nopass");
    user.arg("+@all").arg("~yes:*").arg("~keyferry:*");
    target.client(0).run(&user);
    let url = format!("redis://some:any@127.0.0.1:{}", target.port);
    let run = Keyferry::copy(source.url(), url).args(["--verify", "none"]).expect(1);
    run.assert_counts(&[("copied", 300), ("failed", 3)]);
    assert_eq!(target.client(0).dbsize(), 300);
}
