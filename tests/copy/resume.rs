//! `--state FILE`: the same command goes on where an interrupted or killed one was.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use redis::cmd;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::{DATABASES, fill};
use crate::support::keyferry::{Keyferry, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 20_000;

/// Two servers and the file between their runs.
struct Journey {
    source: Server,
    target: Server,
    directory: TempDir,
}

impl Journey {
    #[track_caller]
    fn new(source: Kind, target: Kind) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self { source: Server::start(source), target: Server::start(target), directory }
    }

    /// Of strings without an expiry.
    #[track_caller]
    fn of_strings() -> Self {
        let journey = Self::new(Kind::Redis70, Kind::Redis70);
        fill_strings(&mut journey.source.client(0), "key", KEYS, 100);
        journey
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn state(&self) -> PathBuf {
        self.file("state.json")
    }

    fn without_state(&self) -> Keyferry {
        Keyferry::copy(self.source.url(), self.target.url())
    }

    fn copy(&self) -> Keyferry {
        self.without_state().arg("--state").arg(self.state())
    }

    /// A run that takes some seconds, once so many keys have arrived and some of them are kept.
    #[track_caller]
    fn begin(&self, copy: Keyferry, arrived: usize) -> Running {
        let mut running = copy.args(["--max-keys-rate", "8000"]).start();
        let mut client = self.target.client(0);
        wait_until("keys have arrived and are kept", || {
            (client.dbsize() > arrived && self.kept("scanned") > 0) || running.is_over()
        });
        assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
        running
    }

    /// One of the counters in the file, over all databases.
    fn kept(&self, counter: &str) -> u64 {
        let Ok(text) = fs::read(self.state()) else { return 0 };
        let state: Value = serde_json::from_slice(&text).expect("the file is whole at any time");
        let databases = state["databases"].as_array().expect("databases");
        databases.iter().filter_map(|of| of["counters"][counter].as_u64()).sum()
    }

    /// Writes something else into the file.
    #[track_caller]
    fn change_state(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.state()).expect("the file is there");
        let mut state = serde_json::from_slice(&text).expect("it is JSON");
        change(&mut state);
        fs::write(self.state(), state.to_string()).expect("it can be written");
    }

    /// Keys that were read from the source since the last time: each is looked up for its value and
    /// for its expiry.
    #[track_caller]
    fn take_reads(&self) -> u64 {
        let reads = self.source.client(0).info("stats", "keyspace_hits").expect("hits");
        self.source.reset_commands();
        reads.parse::<u64>().expect("a number") / 2
    }
}

#[track_caller]
fn kill(running: Running) {
    running.signal("KILL");
    assert_eq!(running.finish().code(), None);
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let journey = Journey::of_strings();
    journey.source.reset_commands();
    let copy = || journey.copy().args(["--verify", "none"]);
    kill(journey.begin(copy(), KEYS / 2));
    let kept = journey.kept("scanned");
    let killed = journey.take_reads();
    let run = copy().expect(0);
    run.assert_counts(&[("copied", KEYS as u64)]);
    let resumed = journey.take_reads();
    assert!(resumed <= KEYS as u64 - kept, "{resumed} keys were read again, {kept} were kept");
    assert!(killed + resumed < KEYS as u64 * 3 / 2, "{killed} and {resumed}");
    assert_equal(&journey.source, &journey.target, &[(0, 0)]);
    assert_eq!(fs::read_dir(journey.directory.path()).unwrap().count(), 0, "no file is left");
}

#[test]
fn keys_that_failed_before_there_was_a_file_of_failures_make_it_incomplete() {
    let journey = Journey::of_strings();
    // In the way of some keys.
    let mut batch = redis::pipe();
    for number in (0..KEYS).step_by(10) {
        batch.cmd("SET").arg(format!("key:{number}")).arg("theirs");
    }
    journey.target.client(0).run_all(&batch);
    let file = journey.file("failures.jsonl");
    let copy = || journey.copy().args(["--if-exists", "fail"]);
    kill(journey.begin(copy(), KEYS / 2));
    let before = journey.kept("failed");
    assert!(before > 0, "nothing failed before");
    let run = copy().arg("--failures").arg(&file).expect(1);
    run.assert_counts(&[("failed", KEYS as u64 / 10), ("copied", KEYS as u64 * 9 / 10)]);
    assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
    run.assert_says(&["failed before", "not in the file of failures"]);
    let letters = fs::read_to_string(&file).expect("the file of failures").lines().count();
    assert!(letters as u64 <= KEYS as u64 / 10 - before, "{letters} letters, {before} before");
}

#[test]
fn a_file_of_failures_of_another_run_is_not_taken_for_its_own() {
    let journey = Journey::of_strings();
    let mut batch = redis::pipe();
    for number in (0..KEYS).step_by(10) {
        batch.cmd("SET").arg(format!("key:{number}")).arg("theirs");
    }
    journey.target.client(0).run_all(&batch);
    let file = journey.file("failures.jsonl");
    let all = journey.without_state().args(["--if-exists", "fail", "--failures"]).arg(&file);
    let all = all.expect(1);
    assert_eq!(all.report()["dead_letters_complete"], true, "{}", all.frame());
    let mut client = journey.target.client(0);
    client.run(&cmd("FLUSHDB"));
    client.run_all(&batch);
    let copy = || journey.copy().args(["--if-exists", "fail"]);
    kill(journey.begin(copy(), KEYS / 2));
    assert!(journey.kept("failed") > 0, "nothing failed before");
    let run = copy().arg("--failures").arg(&file).expect(1);
    assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_does() {
    let journey = Journey::of_strings();
    let running = journey.begin(journey.copy(), KEYS / 3);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    let state = journey.state();
    let state = state.to_str().unwrap();
    assert!(run.stdout.contains("same command") && run.stdout.contains(state), "{}", run.frame());
    assert_eq!(run.report()["checkpoint"], state);
    let run = journey.copy().args(["--verify", "full"]).expect(0);
    run.assert_counts(&[("copied", KEYS as u64)]);
    assert!(!journey.state().exists());
}

#[test]
fn killed_at_any_moment_again_and_again_it_ends_with_equal_data() {
    let journey = Journey::new(Kind::Redis62, Kind::Valkey91);
    fill(&journey.source);
    fill_strings(&mut journey.source.client(0), "key", KEYS, 100);
    for _ in 0..7 {
        let running = journey.copy().args(["--max-keys-rate", "20000"]).start();
        std::thread::sleep(any_time(Duration::from_millis(500)));
        running.signal("KILL");
        if running.finish().code() == Some(0) {
            break;
        }
    }
    if journey.state().exists() {
        journey.copy().expect(0);
    }
    assert_equal(&journey.source, &journey.target, &DATABASES.map(|db| (db, db)));
}

/// Any moment will do; another one each time.
fn any_time(within: Duration) -> Duration {
    within.mul_f64(fastrand::f64())
}

/// Kills so many runs, each at a moment of its own, and lets each go on: nothing is lost, and all of them
/// together read less than half as much again as was needed.
#[track_caller]
fn killed_runs_go_on(runs: u32) {
    let journey = Journey::new(Kind::Redis70, Kind::Redis82);
    fill(&journey.source);
    fill_strings(&mut journey.source.client(0), "key", 30_000, 100);
    let pairs = DATABASES.map(|db| (db, db));
    let empty = || DATABASES.iter().for_each(|&db| journey.target.client(db).run(&cmd("FLUSHDB")));
    let (mut read, mut needed, mut killed) = (0, 0, 0);
    for run in 0..runs {
        // As fast as it goes, and slower, by turns.
        let rate: &[&str] = if run % 2 == 0 { &["--max-keys-rate", "15000"] } else { &[] };
        let copy = |state: bool| {
            let copy = if state { journey.copy() } else { journey.without_state() };
            copy.args(["--verify", "none"]).args(rate)
        };
        empty();
        journey.source.reset_commands();
        let began = Instant::now();
        copy(false).expect(0);
        let whole = began.elapsed();
        needed += journey.take_reads();
        empty();
        let running = copy(true).start();
        std::thread::sleep(any_time(whole));
        running.signal("KILL");
        killed += u32::from(running.finish().code() != Some(0));
        // It may have come to its end just before.
        if journey.state().exists() || journey.target.client(0).dbsize() == 0 {
            copy(true).expect(0);
        }
        read += journey.take_reads();
        assert_equal(&journey.source, &journey.target, &pairs);
    }
    eprintln!("{killed} of {runs} runs killed; {read} reads where {needed} were needed");
    assert!(killed > 0, "none was killed in time");
    assert!(read * 2 < needed * 3, "{read} reads where {needed} were needed");
}

#[test]
fn runs_that_are_killed_read_little_twice() {
    killed_runs_go_on(4);
}

#[test]
#[ignore = "fifty runs: make soak"]
fn fifty_runs_that_are_killed_read_little_twice() {
    killed_runs_go_on(50);
}

#[test]
fn another_plan_or_server_is_refused_with_what_differs() {
    let journey = Journey::of_strings();
    kill(journey.begin(journey.copy(), 100));
    let arrived = journey.target.client(0).dbsize();
    let run = journey.copy().args(["--match", "key:1*"]).expect(5);
    run.assert_says(&["another plan", "--match was nothing and is 'key:1*'"]);
    let run = journey.copy().args(["--if-exists", "replace"]).expect(5);
    run.assert_says(&["--if-exists was nothing and is replace"]);
    let other = Server::start(Kind::Redis70);
    let run = Keyferry::copy(journey.source.url(), other.url()).arg("--state").arg(journey.state());
    run.expect(5).assert_says(&["target was redis://127.0.0.1"]);
    journey.change_state(|state| state["source"]["server"] = "redis 6.0.1".into());
    journey.copy().expect(5).assert_says(&["another server", "the source was redis 6.0.1"]);
    assert_eq!((journey.target.client(0).dbsize(), other.client(0).dbsize()), (arrived, 0));
}

#[test]
fn a_damaged_file_is_refused() {
    let journey = Journey::of_strings();
    for damaged in ["", "{", "{}", "[1, 2]", "\0\u{1}", r#"{"keyferry_checkpoint": 1}"#] {
        fs::write(journey.state(), damaged).unwrap();
        journey.copy().expect(5).assert_says(&["checkpoint", "damaged", "remove it"]);
    }
    fs::write(journey.state(), r#"{"keyferry_checkpoint": 9}"#).unwrap();
    journey.copy().expect(5).assert_says(&["checkpoint", "another version", "remove it"]);
    assert_eq!(journey.target.client(0).dbsize(), 0);
}

#[test]
fn a_second_process_is_kept_away() {
    let journey = Journey::of_strings();
    let first = journey.begin(journey.copy(), 100);
    journey.copy().expect(5).assert_says(&["in use by another process"]);
    let run = first.finish();
    run.assert_code(&[0]);
    assert_eq!(run.count("copied"), KEYS as u64);
}

#[test]
fn a_restarted_server_is_begun_anew() {
    for side in ["source", "target"] {
        let journey = Journey::of_strings();
        kill(journey.begin(journey.copy(), KEYS / 3));
        // What the file would say, had it been another process.
        journey.change_state(|state| state[side]["run_id"] = "f".repeat(40).into());
        if side == "target" {
            journey.target.client(0).run(cmd("FLUSHALL").arg("SYNC"));
        }
        let run = journey.copy().expect(0);
        run.assert_says(&[side, "restarted", "anew"]);
        run.assert_counts(&[("copied", KEYS as u64)]);
        assert_equal(&journey.source, &journey.target, &[(0, 0)]);
    }
}

#[test]
fn what_an_earlier_run_wrote_is_not_taken_for_somebody_elses() {
    let journey = Journey::of_strings();
    let theirs = 10;
    for number in 0..theirs {
        journey.target.client(0).set(format!("key:{number}").as_bytes(), b"theirs");
    }
    let copy = || {
        let letters = journey.file("failures.jsonl");
        journey.copy().args(["--if-exists", "fail", "--failures"]).arg(letters)
    };
    kill(journey.begin(copy(), KEYS / 3));
    let run = copy().expect(1);
    run.assert_counts(&[("copied", KEYS as u64 - theirs), ("failed", theirs)]);
    let letters = fs::read_to_string(journey.file("failures.jsonl")).expect("dead letters");
    let mut named: Vec<String> = letters
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a letter")["key"].to_string())
        .collect();
    named.sort();
    let expected: Vec<String> = (0..theirs).map(|number| format!("\"key:{number}\"")).collect();
    assert_eq!(named, expected, "each once{}", run.frame());
    assert!(!journey.state().exists(), "what is left to do is in the dead letters");
}

#[test]
fn what_is_moved_is_moved_once() {
    let journey = Journey::of_strings();
    let copy = || journey.copy().arg("--delete-source");
    kill(journey.begin(copy(), KEYS / 3));
    let run = copy().expect(0);
    assert_eq!(journey.target.client(0).dbsize(), KEYS, "{}", run.frame());
    // What had been copied and not deleted when the first was killed is found again and deleted.
    assert_eq!(journey.source.client(0).dbsize(), 0, "{}", run.frame());
}

/// A move that takes some seconds, once so many keys have gone and some of that is kept.
#[track_caller]
fn half_deleted(journey: &Journey) -> Running {
    let mut running = journey.copy().args(["--delete-source", "--max-keys-rate", "8000"]).start();
    let mut client = journey.source.client(0);
    wait_until("keys have gone, and that is kept", || {
        (client.dbsize() < KEYS && journey.kept("deleted_from_source") > 0) || running.is_over()
    });
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    running
}

#[test]
fn a_move_that_was_killed_while_it_deleted_goes_on_deleting() {
    let journey = Journey::of_strings();
    kill(half_deleted(&journey));
    let before = journey.target.calls("mset");
    let run = journey.copy().arg("--delete-source").expect(0);
    // Some are only tried; all keys would take a hundred and more.
    assert!(journey.target.calls("mset") < before + 10, "keys are copied twice{}", run.frame());
    assert!(run.stdout.contains("Verified (full)"), "{}", run.frame());
    assert_eq!(run.count("copied"), KEYS as u64, "{}", run.frame());
    assert_eq!(journey.source.client(0).dbsize(), 0, "{}", run.frame());
    assert_eq!(journey.target.client(0).dbsize(), KEYS, "{}", run.frame());
    assert!(!journey.state().exists());
}

#[test]
fn a_move_that_was_interrupted_while_it_deleted_says_so_and_goes_on() {
    let journey = Journey::of_strings();
    let running = half_deleted(&journey);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    run.assert_says(&["stopped while keys were being deleted"]);
    assert!(run.stdout.contains("state.json"), "{}", run.frame());
    let gone = (KEYS - journey.source.client(0).dbsize()) as u64;
    assert!(gone < KEYS as u64, "it was not interrupted{}", run.frame());
    run.assert_counts(&[("copied", KEYS as u64), ("deleted_from_source", gone)]);
    let run = journey.copy().arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", KEYS as u64), ("deleted_from_source", KEYS as u64)]);
    assert_eq!(journey.target.client(0).dbsize(), KEYS, "{}", run.frame());
}

#[test]
fn a_target_that_was_flushed_between_two_runs_of_a_move_is_told() {
    let journey = Journey::of_strings();
    kill(half_deleted(&journey));
    journey.target.client(0).run(cmd("FLUSHALL").arg("SYNC"));
    let left = journey.source.client(0).dbsize();
    for _ in 0..2 {
        let run = journey.copy().arg("--delete-source").expect(1);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
        run.assert_says(&["target", "FLUSHALL", "nothing is deleted or copied", "state.json"]);
        assert!(!run.stdout.contains("Verified"), "{}", run.frame());
        assert_eq!(journey.source.client(0).dbsize(), left, "{}", run.frame());
    }
}

#[test]
fn a_target_that_lost_keys_between_two_runs_of_a_move_is_told() {
    let journey = Journey::of_strings();
    kill(half_deleted(&journey));
    let script = "for n = 0, 19999 do redis.call('DEL', 'key:' .. n) end";
    journey.target.client(0).run(cmd("EVAL").arg(script).arg(0));
    let left = journey.source.client(0).dbsize();
    let run = journey.copy().arg("--delete-source").expect(1);
    run.assert_says(&["target", "lost", "nothing is deleted or copied"]);
    assert_eq!(journey.source.client(0).dbsize(), left, "{}", run.frame());
}

#[test]
fn a_target_that_was_flushed_while_a_copy_was_away_is_filled_again() {
    for moves in [false, true] {
        let journey = Journey::of_strings();
        let copy = || match moves {
            true => journey.copy().arg("--delete-source"),
            false => journey.copy(),
        };
        kill(journey.begin(copy(), KEYS / 3));
        journey.target.client(0).run(cmd("FLUSHALL").arg("SYNC"));
        let run = copy().expect(0);
        run.assert_says(&["flushed", "anew"]);
        assert_eq!(run.count("copied"), KEYS as u64, "{}", run.frame());
        assert_eq!(journey.target.client(0).dbsize(), KEYS, "{}", run.frame());
    }
}

#[test]
fn compression_that_a_killed_run_turned_off_is_put_back() {
    let journey = Journey::of_strings();
    let compresses = || {
        let setting: Vec<String> =
            journey.source.client(0).call(cmd("CONFIG").arg("GET").arg("rdbcompression"));
        setting.last().is_some_and(|value| value == "yes")
    };
    let copy = journey.copy().args(["--source-compression", "off"]);
    kill(journey.begin(copy, KEYS / 3));
    assert!(!compresses(), "nobody could put it back");
    journey.copy().expect(0);
    assert!(compresses());
}

#[test]
fn what_does_not_go_together_is_a_usage_error() {
    let journey = Journey::new(Kind::Redis70, Kind::Redis70);
    journey.copy().arg("--dry-run").expect(2).assert_says(&["--state"]);
    let file = Keyferry::copy("dump.rdb", journey.target.url()).arg("--state").arg(journey.state());
    file.expect(2).assert_says(&["--state"]);
    assert_eq!(fs::read_dir(journey.directory.path()).unwrap().count(), 0);
}
