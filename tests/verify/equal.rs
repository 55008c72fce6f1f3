//! What is no difference.

use std::time::Duration;

use redis::cmd;

use crate::support::client::{Client, fill_strings};
use crate::support::dataset::{DATABASES, fill, noise};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};
use crate::support::{now_ms, wait_until};

#[track_caller]
fn assert_agree(run: &Run, keys: u64) {
    assert_eq!(run.outcome(), "complete", "{}", run.frame());
    assert_eq!(run.report()["command"], "verify");
    assert_eq!(run.differences(), [], "{}", run.frame());
    assert_eq!(run.count("compared"), keys, "{}", run.frame());
}

fn total_keys(server: &Server) -> u64 {
    DATABASES.iter().map(|&db| server.client(db).dbsize() as u64).sum()
}

#[test]
fn a_copy_of_everything_agrees_both_ways_between_versions() {
    for (from, to) in [
        (Kind::Redis62, Kind::Redis70),
        (Kind::Redis70, Kind::Valkey91),
        (Kind::Redis82, Kind::Redis82),
        (Kind::Valkey91, Kind::Valkey91),
    ] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill(&source);
        let keys = total_keys(&source);
        Keyferry::copy(source.url(), target.url()).expect(0);
        assert_agree(&Keyferry::verify(source.url(), target.url()).expect(0), keys);
        assert_agree(&Keyferry::verify(target.url(), source.url()).expect(0), keys);
    }
}

/// Collections of every type, by commands, so that each server chooses its own encodings.
fn collections(client: &mut Client) {
    for (name, count) in [("small", 5), ("middling", 90), ("long", 20_000)] {
        let key = |kind: &str| format!("{kind}:{name}");
        let mut batch = redis::pipe();
        for number in 0..count {
            batch.cmd("RPUSH").arg(key("list")).arg(format!("item {number}"));
            batch.cmd("SADD").arg(key("intset")).arg(number * 7);
            batch.cmd("SADD").arg(key("set")).arg(format!("member {number}"));
            batch.cmd("HSET").arg(key("hash")).arg(format!("f{number}")).arg(number);
            batch.cmd("ZADD").arg(key("zset")).arg(number).arg(format!("m{number}"));
            batch.cmd("XADD").arg(key("stream")).arg(format!("{}-1", number + 1)).arg("f").arg("v");
            batch.cmd("APPEND").arg(key("string")).arg("compressible ");
        }
        client.run_all(&batch);
    }
}

#[test]
fn other_encodings_of_equal_values_agree() {
    let source = Server::start(Kind::Redis70);
    let target = Setup::new(Kind::Redis70)
        .option("--hash-max-listpack-entries", "0")
        .option("--zset-max-listpack-entries", "0")
        .option("--set-max-intset-entries", "0")
        .option("--list-max-listpack-size", "3")
        .option("--list-compress-depth", "1")
        .option("--stream-node-max-entries", "2")
        .option("--rdbcompression", "no")
        .start();
    collections(&mut source.client(0));
    collections(&mut target.client(0));
    for key in ["hash:small", "zset:small", "intset:small"] {
        let encoding = |server: &Server| -> String {
            server.client(0).call(cmd("OBJECT").arg("ENCODING").arg(key))
        };
        assert_ne!(encoding(&source), encoding(&target), "{key} is kept alike, nothing is tested");
    }
    assert_agree(&Keyferry::verify(source.url(), target.url()).expect(0), 21);
    assert_agree(&Keyferry::verify(target.url(), source.url()).expect(0), 21);
    // And a difference among them is one.
    target.client(0).run(cmd("LSET").arg("list:long").arg(10_000).arg("x"));
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    assert_eq!(run.differences(), [("different".to_owned(), "list:long".to_owned())]);
}

#[test]
fn mapping_and_filters_are_those_of_the_copy() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(3), "a", 50, 20);
    fill_strings(&mut source.client(3), "b", 50, 20);
    source.client(3).run(cmd("SADD").arg("a:set").arg(1));
    fill_strings(&mut target.client(5), "mine", 9, 20);
    let options = ["--db", "3:5", "--match", "a*", "--type", "string"];
    let copied = Keyferry::copy(source.url(), target.url()).args(options);
    copied.args(["--if-exists", "replace"]).expect(0);
    let run = Keyferry::verify(source.url(), target.url()).args(options).expect(0);
    assert_agree(&run, 50);
    assert_eq!(run.count("filtered"), 51, "{}", run.frame());
    // Without the filter, the rest is missing, and the target's own keys are too many.
    let run = Keyferry::verify(source.url(), target.url()).args(["--db", "3:5"]).expect(1);
    let verify = &run.report()["verify"];
    assert_eq!((&verify["missing"], &verify["extra"]), (&51.into(), &9.into()), "{}", run.frame());
}

#[test]
fn databases_that_go_into_one_are_held_against_it_together() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(1), "a", 500, 20);
    fill_strings(&mut source.client(2), "b", 500, 20);
    let options = ["--db", "1:0", "--db", "2:0"];
    let copied = Keyferry::copy(source.url(), target.url()).args(options);
    copied.args(["--if-exists", "skip"]).expect(0);
    assert_agree(&Keyferry::verify(source.url(), target.url()).args(options).expect(0), 1_000);
    target.client(0).set(b"c", b"1");
    let run = Keyferry::verify(source.url(), target.url()).args(options).expect(1);
    assert_eq!(run.differences(), [("extra".to_owned(), "c".to_owned())], "{}", run.frame());
}

#[test]
fn expiries_within_the_tolerance_agree() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    let at = now_ms() + 7_200_000;
    for (server, at) in [(&source, at), (&target, at + 900)] {
        server.client(0).run(cmd("SET").arg("key").arg("value").arg("PXAT").arg(at));
    }
    let tolerant = ["--ttl-tolerance", "1s"];
    assert_agree(&Keyferry::verify(source.url(), target.url()).args(tolerant).expect(0), 1);
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    assert_eq!(run.report()["verify"]["expiry"], 1, "{}", run.frame());
}

#[test]
fn what_catches_up_while_it_is_looked_at_is_no_difference() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 200, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    source.client(0).set(b"late", b"value");
    source.client(0).set(b"key:7", b"changed");
    source.client(0).run(cmd("DEL").arg("key:8"));
    target.reset_commands();
    let running = Keyferry::verify(source.url(), target.url()).start();
    // A string is dumped only when it is looked at again; once is a trial.
    wait_until("the differences are looked at again", || target.calls("dump") > 1);
    let mut client = target.client(0);
    client.set(b"late", b"value");
    client.set(b"key:7", b"changed");
    client.run(cmd("DEL").arg("key:8"));
    let run = running.finish();
    run.assert_code(&[0]);
    assert_agree(&run, 200);
}

#[test]
fn keys_that_expire_meanwhile_are_no_difference() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    // Expires on the target a moment before, within the tolerance.
    let at = now_ms() + 1_200;
    for (server, at) in [(&source, at), (&target, at - 40)] {
        let mut batch = redis::pipe();
        for number in 0..2_000 {
            let key = format!("key:{number}");
            batch.cmd("SET").arg(key).arg("value").arg("PXAT").arg(at + number % 300);
        }
        server.client(0).run_all(&batch);
    }
    std::thread::sleep(Duration::from_millis(900));
    Keyferry::verify(source.url(), target.url()).expect(0);
}

#[test]
fn two_empty_servers_agree() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    assert_agree(&Keyferry::verify(source.url(), target.url()).expect(0), 0);
    target.client(3).set(b"only", b"here");
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    assert_eq!(run.differences(), [("extra".to_owned(), "only".to_owned())], "{}", run.frame());
    Keyferry::verify(source.url(), target.url_of(3)).expect(1);
}

/// Hashes with fields that expire at this time, and that are stored until somebody looks for them.
fn with_dying_fields(server: &Server, at: i64) {
    let mut client = server.client(0);
    client.run(cmd("DEBUG").arg("SET-ACTIVE-EXPIRE").arg(0));
    for number in 0..20 {
        let (key, length) = (format!("hash:{number}"), 20_000 * (number % 2) + 10);
        client.run(cmd("HSET").arg(&key).arg("dying").arg(noise(number, length as usize)));
        client.run(cmd("HPEXPIREAT").arg(&key).arg(at).arg("FIELDS").arg(1).arg("dying"));
        if number < 18 {
            client.run(cmd("HSET").arg(&key).arg("lasting").arg("v"));
        }
    }
}

#[test]
fn fields_that_have_expired_are_no_difference_wherever_they_are_stored() {
    for kind in [Kind::Redis82, Kind::Valkey91] {
        let (source, target) = (Server::start(kind), Server::start(kind));
        let at = now_ms() + 1_000;
        with_dying_fields(&source, at);
        for number in 0..18 {
            let key = format!("hash:{number}");
            target.client(0).run(cmd("HSET").arg(key).arg("lasting").arg("v"));
        }
        wait_until("they have expired", || now_ms() > at + 200);
        for (from, to) in [(&source, &target), (&target, &source)] {
            let run = Keyferry::verify(from.url(), to.url()).run();
            let differing = run.differences();
            // Of a long one it is not known that nothing of it lives.
            assert!(differing.iter().all(|(_, key)| key == "hash:19"), "{kind:?}{}", run.frame());
        }
        // One that lives is a difference.
        let mut client = source.client(0);
        client.run(cmd("HSET").arg("hash:3").arg("living").arg("v"));
        client.run(cmd("HEXPIRE").arg("hash:3").arg(1_000).arg("FIELDS").arg(1).arg("living"));
        let run = Keyferry::verify(source.url(), target.url()).expect(1);
        let found = ("different".to_owned(), "hash:3".to_owned());
        assert!(run.differences().contains(&found), "{kind:?}{}", run.frame());
    }
}
