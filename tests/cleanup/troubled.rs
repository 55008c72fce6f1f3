//! Writers, broken connections, interruption.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Run, Running};
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// Two servers that hold the same strings.
fn pair(keys: usize, size: usize) -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", keys, size);
    Keyferry::copy(source.url(), target.url()).expect(0);
    (source, target)
}

/// What was counted as deleted is what has gone, and nothing was counted twice.
#[track_caller]
fn assert_counts_fit(run: &Run, source: &Server, before: usize) {
    let gone = before - source.client(0).dbsize();
    assert_eq!(run.count("deleted_from_source"), gone as u64, "{}", run.frame());
    let compared = run.count("deleted_from_source") + run.count("kept_on_source");
    assert_eq!(run.count("compared"), compared, "{}", run.frame());
}

#[test]
fn keys_written_meanwhile_survive_with_their_newest_value() {
    const KEYS: usize = 6_000;
    const WRITTEN: usize = 100;
    const SIZE: usize = 500;
    let copied = |number: usize| noise(number as u64 + 1, SIZE);
    let (source, target) = pair(KEYS, SIZE);
    // Slow enough that every key is written to between its comparison and its deletion.
    let slow = Behaviour { rate: Some(3_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let over = AtomicBool::new(false);
    let (run, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = source.client(0);
            let (mut last, mut round) = (HashMap::new(), 0);
            while !over.load(Ordering::SeqCst) {
                round += 1;
                for number in 0..WRITTEN {
                    // Equal every other time, so that it may be found equal and change right then.
                    let value = match round % 2 {
                        0 => copied(number),
                        _ => format!("round {round}").into_bytes(),
                    };
                    // Only to keys that still exist, as an application that uses its data would.
                    let mut set = cmd("SET");
                    set.arg(format!("key:{number}")).arg(&value).arg("XX");
                    if client.call::<redis::Value>(&set) != redis::Value::Nil {
                        last.insert(number, value);
                    }
                }
            }
            last
        });
        let run = Keyferry::cleanup(proxy.url(), target.url()).arg("--force").run();
        over.store(true, Ordering::SeqCst);
        (run, writer.join().expect("the writer does not panic"))
    });
    run.assert_code(&[0, 1]);
    assert_counts_fit(&run, &source, KEYS);
    assert!(run.count("deleted_from_source") >= (KEYS - WRITTEN) as u64, "{}", run.frame());
    assert!(!last.is_empty(), "nothing was written, nothing is tested{}", run.frame());
    for (number, value) in last {
        let found = source.client(0).get(format!("key:{number}").as_bytes());
        // What the target holds, too, may have gone.
        let safe = found.as_ref() == Some(&value) || (found.is_none() && value == copied(number));
        assert!(safe, "the last write to key:{number} is lost{}", run.frame());
    }
}

#[test]
fn a_key_that_vanishes_is_no_difference() {
    let (source, target) = pair(3_000, 100);
    let at = crate::support::now_ms() + 1_000;
    for (server, at) in [(&source, at), (&target, at - 40)] {
        let mut batch = redis::pipe();
        for number in 0..1_000 {
            let key = format!("short:{number}");
            batch.cmd("SET").arg(key).arg("value").arg("PXAT").arg(at + number % 500);
        }
        server.client(0).run_all(&batch);
    }
    // The run goes on while they expire.
    let options = ["--force", "--max-keys-rate", "2000"];
    let run = Keyferry::cleanup(source.url(), target.url()).args(options).expect(0);
    assert_eq!(source.client(0).dbsize(), 0, "{}", run.frame());
    assert_eq!(run.count("kept_on_source"), 0, "{}", run.frame());
}

#[test]
fn cut_connections_leave_counts_that_fit() {
    const KEYS: usize = 5_000;
    for cut in [60_000, 300_000] {
        for of_source in [true, false] {
            let (source, target) = pair(KEYS, 100);
            source.client(0).set(b"key:7", b"changed");
            let behaviour =
                Behaviour { after_replies: Some((cut, Fault::CloseOnce)), ..Behaviour::default() };
            let broken = if of_source { &source } else { &target };
            let proxy = FaultProxy::start(broken.port, behaviour);
            let (from, to) = match of_source {
                true => (proxy.url(), target.url()),
                false => (source.url(), proxy.url()),
            };
            let run = Keyferry::cleanup(from, to).arg("--force").expect(1);
            assert!(proxy.struck(), "nothing broke, nothing is tested{}", run.frame());
            run.assert_counts(&[
                ("compared", KEYS as u64),
                ("deleted_from_source", KEYS as u64 - 1),
            ]);
            assert_eq!(source.client(0).dbsize(), 1, "{}", run.frame());
        }
    }
}

#[test]
fn a_deletion_whose_answer_was_lost_is_counted_as_one() {
    const KEYS: usize = 3_000;
    let (source, target) = pair(KEYS, 100);
    // One connection does what the other never hears of.
    let behaviour = Behaviour {
        for_answer_to: Some((b"UNLINK", Fault::CloseOnce)),
        spared: 20_000,
        ..Behaviour::default()
    };
    let proxy = FaultProxy::start(source.port, behaviour);
    let run = Keyferry::cleanup(proxy.url(), target.url()).arg("--force").expect(0);
    assert!(proxy.struck(), "nothing broke, nothing is tested{}", run.frame());
    run.assert_says(&["connecting again"]);
    run.assert_counts(&[("compared", KEYS as u64), ("deleted_from_source", KEYS as u64)]);
    assert_eq!(source.client(0).dbsize(), 0, "{}", run.frame());
}

#[test]
fn a_source_that_stays_away_ends_the_run_and_nothing_is_counted_that_is_not_known() {
    const KEYS: usize = 5_000;
    let (source, target) = pair(KEYS, 100);
    let behaviour =
        Behaviour { after_replies: Some((200_000, Fault::Close)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, behaviour);
    let run = Keyferry::cleanup(proxy.url(), target.url()).arg("--force").impatient().expect(1);
    assert!(proxy.struck(), "nothing broke, nothing is tested{}", run.frame());
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    let gone = (KEYS - source.client(0).dbsize()) as u64;
    // Deletions whose answers never came are told as failures, not as deletions.
    let (deleted, failed) = (run.count("deleted_from_source"), run.count("failed"));
    assert!(deleted <= gone && gone <= deleted + failed, "{gone} have gone{}", run.frame());
}

#[test]
fn a_target_that_was_restarted_ends_the_run() {
    const KEYS: usize = 5_000;
    let (source, target) = pair(KEYS, 100);
    let port = target.port;
    let options = ["--force", "--max-keys-rate", "1000"];
    let running = Keyferry::cleanup(source.url(), target.url()).args(options).start();
    let mut client = source.client(0);
    wait_until("the first keys have gone", || client.dbsize() < KEYS);
    drop(target);
    // Another process, with nothing of the same.
    let _other = Setup::new(Kind::Redis70).port(port).start();
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["restarted"]);
    let gone = KEYS - client.dbsize();
    assert!(gone < KEYS, "{}", run.frame());
    assert_eq!(run.count("deleted_from_source"), gone as u64, "{}", run.frame());
}

/// Two servers, and a clean-up that takes some seconds, at the moment when the first keys have gone.
#[track_caller]
fn half_way(keys: usize) -> (Server, Server, Running) {
    let (source, target) = pair(keys, 20);
    let options = ["--force", "--max-keys-rate", "2000"];
    let running = Keyferry::cleanup(source.url(), target.url()).args(options).start();
    let mut client = source.client(0);
    wait_until("the first keys have gone", || client.dbsize() < keys);
    (source, target, running)
}

#[test]
fn an_interrupted_run_accounts_for_what_it_did() {
    const KEYS: usize = 20_000;
    let (source, _target, running) = half_way(KEYS);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    assert_counts_fit(&run, &source, KEYS);
    assert!(source.client(0).dbsize() > 0, "it was not interrupted but finished{}", run.frame());
    assert_eq!(run.count("failed"), 0, "{}", run.frame());
}

#[test]
fn twice_stops_at_once_and_deletes_nothing_unproven() {
    const KEYS: usize = 20_000;
    let (_source, target, running) = half_way(KEYS);
    running.signal("INT");
    running.signal("INT");
    running.finish().assert_code(&[130]);
    assert_eq!(target.client(0).dbsize(), KEYS);
}

#[test]
fn large_values_cost_little_memory_and_go_only_if_equal() {
    const MOST: f64 = 64.0 * 1024.0 * 1024.0;
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let value = noise(1, 50_000_000);
    for number in 0..4 {
        source.client(0).set(format!("large:{number}").as_bytes(), &value);
    }
    fill_strings(&mut source.client(0), "middling", 400, 100_000);
    Keyferry::copy(source.url(), target.url()).expect(0);
    source.client(0).run(cmd("SETRANGE").arg("large:2").arg(40_000_000).arg("!!"));
    source.client(0).run(cmd("SETRANGE").arg("middling:9").arg(90_000).arg("!!"));
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    run.assert_counts(&[("compared", 404), ("deleted_from_source", 402)]);
    assert_eq!(source.client(0).dbsize(), 2);
    assert!(source.client(0).exists(b"large:2") && source.client(0).exists(b"middling:9"));
    let peak = run.report()["process"]["peak_resident_bytes"].as_f64().unwrap_or(f64::MAX);
    assert!(peak < MOST, "{}", run.frame());
}

/// Connections that break again and again are no matter of one short value.
#[test]
fn a_storm_of_broken_connections_keeps_no_key() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 2_000, 10);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let mut running = Keyferry::cleanup(source.url(), target.url()).arg("--force").start();
    let mut client = source.client(0);
    let storm = std::time::Instant::now();
    while storm.elapsed() < std::time::Duration::from_secs(2) && !running.is_over() {
        client.run(cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]));
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let run = running.finish();
    run.assert_code(&[0]);
    assert_eq!(source.client(0).dbsize(), 0, "{}", run.frame());
}
