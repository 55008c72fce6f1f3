//! `--if-exists merge` while connections break and other clients write: a page of members is there whole,
//! with its expiries, on the key that was looked at, or not at all.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::now_ms;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server};

/// Servers whose fields of hashes expire.
const KINDS: [Kind; 2] = [Kind::Redis82, Kind::Valkey91];

#[track_caller]
fn merge(source: String, target: String) -> Run {
    Keyferry::copy(source, target).args(["--if-exists", "merge"]).expect(0)
}

fn servers(kind: Kind) -> (Server, Server) {
    (Server::start(kind), Server::start(kind))
}

/// Gives fields of `hash` this expiry, in Unix milliseconds.
fn expire(server: &Server, at: i64, fields: &[String]) {
    for fields in fields.chunks(1_000) {
        let mut expire = cmd("HPEXPIREAT");
        expire.arg("hash").arg(at).arg("FIELDS").arg(fields.len()).arg(fields);
        server.client(0).run(&expire);
    }
}

/// When each field of `hash` expires (-1: never).
fn expiries(server: &Server) -> BTreeMap<String, i64> {
    let fields: Vec<String> = server.client(0).call(cmd("HKEYS").arg("hash"));
    let mut ask = cmd("HPEXPIRETIME");
    ask.arg("hash").arg("FIELDS").arg(fields.len()).arg(&fields);
    let told: Vec<i64> = server.client(0).call(&ask);
    fields.into_iter().zip(told).collect()
}

/// A hash whose two fields expire, and one with a field of its own; what the second has to be.
fn hashes(kind: Kind) -> (Server, Server, BTreeMap<String, i64>) {
    let (source, target) = servers(kind);
    let at = now_ms() + 5_000_000;
    source.client(0).run(cmd("HSET").arg("hash").arg(&["one", "1", "two", "2"]));
    expire(&source, at, &["one", "two"].map(String::from));
    target.client(0).run(cmd("HSET").arg("hash").arg("own").arg("o"));
    let wanted = [("one", at), ("two", at), ("own", -1)];
    (source, target, wanted.map(|(field, at)| (field.to_owned(), at)).into())
}

#[test]
fn a_field_is_never_left_without_its_expiry_by_a_broken_connection() {
    for kind in KINDS {
        for command in [&b"HSETNX"[..], b"HPEXPIREAT", b"EXEC"] {
            let (source, target, wanted) = hashes(kind);
            let behaviour = Behaviour {
                for_answer_to: Some((command, Fault::CloseOnce)),
                ..Behaviour::default()
            };
            let proxy = FaultProxy::start(target.port, behaviour);
            let run = merge(source.url(), proxy.url());
            assert_eq!(expiries(&target), wanted, "{kind:?} {command:?}{}", run.frame());
        }
    }
}

#[test]
fn a_field_is_never_left_without_its_expiry_wherever_a_connection_breaks() {
    let (source, target, wanted) = hashes(Kind::Redis82);
    let received = || -> u64 {
        let told = target.client(0).info("stats", "total_net_input_bytes");
        told.and_then(|told| told.parse().ok()).expect("a number")
    };
    let before = received();
    merge(source.url(), target.url());
    let all = received() - before;
    // The merge is among the last bytes.
    for at in (all.saturating_sub(1_100)..all).step_by(29) {
        target.client(0).run(cmd("HDEL").arg("hash").arg("one").arg("two"));
        let cut = Some((at, Fault::CloseOnce));
        let behaviour = Behaviour { after_requests: cut, ..Behaviour::default() };
        let proxy = FaultProxy::start(target.port, behaviour);
        let run = merge(source.url(), proxy.url());
        assert_eq!(expiries(&target), wanted, "cut at {at}{}", run.frame());
    }
}

/// The target behind a proxy where another client does this once, before the answer to this command
/// about this key, or field, is passed on.
fn disturbed(
    target: &Server,
    (command, word): (&'static [u8], &'static [u8]),
    other: impl Fn(&mut crate::support::client::Client) + Send + Sync + 'static,
) -> RewritingProxy {
    let client = Mutex::new(target.client(0));
    let done = AtomicBool::new(false);
    RewritingProxy::start(target, move |words, _| {
        let meant = words[0] == command && words.iter().any(|one| one == word);
        if meant && !done.swap(true, Ordering::SeqCst) {
            other(&mut client.lock().expect("no panic"));
        }
        None
    })
}

#[test]
fn a_key_that_is_deleted_between_look_and_write_is_copied_whole() {
    for add in [&["SADD", "key", "m"][..], &["HSET", "key", "m", "1"], &["ZADD", "key", "1", "m"]] {
        let (source, target) = servers(Kind::Redis70);
        let adding = |last: &str| {
            let mut words = add.to_vec();
            let at = words.iter().position(|word| *word == "m").expect("a member");
            words[at] = last;
            let mut command = cmd(words[0]);
            command.arg(&words[1..]);
            command
        };
        source.client(0).run(&adding("source"));
        source.client(0).run(cmd("EXPIRE").arg("key").arg(5_000));
        target.client(0).run(&adding("target"));
        let proxy = disturbed(&target, (b"PTTL", b"key"), |other| other.run(cmd("DEL").arg("key")));
        let run = merge(source.url(), proxy.url());
        run.assert_counts(&[("copied", 1)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

#[test]
fn a_field_that_another_client_sets_meanwhile_keeps_its_value_and_gets_no_expiry() {
    // Between look and write, and behind the first write.
    let moments: [(&[u8], &[u8]); 2] = [(b"PTTL", b"hash"), (b"HSETNX", b"one")];
    for (kind, moment) in KINDS.into_iter().flat_map(|kind| moments.map(|of| (kind, of))) {
        let (source, target, mut wanted) = hashes(kind);
        let proxy = disturbed(&target, moment, |other| {
            other.run(cmd("HSET").arg("hash").arg("one").arg("theirs"));
        });
        let run = merge(source.url(), proxy.url());
        run.assert_counts(&[("merged", 1)]);
        wanted.insert("one".to_owned(), -1);
        assert_eq!(expiries(&target), wanted, "{kind:?}{}", run.frame());
        let value: String = target.client(0).call(cmd("HGET").arg("hash").arg("one"));
        assert_eq!(value, "theirs");
    }
}

/// Somebody writes to the key each time, so that no page can be proven.
#[test]
fn a_key_that_is_written_again_and_again_is_named() {
    let (source, target, _) = hashes(Kind::Redis82);
    let client = Mutex::new(target.client(0));
    let proxy = RewritingProxy::start(&target, move |words, _| {
        if words[0] == b"PTTL" && words[1] == b"hash" {
            let mut client = client.lock().expect("no panic");
            client.run(cmd("HINCRBY").arg("hash").arg("count").arg(1));
        }
        None
    });
    let run = Keyferry::copy(source.url(), proxy.url()).args(["--if-exists", "merge"]).expect(1);
    run.assert_counts(&[("failed", 1)]);
    assert_eq!(run.report()["failures"][0]["key"], "hash", "{}", run.frame());
    let fields: Vec<String> = target.client(0).call(cmd("HKEYS").arg("hash"));
    assert_eq!(fields, ["own", "count"], "{}", run.frame());
}

#[test]
fn keys_that_the_target_loses_behind_the_merge_are_counted_once() {
    const KEYS: usize = 200;
    for policy in ["merge", "skip"] {
        let (source, target) = servers(Kind::Redis70);
        for number in 0..KEYS {
            for (server, member) in [(&source, "source"), (&target, "target")] {
                server.client(0).run(cmd("SADD").arg(format!("set:{number}")).arg(member));
            }
        }
        // Those that are settled go when the last comes.
        let others = Mutex::new((target.client(0), Vec::new()));
        let settles: &[u8] = if policy == "merge" { b"SADD" } else { b"RESTORE" };
        let proxy = RewritingProxy::start(&target, move |words, _| {
            let meant = words[0] == settles && words[1].starts_with(b"set:");
            let mut others = others.lock().expect("no panic");
            let (client, settled) = &mut *others;
            if meant && !settled.contains(&words[1]) {
                settled.push(words[1].clone());
                if settled.len() == KEYS {
                    client.run(cmd("DEL").arg(&settled[..KEYS / 2]));
                }
            }
            None
        });
        let run = Keyferry::copy(source.url(), proxy.url()).args(["--if-exists", policy]).expect(0);
        assert_eq!(run.count("scanned"), KEYS as u64, "{policy}{}", run.frame());
        assert_eq!(target.client(0).dbsize(), KEYS, "{policy}{}", run.frame());
    }
}

#[test]
fn large_hashes_whose_fields_expire_are_merged_whole() {
    const FIELDS: usize = 5_000;
    for (from, to) in [(KINDS[0], KINDS[1]), (KINDS[1], KINDS[0])] {
        let (source, target) = (Server::start(from), Server::start(to));
        let names = |range: std::ops::Range<usize>| -> Vec<String> {
            range.map(|number| format!("field {number}")).collect()
        };
        let at = now_ms() + 5_000_000;
        // The middle third is on both sides, and there another expiry, or none, stays.
        let half = FIELDS / 2;
        for (server, value, range) in
            [(&source, "source", 0..FIELDS), (&target, "target", half..FIELDS + half)]
        {
            for part in names(range).chunks(500) {
                let pairs: Vec<(&str, &str)> = part.iter().map(|one| (&one[..], value)).collect();
                server.client(0).run(cmd("HSET").arg("hash").arg(pairs));
            }
        }
        expire(&source, at, &names(0..FIELDS - 1_000));
        expire(&target, at + 7, &names(half..half + 500));
        let run = merge(source.url(), target.url());
        run.assert_counts(&[("merged", 1)]);
        let wanted: BTreeMap<String, i64> = (0..FIELDS + half)
            .map(|number| {
                let at = match number {
                    _ if number < half => at,
                    _ if number < half + 500 => at + 7,
                    _ => -1,
                };
                (format!("field {number}"), at)
            })
            .collect();
        assert!(expiries(&target) == wanted, "{from:?} {to:?}{}", run.frame());
        let all: BTreeMap<String, String> = target.client(0).call(cmd("HGETALL").arg("hash"));
        let sources = all.values().filter(|value| *value == "source").count();
        assert_eq!(sources, half, "{from:?} {to:?}{}", run.frame());
    }
}

/// Nothing is added where the expiry cannot be.
#[test]
fn fields_that_expire_are_not_added_where_they_cannot() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis70));
    source.client(0).run(cmd("HSET").arg("hash").arg(&["one", "1", "two", "2"]));
    expire(&source, now_ms() + 5_000_000, &["one".to_owned()]);
    target.client(0).run(cmd("HSET").arg("hash").arg("own").arg("o"));
    let command = || Keyferry::copy(source.url(), target.url()).args(["--if-exists", "merge"]);
    let run = command().expect(1);
    run.assert_counts(&[("failed", 1)]);
    let error = run.report()["failures"][0]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("fields expire"), "{error}{}", run.frame());
    let held = || -> Vec<String> { target.client(0).call(cmd("HKEYS").arg("hash")) };
    assert_eq!(held(), ["own"], "{}", run.frame());
    let run = command().arg("--lossy").expect(0);
    run.assert_counts(&[("merged", 1)]);
    assert_eq!(held(), ["own", "one", "two"], "{}", run.frame());
}
