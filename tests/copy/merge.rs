//! `--if-exists merge`: sets, hashes and sorted sets get what they lack, and keep what they have.

use std::collections::{BTreeMap, BTreeSet};

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};

#[track_caller]
fn merge(source: &Server, target: &Server) -> Run {
    Keyferry::copy(source.url(), target.url()).args(["--if-exists", "merge"]).run()
}

fn servers(from: Kind, to: Kind) -> (Server, Server) {
    (Server::start(from), Server::start(to))
}

#[test]
fn members_that_lack_are_added_and_the_rest_stays() {
    let (source, target) = servers(Kind::Redis70, Kind::Valkey81);
    let (mut from, mut to) = (source.client(0), target.client(0));
    from.run(cmd("SADD").arg("set").arg(&["both", "new", "\u{ff}"]));
    to.run(cmd("SADD").arg("set").arg(&["both", "old"]));
    from.run(cmd("HSET").arg("hash").arg(&["both", "source", "new", "source"]));
    to.run(cmd("HSET").arg("hash").arg(&["both", "target", "old", "target"]));
    from.run(cmd("ZADD").arg("zset").arg(&["1.5", "both", "-inf", "new", "0.1", "fraction"]));
    to.run(cmd("ZADD").arg("zset").arg(&["9", "both", "8", "old"]));

    let run = merge(&source, &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("merged", 3)]);
    let set: BTreeSet<String> = to.call(cmd("SMEMBERS").arg("set"));
    assert_eq!(set, ["both", "new", "old", "\u{ff}"].map(String::from).into());
    let hash: BTreeMap<String, String> = to.call(cmd("HGETALL").arg("hash"));
    let wanted = [("both", "target"), ("new", "source"), ("old", "target")];
    assert_eq!(hash, wanted.map(|(field, value)| (field.into(), value.into())).into());
    let zset: Vec<(String, String)> =
        to.call(cmd("ZRANGE").arg("zset").arg(0).arg(-1).arg("WITHSCORES"));
    let wanted = [("new", "-inf"), ("fraction", "0.1"), ("old", "8"), ("both", "9")];
    let wanted: Vec<(String, String)> = wanted.map(|(m, s)| (m.into(), s.into())).into();
    assert!(
        zset.len() == wanted.len()
            && zset.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && near(&a.1, &b.1)),
        "{zset:?}"
    );
}

/// Older servers print a score with more digits than they need.
fn near(a: &str, b: &str) -> bool {
    a == b || a.parse::<f64>().ok() == b.parse::<f64>().ok()
}

#[test]
fn large_ones_are_merged_whole() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    for (server, range) in [(&source, 0..60_000), (&target, 30_000..90_000)] {
        let mut client = server.client(0);
        let members: Vec<String> = range.map(|n| format!("m{n}")).collect();
        for part in members.chunks(10_000) {
            client.run(cmd("SADD").arg("set").arg(part));
            let mut hash = cmd("HSET");
            let mut zset = cmd("ZADD");
            hash.arg("hash");
            zset.arg("zset");
            for member in part {
                hash.arg(member).arg(member);
                zset.arg(&member.as_bytes()[1..]).arg(member);
            }
            client.run(&hash);
            client.run(&zset);
        }
    }
    let run = merge(&source, &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("merged", 3)]);
    for (count, key) in [("SCARD", "set"), ("HLEN", "hash"), ("ZCARD", "zset")] {
        let size: usize = target.client(0).call(cmd(count).arg(key));
        assert_eq!(size, 90_000, "{count} {key}");
    }
    let score: String = target.client(0).call(cmd("ZSCORE").arg("zset").arg("m12345"));
    assert_eq!(score, "12345");
}

#[test]
fn other_types_are_skipped() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    for (server, side) in [(&source, "source"), (&target, "target")] {
        let mut client = server.client(0);
        client.set(b"string", side.as_bytes());
        client.run(cmd("RPUSH").arg("list").arg(side));
        client.run(cmd("XADD").arg("stream").arg("1-1").arg("side").arg(side));
    }
    let run = merge(&source, &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("skipped", 3)]);
    let mut client = target.client(0);
    assert_eq!(client.get(b"string").as_deref(), Some(&b"target"[..]));
    let list: Vec<String> = client.call(cmd("LRANGE").arg("list").arg(0).arg(-1));
    assert_eq!(list, ["target"]);
}

#[test]
fn keys_the_target_lacks_are_copied_whole() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    crate::support::dataset::fill_database(&source, 0);
    target.client(0).run(cmd("SADD").arg("target only").arg("x"));
    let run = merge(&source, &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", source.client(0).dbsize() as u64)]);
    target.client(0).run(cmd("DEL").arg("target only"));
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_key_of_another_type_on_the_target_stays() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    source.client(0).run(cmd("SADD").arg("key").arg("member"));
    source.client(0).run(cmd("HSET").arg("other").arg("f").arg("v"));
    target.client(0).set(b"key", b"a string");
    target.client(0).run(cmd("ZADD").arg("other").arg(1).arg("m"));
    let run = merge(&source, &target);
    // Whether that is a failure or a skipped key is not laid down; a merge it is not.
    run.assert_code(&[0, 1]);
    assert_eq!((run.count("merged"), run.count("copied")), (0, 0), "{}", run.frame());
    assert_eq!(target.client(0).get(b"key").as_deref(), Some(&b"a string"[..]));
    let score: String = target.client(0).call(cmd("ZSCORE").arg("other").arg("m"));
    assert_eq!(score, "1");
}

#[test]
fn merging_does_not_touch_the_expiry() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    for key in ["stays mortal", "stays immortal"] {
        source.client(0).run(cmd("SADD").arg(key).arg("new"));
        target.client(0).run(cmd("SADD").arg(key).arg("old"));
    }
    target.client(0).run(cmd("EXPIRE").arg("stays mortal").arg(5_000));
    source.client(0).run(cmd("EXPIRE").arg("stays immortal").arg(5_000));
    merge(&source, &target).assert_counts(&[("merged", 2)]);
    let left = |key: &str| -> i64 { target.client(0).call(cmd("TTL").arg(key)) };
    assert_eq!(left("stays immortal"), -1);
    assert!((4_900..=5_000).contains(&left("stays mortal")));
}

#[test]
fn a_second_merge_changes_nothing() {
    let (source, target) = servers(Kind::Redis70, Kind::Redis70);
    crate::support::dataset::fill_database(&source, 0);
    Keyferry::copy(source.url(), target.url()).expect(0);
    merge(&source, &target).assert_code(&[0]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_key_that_the_target_lost_meanwhile_is_copied() {
    for kind in ["string", "hash"] {
        let (source, target) = servers(Kind::Redis70, Kind::Redis70);
        for client in [&mut source.client(0), &mut target.client(0)] {
            match kind {
                "string" => client.run(cmd("SET").arg("key").arg("value")),
                _ => client.run(cmd("HSET").arg("key").arg("f").arg("v")),
            }
        }
        source.client(0).run(cmd("EXPIRE").arg("key").arg(5_000));
        // It is there when it is to be written, and gone when it is to be merged.
        let lost = Server::client(&target, 0);
        let lost = std::sync::Mutex::new(lost);
        let proxy = RewritingProxy::start(&target, move |command, reply| {
            let writes = matches!(command[0].as_slice(), b"SET" | b"RESTORE");
            if writes && command[1] == b"key" && (reply == b"$-1\r\n" || reply[0] == b'-') {
                lost.lock().expect("no panic").run(cmd("DEL").arg("key"));
            }
            None
        });
        let run =
            Keyferry::copy(source.url(), proxy.url()).args(["--if-exists", "merge"]).expect(0);
        run.assert_counts(&[("copied", 1)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

/// Keys in pieces that exist are handed to the merge, whose queue is full of others, while it needs room for long
/// members: neither may wait for the other.
#[test]
fn long_members_do_not_wait_for_keys_in_pieces() {
    let source = Setup::new(Kind::Redis70).option("--hash-max-listpack-value", "100000000").start();
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
    let (mut there, mut here) = (source.client(0), target.client(0));
    let (mut of_source, mut of_target) = (redis::pipe(), redis::pipe());
    for number in 0..6_000 {
        of_source.cmd("HSET").arg(format!("small:{number}")).arg("field").arg(number);
        of_target.cmd("HSET").arg(format!("small:{number}")).arg("mine").arg(1);
    }
    there.run_all(&of_source);
    here.run_all(&of_target);
    for number in 0..40_u64 {
        let key = format!("long:{number}");
        for field in 0..3_u64 {
            there.run(cmd("HSET").arg(&key).arg(field).arg(noise(3 * number + field + 1, 500_000)));
        }
        here.run(cmd("HSET").arg(&key).arg("mine").arg(1));
    }
    let run = Keyferry::copy(source.url(), target.url()).args(["--if-exists", "merge"]).expect(0);
    run.assert_counts(&[("merged", 6_040), ("failed", 0)]);
    for key in ["long:7", "small:7"] {
        let fields: u64 = here.call(cmd("HLEN").arg(key));
        assert_eq!(fields, if key.starts_with("long") { 4 } else { 2 });
    }
}
