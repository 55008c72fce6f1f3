//! `--delete-source`: a key goes only when the target has it, as it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::cmd;

use crate::support::client::{Client, fill_strings};
use crate::support::compare::compare;
use crate::support::dataset::{DATABASES, SAME_NUMBERS, fill};
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

#[test]
fn every_copied_key_goes() {
    let servers = [Kind::Redis70, Kind::Redis70, Kind::Valkey81].map(Server::start);
    let [source, target, witness] = servers;
    fill(&source);
    let keys: u64 = DATABASES.iter().map(|&db| source.client(db).dbsize() as u64).sum();
    Keyferry::copy(source.url(), witness.url()).expect(0);
    let run = Keyferry::copy(source.url(), target.url()).arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", keys), ("deleted_from_source", keys)]);
    for db in DATABASES {
        assert_eq!(source.client(db).dbsize(), 0, "database {db} of the source{}", run.frame());
    }
    let found = compare(&witness, &target, &SAME_NUMBERS);
    assert!(found.is_empty(), "what was deleted is not what arrived: {}", found[0]);
}

#[test]
fn what_did_not_travel_stays() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "go", 50, 20);
    fill_strings(&mut source.client(0), "stay", 30, 20);
    for number in 0..5 {
        target.client(0).set(format!("go:{number}").as_bytes(), b"in the way");
    }
    let options = ["--delete-source", "--if-exists", "fail", "--match", "go:*"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(1);
    run.assert_counts(&[
        ("copied", 45),
        ("failed", 5),
        ("filtered", 30),
        ("deleted_from_source", 45),
        ("kept_on_source", 5),
    ]);
    assert_eq!(source.client(0).dbsize(), 35);
    assert!(source.client(0).exists(b"go:4") && source.client(0).exists(b"stay:29"));
}

#[test]
fn a_skipped_key_stays() {
    // The target has another value of that name; deleting ours would lose it.
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 10, 20);
    target.client(0).set(b"key:3", b"another value");
    let options = ["--delete-source", "--if-exists", "skip"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(1);
    run.assert_counts(&[
        ("copied", 9),
        ("skipped", 1),
        ("deleted_from_source", 9),
        ("kept_on_source", 1),
    ]);
    assert_eq!(run.report()["differences"][0]["key"], "key:3", "{}", run.frame());
    assert!(source.client(0).exists(b"key:3"));
}

/// Writes only to keys that still exist, as an application that keeps using its data would;
/// returns the last value that each key is known to have taken.
fn write_until(client: &mut Client, over: &AtomicBool) -> HashMap<String, String> {
    const KEYS: usize = 90;
    let mut last = HashMap::new();
    let add_to_hash = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end \
                       redis.call('HSET', KEYS[1], 'f', ARGV[1]) return 1";
    let mut round = 0;
    while !over.load(Ordering::SeqCst) {
        round += 1;
        for number in 0..KEYS {
            let (key, value) = (format!("written:{number}"), format!("round {round}"));
            // A refused SET is nil, the others tell a length or a count.
            let written: Option<redis::Value> = match number % 3 {
                0 => client.call(cmd("SET").arg(&key).arg(&value).arg("XX")),
                1 => client.call(cmd("RPUSHX").arg(&key).arg(&value)),
                _ => client.call(cmd("EVAL").arg(add_to_hash).arg(1).arg(&key).arg(&value)),
            };
            if !matches!(written, None | Some(redis::Value::Nil | redis::Value::Int(0))) {
                last.insert(key, value);
            }
        }
    }
    last
}

/// The newest value of one of the written keys.
fn newest(client: &mut Client, key: &str, number: usize) -> Option<String> {
    match number % 3 {
        0 => client.call(cmd("GET").arg(key)),
        1 => client.call(cmd("LINDEX").arg(key).arg(-1)),
        _ => client.call(cmd("HGET").arg(key).arg("f")),
    }
}

#[test]
fn no_write_made_during_the_run_is_lost() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    fill_strings(&mut client, "ballast", 4_000, 1_000);
    for number in 0..90 {
        let key = format!("written:{number}");
        match number % 3 {
            0 => client.set(key.as_bytes(), b"round 0"),
            1 => client.run(cmd("RPUSH").arg(&key).arg("round 0")),
            _ => client.run(cmd("HSET").arg(&key).arg("f").arg("round 0")),
        }
    }
    let before = client.dbsize();
    // Slow enough that every key is written to many times between its copy and its deletion.
    let proxy =
        FaultProxy::start(source.port, Behaviour { rate: Some(3_000_000), ..Behaviour::default() });
    let over = AtomicBool::new(false);
    let (run, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&mut source.client(0), &over));
        let run = Keyferry::copy(proxy.url(), target.url()).arg("--delete-source").run();
        over.store(true, Ordering::SeqCst);
        (run, writer.join().expect("the writer does not panic"))
    });
    // Keys that changed are kept; whether that makes the run incomplete is not laid down.
    run.assert_code(&[0, 1]);
    let gone = before - client.dbsize();
    assert_eq!(run.count("deleted_from_source"), gone as u64, "{}", run.frame());
    assert!(gone >= 4_000, "the ballast was not deleted{}", run.frame());
    let mut there = target.client(0);
    for number in 0..90 {
        let key = format!("written:{number}");
        let Some(value) = last.get(&key) else { continue };
        let holder = if client.exists(key.as_bytes()) { &mut client } else { &mut there };
        let found = newest(holder, &key, number);
        assert_eq!(found.as_ref(), Some(value), "the last write to {key} is lost{}", run.frame());
    }
}
