//! Every type in every encoding arrives exactly, between all pairs of servers, and again without change.

use std::collections::BTreeMap;

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::dataset::{DATABASES, SAME_NUMBERS, fill};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::reading::{Expiry, Reader};
use crate::support::server::{Kind, Server};
use crate::support::shown;

type Expiries = BTreeMap<(u32, Vec<u8>), Expiry>;

/// Keys and expiries of all databases, to see later that nothing moved.
fn expiries(server: &Server) -> Expiries {
    let mut found = Expiries::new();
    for db in DATABASES {
        let mut reader = Reader::new(server, db);
        let keys: Vec<Vec<u8>> = reader.keys().into_iter().collect();
        let times = reader.expiries(&keys);
        found.extend(keys.into_iter().zip(times).map(|(key, expiry)| ((db, key), expiry)));
    }
    found
}

/// Fails unless the keys are the same and each expires at the very same millisecond.
#[track_caller]
fn assert_unmoved(place: &str, before: &Expiries, after: &Expiries) {
    let names = |expiries: &Expiries| -> Vec<(u32, Vec<u8>)> { expiries.keys().cloned().collect() };
    assert!(names(before) == names(after), "{place}: keys came or went");
    for ((db, key), expiry) in before {
        let now = after[&(*db, key.clone())];
        assert_eq!(now, *expiry, "{place}: the expiry of {} in db {db} moved", shown(key));
    }
}

fn total_keys(server: &Server) -> u64 {
    DATABASES.iter().map(|&db| server.client(db).dbsize() as u64).sum()
}

/// Copies everything and checks what the report says about it.
#[track_caller]
fn copy_all(source: &Server, target: &Server, extra: &[&str]) -> Run {
    let run = Keyferry::copy(source.url(), target.url()).args(extra).expect(0);
    assert_eq!(run.outcome(), "complete");
    run.assert_counts(&[("copied", total_keys(source))]);
    run
}

/// One pair of servers: copy, compare, copy again, compare.
#[track_caller]
fn arrives_exactly(from: Kind, to: Kind) -> (Server, Server) {
    let (source, target) = (Server::start(from), Server::start(to));
    fill(&source);
    let (keys_before, expiries_before) = (total_keys(&source), expiries(&source));

    let run = copy_all(&source, &target, &[]);
    assert_equal(&source, &target, &SAME_NUMBERS);
    assert_report_names_both(&run, from, to);

    let first = expiries(&target);
    copy_all(&source, &target, &["--if-exists", "replace"]);
    assert_equal(&source, &target, &SAME_NUMBERS);
    // A source without PEXPIRETIME tells only what is left, which is not exact to the millisecond.
    if from != Kind::Redis62 {
        assert_unmoved("the target, from the first run to the second", &first, &expiries(&target));
        assert_unmoved("the source", &expiries_before, &expiries(&source));
    }
    assert_eq!(total_keys(&source), keys_before, "the source lost or gained keys");
    (source, target)
}

#[track_caller]
fn assert_report_names_both(run: &Run, from: Kind, to: Kind) {
    for (side, kind) in [("source", from), ("target", to)] {
        let server = run.report()[side]["server"].as_str().unwrap_or_default();
        assert!(server.starts_with(kind.version_prefix()), "{side} is {server:?}{}", run.frame());
        let endpoint = run.report()[side]["endpoint"].as_str().unwrap_or_default();
        assert!(endpoint.contains("127.0.0.1:"), "{side} is at {endpoint:?}{}", run.frame());
    }
    assert_eq!(run.report()["command"], "copy");
    // The 9 MB value alone is not all.
    assert!(
        run.report()["bytes"].as_u64().is_some_and(|bytes| bytes > 9_000_000),
        "{}",
        run.frame()
    );
    let mut dbs: Vec<u64> = run.report()["dbs"]
        .as_array()
        .map(|dbs| dbs.iter().filter_map(|db| db["source_db"].as_u64()).collect())
        .unwrap_or_default();
    dbs.sort_unstable();
    assert_eq!(dbs, DATABASES.map(u64::from), "the databases of the report{}", run.frame());
}

#[test]
fn redis_7_0_to_redis_7_0() {
    let (source, target) = arrives_exactly(Kind::Redis70, Kind::Redis70);
    // Encodings are not part of a value, but a RESTORE of the same version keeps them.
    for key in ["string:int:7", "set:int16", "hash:small", "zset:small", "zset:large"] {
        let encoding = |server: &Server| -> String {
            server.client(1).call(cmd("OBJECT").arg("ENCODING").arg(key))
        };
        assert_eq!(encoding(&source), encoding(&target), "the encoding of {key}");
    }
}

#[test]
fn redis_7_0_to_valkey_8_1() {
    arrives_exactly(Kind::Redis70, Kind::Valkey81);
}

#[test]
fn redis_7_0_to_valkey_9_1() {
    arrives_exactly(Kind::Redis70, Kind::Valkey91);
}

#[test]
fn redis_6_2_to_redis_7_0() {
    arrives_exactly(Kind::Redis62, Kind::Redis70);
}

#[test]
fn redis_6_2_to_redis_6_2() {
    arrives_exactly(Kind::Redis62, Kind::Redis62);
}

#[test]
fn redis_6_2_to_valkey_8_1() {
    arrives_exactly(Kind::Redis62, Kind::Valkey81);
}

#[test]
fn valkey_8_1_to_valkey_9_1() {
    arrives_exactly(Kind::Valkey81, Kind::Valkey91);
}

#[test]
fn valkey_9_1_to_valkey_9_1_with_expiring_hash_fields() {
    arrives_exactly(Kind::Valkey91, Kind::Valkey91);
}

#[test]
fn redis_8_2_to_redis_8_2_with_expiring_hash_fields() {
    arrives_exactly(Kind::Redis82, Kind::Redis82);
}

#[test]
fn an_empty_source_is_a_complete_copy_of_nothing() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    assert_eq!(run.outcome(), "complete");
    run.assert_counts(&[]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn a_copied_key_keeps_working() {
    // What arrives must not only read the same but take further commands.
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    fill(&source);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let mut client = target.client(1);
    client.run(cmd("INCR").arg("string:int:7"));
    client.run(cmd("LPUSH").arg("list:plain-node").arg("x"));
    client.run(cmd("PFADD").arg("hll:dense").arg("one more"));
    client.run(cmd("ZINCRBY").arg("zset:large").arg(1).arg("member 7"));
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg("readers").arg("alice").arg("COUNT").arg(100);
    let next: redis::Value = client.call(read.arg("STREAMS").arg("stream:groups").arg(">"));
    assert!(!matches!(next, redis::Value::Nil), "the group forgot what it had not read yet");
}
