//! The proof by names: numbers of keys prove only where nothing else happened, and accuse nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::cmd;

use crate::support::client::{Client, fill_strings};
use crate::support::keyferry::{Keyferry, Run, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 2_000;

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    source.wait_for_certain_counters();
    target.wait_for_certain_counters();
    (source, target)
}

/// A copy that takes some two seconds, some of whose keys are on the target.
fn under_way(source: &Server, target: &Server, options: &[&str]) -> Running {
    let slow = ["--max-keys-rate", "1000"];
    let running = Keyferry::copy(source.url(), target.url()).args(slow).args(options).start();
    wait_until("some keys are copied", || target.client(0).dbsize() >= 300);
    running
}

/// Keys that a server holds.
fn names(client: &mut Client) -> Vec<String> {
    let mut names: Vec<String> = client.call(cmd("KEYS").arg("*"));
    names.sort();
    names
}

/// What was found: mode, missing, extra.
#[track_caller]
fn verified(run: &Run) -> (String, u64, u64) {
    let found = &run.report()["verify"];
    let number = |name: &str| found[name].as_u64().unwrap_or_else(|| panic!("{}", run.frame()));
    (found["mode"].as_str().unwrap_or_default().to_owned(), number("missing"), number("extra"))
}

#[test]
fn numbers_are_enough_between_servers_that_nothing_else_happened_to() {
    for kind in [Kind::Redis62, Kind::Redis70, Kind::Redis82, Kind::Valkey81, Kind::Valkey91] {
        let (source, target) = (Server::start(kind), Server::start(kind));
        fill_strings(&mut source.client(0), "key", 300, 20);
        fill_strings(&mut source.client(3), "key", 200, 20);
        source.client(3).run(cmd("HSET").arg("hash").arg("field").arg("value"));
        let expiring = |key: &str| source.client(0).run(cmd("EXPIRE").arg(key).arg(1_000));
        (0..20).for_each(|number| expiring(&format!("key:{number}")));
        source.wait_for_certain_counters();
        target.wait_for_certain_counters();
        target.reset_commands();
        let run = Keyferry::copy(source.url(), target.url()).expect(0);
        assert_eq!(verified(&run), ("count".into(), 0, 0), "{kind:?}{}", run.frame());
        assert_eq!(run.report()["dbs"][1]["verify"]["mode"], "count", "{}", run.frame());
        assert!(run.stdout.contains("Verified (count)"), "{}", run.frame());
        assert_eq!(target.calls("exists"), 0, "{kind:?}{}", run.frame());
    }
}

#[test]
fn expiries_that_are_set_during_the_copy_are_no_difference_of_names() {
    let (source, target) = servers();
    let running = under_way(&source, &target, &[]);
    let mut expire = redis::pipe();
    for name in names(&mut target.client(0)) {
        expire.cmd("EXPIRE").arg(name).arg(1_000);
    }
    source.client(0).run_all(&expire);
    let run = running.finish();
    run.assert_code(&[0]);
    assert_eq!(verified(&run), ("names".into(), 0, 0), "{}", run.frame());
    assert_eq!(names(&mut source.client(0)), names(&mut target.client(0)));
}

#[test]
fn keys_that_are_renamed_during_the_copy_are_found_by_name() {
    let (source, target) = servers();
    let running = under_way(&source, &target, &[]);
    let copied = names(&mut target.client(0));
    let mut rename = redis::pipe();
    for name in copied.iter().take(100) {
        rename.cmd("RENAME").arg(name).arg(format!("renamed:{name}"));
    }
    source.client(0).run_all(&rename);
    let run = running.finish();
    run.assert_code(&[0]);
    assert_eq!(verified(&run), ("names".into(), 0, 0), "{}", run.frame());
    let held = names(&mut target.client(0));
    for name in names(&mut source.client(0)) {
        assert!(held.binary_search(&name).is_ok(), "{name} is missing{}", run.frame());
    }
    // The target holds what the source has lost, and that is said.
    assert_eq!(run.report()["dbs"][0]["verify"]["gone_from_source"], 100, "{}", run.frame());
    assert!(run.stdout.contains("100 keys of the target"), "{}", run.frame());
    assert!(!run.stdout.contains("the same keys"), "{}", run.frame());
}

/// Its save takes back the count of changes, by which all is known otherwise.
#[test]
fn keys_that_the_source_deletes_are_told_from_those_of_others_also_where_the_target_saves() {
    for kind in Kind::ALL {
        for foreign in [false, true] {
            let (source, target) = (Server::start(kind), Server::start(kind));
            fill_strings(&mut source.client(0), "key", KEYS, 20);
            let running = under_way(&source, &target, &[]);
            let copied = names(&mut target.client(0));
            source.client(0).run(cmd("DEL").arg(&copied[..100]));
            target.client(0).run(&cmd("SAVE"));
            if foreign {
                target.client(0).set(b"foreign", b"value");
            }
            let run = running.finish();
            run.assert_code(&[i32::from(foreign)]);
            let (mode, missing, extra) = verified(&run);
            let gone = run.report()["dbs"][0]["verify"]["gone_from_source"].clone();
            let expected = if foreign { (101, 0) } else { (0, 100) };
            assert_eq!((mode.as_str(), missing), ("names", 0), "{kind:?}{}", run.frame());
            assert_eq!((extra, gone.as_u64().unwrap_or(0)), expected, "{kind:?}{}", run.frame());
        }
    }
}

/// Redis 6.2 and 7.0 count neither a call nor a change when it gets what it waits for.
#[test]
fn a_client_that_waits_on_the_target_makes_no_key_of_the_source() {
    for (kind, certain) in [
        (Kind::Redis62, true),
        (Kind::Redis62, false),
        (Kind::Redis70, true),
        (Kind::Valkey91, true),
    ] {
        let (source, target) = (Server::start(kind), Server::start(kind));
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        source.client(0).run(cmd("RPUSH").arg("queue").arg("element"));
        if certain {
            source.wait_for_certain_counters();
            target.wait_for_certain_counters();
        }
        let mut worker = target.client(0);
        let waits = std::thread::spawn(move || {
            let words = ["queue", "foreign", "LEFT", "LEFT", "0"];
            let _: redis::Value = worker.call(cmd("BLMOVE").arg(&words));
        });
        let mut client = target.client(0);
        wait_until("it waits", || {
            client.info("clients", "blocked_clients").is_some_and(|blocked| blocked == "1")
        });
        let run = under_way(&source, &target, &[]).finish();
        run.assert_code(&[1]);
        assert_eq!(verified(&run).2, 1, "{kind:?} {certain}{}", run.frame());
        run.assert_says(&["foreign"]);
        waits.join().expect("it got the element");
    }
}

#[test]
fn a_key_of_somebody_else_does_not_hide_one_that_is_missing() {
    let (source, target) = servers();
    let running = under_way(&source, &target, &[]);
    let copied = names(&mut target.client(0));
    // As many keys as before.
    target.client(0).run(cmd("RENAME").arg(&copied[7]).arg("foreign"));
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(verified(&run).2, 1, "{}", run.frame());
    run.assert_says(&["foreign"]);
    assert!(run.stdout.contains("other clients"), "{}", run.frame());
}

#[test]
fn a_target_that_is_flushed_during_the_copy_is_told_with_the_cause() {
    for (command, verify) in [("FLUSHALL", "count"), ("FLUSHDB", "full")] {
        let (source, target) = servers();
        let running = under_way(&source, &target, &["--verify", verify]);
        target.client(0).run(&cmd(command));
        let run = running.finish();
        run.assert_code(&[1]);
        assert!(verified(&run).1 >= 300, "{}", run.frame());
        assert!(run.stdout.contains(&format!("{command} was called")), "{}", run.frame());
    }
}

/// A client that makes keys, slower than the copies here, until it is dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(server: &Server) -> Self {
        let (stop, mut client) = (Arc::new(AtomicBool::new(false)), server.client(0));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !told.load(Ordering::SeqCst) {
                client.set(format!("made:{number}").as_bytes(), b"during the copy");
                number += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn keys_that_writers_make_behind_the_scan_are_copied_and_not_missed() {
    for verify in ["count", "full"] {
        let (source, target) = servers();
        let writer = Writer::start(&source);
        let run = under_way(&source, &target, &["--verify", verify]).finish();
        run.assert_code(&[0]);
        assert_eq!(verified(&run).1, 0, "{verify}{}", run.frame());
        drop(writer);
        // The writers have stopped: a second copy brings the rest.
        let again = ["--if-exists", "replace", "--verify", "count"];
        Keyferry::copy(source.url(), target.url()).args(again).expect(0);
        Keyferry::verify(source.url(), target.url()).expect(0);
        assert_eq!(names(&mut source.client(0)), names(&mut target.client(0)));
    }
}

#[test]
fn keys_that_writers_make_are_copied_beside_keys_that_fail() {
    for verify in ["count", "full"] {
        let (source, target) = servers();
        for number in 0..40 {
            target.client(0).set(format!("key:{number}").as_bytes(), b"its own");
        }
        let place = tempfile::TempDir::new().expect("a temporary directory");
        let failures = place.path().join("failures").display().to_string();
        let options = ["--verify", verify, "--if-exists", "fail", "--failures", &failures];
        let running = under_way(&source, &target, &options);
        fill_strings(&mut source.client(0), "made", 100, 20);
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_counts(&[("failed", 40), ("copied", KEYS as u64 + 60)]);
        assert_eq!(verified(&run).1, 0, "{verify}{}", run.frame());
        let named = std::fs::read_to_string(&failures).expect("a list");
        assert_eq!(named.lines().count(), 40);
        assert_eq!(names(&mut source.client(0)), names(&mut target.client(0)));
    }
}

#[test]
fn a_source_that_evicts_during_the_copy_is_the_cause() {
    let (source, target) = servers();
    let running = under_way(&source, &target, &[]);
    let mut client = source.client(0);
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-random"));
    let held: String = client.call(cmd("INFO").arg("memory"));
    let used: u64 = held
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
        .expect("the memory in use");
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(used - 50_000));
    target.client(0).set(b"foreign", b"value");
    let run = running.finish();
    run.assert_code(&[1]);
    let said = run.stdout.replace('\n', " ");
    assert!(said.contains("the source evicted"), "{}", run.frame());
}

#[test]
fn a_source_that_is_flushed_during_the_copy_is_told() {
    let (source, target) = servers();
    let running = under_way(&source, &target, &[]);
    source.client(0).run(&cmd("FLUSHALL"));
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["FLUSHALL"]);
    assert!(!run.stdout.contains("Verified"), "{}", run.frame());
}
