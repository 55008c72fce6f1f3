//! Every value of each of the five servers into each of the five, by each way that there is.

use std::collections::BTreeMap;

use keyferry::payload::{
    FOOTER_BYTES, Family, Knowledge, Policy, Refusal, Way, classify, decode, digest_payload,
    encode, footer, reencode,
};
use redis::{Value, cmd};

use super::{family, learn};
use crate::support::compare::assert_equal;
use crate::support::dataset::{DATABASES, SAME_NUMBERS, fill};
use crate::support::reading::{Expiry, Reader};
use crate::support::server::{Kind, Server};
use crate::support::{now_ms, shown};

/// A key with its payload and expiry.
struct Dumped {
    db: u32,
    key: Vec<u8>,
    payload: Vec<u8>,
    /// As RESTORE takes it: 0 is none.
    expires: i64,
}

fn dump(server: &Server) -> Vec<Dumped> {
    let mut dumped = Vec::new();
    for db in DATABASES {
        let mut reader = Reader::new(server, db);
        let keys: Vec<Vec<u8>> = reader.keys().into_iter().collect();
        let expiries = reader.expiries(&keys);
        let mut client = server.client(db);
        for (key, expiry) in keys.into_iter().zip(expiries) {
            let payload: Option<Vec<u8>> = client.call(cmd("DUMP").arg(&key));
            let expires = match expiry {
                Expiry::Never => 0,
                Expiry::At(at) => at,
                Expiry::Missing => continue,
            };
            let Some(payload) = payload else { continue };
            dumped.push(Dumped { db, key, payload, expires });
        }
    }
    assert!(dumped.len() > 1_300, "only {} keys", dumped.len());
    dumped
}

/// Empties the target and restores what `made` makes of each payload.
#[track_caller]
fn restore(target: &Server, dumped: &[Dumped], made: impl Fn(&Dumped) -> Vec<u8>) {
    target.client(0).run(&cmd("FLUSHALL"));
    for db in DATABASES {
        let mut client = target.client(db);
        for entry in dumped.iter().filter(|entry| entry.db == db) {
            let mut restore = cmd("RESTORE");
            restore.arg(&entry.key).arg(entry.expires).arg(made(entry)).arg("ABSTTL");
            let answer: Result<Value, _> = client.try_call(&restore);
            if let Err(error) = answer {
                panic!("{:?} refuses {}: {error}", target.kind, shown(&entry.key));
            }
        }
    }
}

/// Has the target look through every block that it is given.
fn sanitize(target: &Server) {
    let mut setting = cmd("CONFIG");
    setting.arg("SET").arg("sanitize-dump-payload").arg("yes");
    // One of the five does not know it.
    let _: Result<Value, _> = target.client(0).try_call(&setting);
}

#[track_caller]
fn crosses_to_all(from: Kind) {
    let source = Server::start(from);
    fill(&source);
    let dumped = dump(&source);
    for to in Kind::ALL {
        let target = Server::start(to);
        sanitize(&target);
        let knows = learn(&mut target.client(0), Some(family(to)));
        encoded_for(&source, &target, &dumped, &knows);
        as_classified(&source, &target, &dumped, &knows);
    }
}

/// Every value is encoded anew, also where it need not be.
#[track_caller]
fn encoded_for(source: &Server, target: &Server, dumped: &[Dumped], knows: &Knowledge) {
    let policy = Policy { lossy: true, now_ms: now_ms().unsigned_abs(), ahead_ms: 0 };
    restore(target, dumped, |entry| {
        let made = reencode(&entry.payload, knows, policy)
            .unwrap_or_else(|error| panic!("{}: {error}", shown(&entry.key)));
        let kept = target_keeps(source.kind, target.kind);
        let expires = entry.key.starts_with(b"hash:field-expiry");
        assert_eq!(made.lost.field_expiries, if expires && !kept { 2 } else { 0 });
        made.payload
    });
    assert_equal(source, target, &SAME_NUMBERS);
}

/// Whether nothing of a hash's fields is lost between the two.
fn target_keeps(source: Kind, target: Kind) -> bool {
    let keeps = |kind| matches!(kind, Kind::Redis82 | Kind::Valkey91);
    !keeps(source) || keeps(target)
}

/// Every value goes the way that it is said to go.
#[track_caller]
fn as_classified(source: &Server, target: &Server, dumped: &[Dumped], knows: &Knowledge) {
    let policy = Policy { lossy: true, now_ms: now_ms().unsigned_abs(), ahead_ms: 0 };
    restore(target, dumped, |entry| match classify(&entry.payload, knows, policy) {
        Way::Verbatim => entry.payload.clone(),
        Way::PatchFooter { version } => {
            let patched = footer::patch(&entry.payload, version).expect("a footer");
            let body = &entry.payload[..entry.payload.len() - FOOTER_BYTES];
            [body, &patched.to_bytes()].concat()
        }
        Way::Reencode { lost } => {
            let made = reencode(&entry.payload, knows, policy).expect("a payload");
            assert!(made.lost == lost || lost.active_times || lost.counters, "{lost}");
            made.payload
        }
        other => panic!("{}: {other:?}", shown(&entry.key)),
    });
    assert_equal(source, target, &SAME_NUMBERS);
    same_digests(source, target, dumped);
}

/// What arrived has the digest of what was sent, whatever both keep it in.
#[track_caller]
fn same_digests(source: &Server, target: &Server, dumped: &[Dumped]) {
    let kept = target_keeps(source.kind, target.kind);
    let mut compared = 0;
    for db in DATABASES {
        let mut client = target.client(db);
        for entry in dumped.iter().filter(|entry| entry.db == db) {
            let Some(arrived) = client.call::<Option<Vec<u8>>>(cmd("DUMP").arg(&entry.key)) else {
                continue;
            };
            let (ours, theirs) = (digest_payload(&entry.payload), digest_payload(&arrived));
            let lost = !kept && entry.key.starts_with(b"hash:field-expiry");
            assert_eq!(ours == theirs, !lost, "{} on {:?}", shown(&entry.key), target.kind);
            compared += 1;
        }
    }
    assert!(compared > 1_300, "only {compared} digests were compared");
}

#[test]
fn redis_6_2_crosses_to_all() {
    crosses_to_all(Kind::Redis62);
}

#[test]
fn redis_7_0_crosses_to_all() {
    crosses_to_all(Kind::Redis70);
}

#[test]
fn redis_8_2_crosses_to_all() {
    crosses_to_all(Kind::Redis82);
}

#[test]
fn valkey_8_1_crosses_to_all() {
    crosses_to_all(Kind::Valkey81);
}

#[test]
fn valkey_9_1_crosses_to_all() {
    crosses_to_all(Kind::Valkey91);
}

/// What is made for servers as old as 2.6 the newest still take: none of the older ones is here.
#[test]
fn the_oldest_forms_are_taken_by_all() {
    // It has the newest of all forms, but no fields that expire, which the oldest have no form for.
    let source = Server::start(Kind::Valkey81);
    fill(&source);
    let dumped = dump(&source);
    let policy = Policy { lossy: true, now_ms: now_ms().unsigned_abs(), ahead_ms: 0 };
    for to in Kind::ALL {
        let target = Server::start(to);
        sanitize(&target);
        let knows = learn(&mut target.client(0), Some(family(to)));
        for version in [6, 7, 8] {
            let old = Knowledge::of_version(Family::Redis, version);
            let mut types: BTreeMap<u8, usize> = BTreeMap::new();
            let counted = std::cell::RefCell::new(&mut types);
            restore(&target, &dumped, |entry| {
                let value = decode(&entry.payload).expect("a value");
                let made = match encode(&value, &old, policy) {
                    // There were no streams then.
                    Err(Refusal::NoType("stream")) => encode(&value, &knows, policy),
                    made => made,
                };
                let payload = made.expect("a payload").payload;
                *counted.borrow_mut().entry(payload[0]).or_default() += 1;
                payload
            });
            assert_equal(&source, &target, &SAME_NUMBERS);
            let list = if version == 6 { 1 } else { 14 };
            let scores = if version == 8 { 5 } else { 3 };
            for byte in [0, 2, 4, 11, 12, 13, list, scores] {
                assert!(types.contains_key(&byte), "type {byte} was not made: {types:?}");
            }
        }
    }
}
