//! A run that is given up names every key that differs, and no other, with `--failures`.

use std::collections::{BTreeMap, BTreeSet};

use redis::cmd;
use tempfile::TempDir;

use super::{ALL, KEYS, Key, PAIRS, SLOW, half_way, letters, source};
use crate::support::client::fill_strings;
use crate::support::compare::{What, assert_equal, compare};
use crate::support::fault_proxy::{Direction, Fault, FaultProxy, Step};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Source, target, and where the files of failures go.
struct Journey {
    source: Server,
    target: Server,
    directory: TempDir,
}

impl Journey {
    #[track_caller]
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self { source: source(), target: Server::start(Kind::Redis70), directory }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Copies half-way, until something is done to the target's memory.
    #[track_caller]
    fn out_of_memory(&self, options: &[&str]) -> Run {
        let failures = self.file("failures");
        let options = [&["--failures", &failures], options].concat();
        let (from, into) = (self.source.url(), self.target.url());
        let running = half_way(&from, &into, &self.target, &options);
        self.limit_memory(1);
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_says(&["OOM", "given up"]);
        assert_eq!(run.report()["dead_letters_complete"], true, "{}", run.frame());
        run
    }

    /// Copies half-way, until the server behind this proxy is gone for good.
    #[track_caller]
    fn lose(&self, from: &str, into: &str, proxy: FaultProxy) -> Run {
        let failures = self.file("failures");
        let options = ["--failures", &failures, "--retry-budget", "2s"];
        let running = half_way(from, into, &self.target, &options);
        drop(proxy);
        let run = running.finish();
        run.assert_code(&[1]);
        run
    }

    fn limit_memory(&self, bytes: u32) {
        self.target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes));
    }

    /// The keys that really differ.
    #[track_caller]
    fn differing(&self) -> BTreeSet<Key> {
        let found = compare(&self.source, &self.target, &PAIRS);
        found.into_iter().map(|difference| (difference.pair.0, difference.key)).collect()
    }

    /// The keys in a file of failures, each there once, and why.
    #[track_caller]
    fn letters(&self, file: &str) -> BTreeMap<Key, String> {
        let letters = letters(self.file(file).as_ref());
        let (named, each) = (letters.len(), BTreeMap::from_iter(letters));
        assert_eq!(each.len(), named, "none is named twice");
        each
    }

    #[track_caller]
    fn named(&self, file: &str) -> BTreeSet<Key> {
        self.letters(file).into_keys().collect()
    }

    /// Copies the keys of a file of failures.
    fn retry(&self, file: &str) -> Keyferry {
        let copy = Keyferry::copy(self.source.url(), self.target.url());
        copy.arg("--retry-failures").arg(self.file(file))
    }
}

#[test]
fn what_a_full_target_lacks_is_named_and_copied_later() {
    let journey = Journey::new();
    let run = journey.out_of_memory(&[]);
    assert_eq!(journey.named("failures"), journey.differing());
    let failed = run.count("failed");
    run.assert_counts(&[("copied", ALL - failed), ("failed", failed)]);
    journey.limit_memory(0);
    journey.retry("failures").expect(0).assert_counts(&[("copied", failed)]);
    assert_equal(&journey.source, &journey.target, &PAIRS);
}

#[test]
fn what_is_the_same_already_is_not_named() {
    let journey = Journey::new();
    // As an earlier copy left it.
    fill_strings(&mut journey.target.client(0), "key", KEYS / 2, 100);
    let run = journey.out_of_memory(&["--if-exists", "replace"]);
    let differing = journey.differing();
    assert!(differing.len() <= ALL as usize - KEYS / 2, "{}", run.frame());
    assert_eq!(journey.named("failures"), differing);
}

#[test]
fn what_was_to_be_kept_is_not_named() {
    let journey = Journey::new();
    fill_strings(&mut journey.target.client(0), "key", KEYS / 2, 7);
    journey.out_of_memory(&["--if-exists", "skip"]);
    let theirs = compare(&journey.source, &journey.target, &PAIRS);
    let theirs = theirs.iter().filter(|difference| difference.what == What::Value).count();
    assert_eq!(theirs, KEYS / 2);
    let (named, differing) = (journey.named("failures"), journey.differing());
    assert!(named.is_subset(&differing));
    assert_eq!(named.len(), differing.len() - theirs);
}

#[test]
fn what_a_lost_target_lacks_is_named() {
    let journey = Journey::new();
    let proxy = FaultProxy::start(journey.target.port, Default::default());
    let run = journey.lose(&journey.source.url(), &proxy.url(), proxy);
    // It may have lost what it acknowledged: it cannot be asked.
    assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
    run.assert_says(&["not known whether it still holds the others"]);
    let (named, differing) = (journey.named("failures"), journey.differing());
    assert!(named.is_superset(&differing), "{:?}", differing.difference(&named));
    // Some may have arrived, and the answer did not; no key that nobody had asked for has.
    for (key, why) in journey.letters("failures") {
        assert!(
            !why.contains("before this key was copied") || differing.contains(&key),
            "{key:?} is there: {why}"
        );
    }
    let failed = named.len() as u64;
    run.assert_counts(&[("copied", ALL - failed), ("failed", failed)]);
}

#[test]
fn what_a_lost_source_had_left_is_not_known_and_that_is_said() {
    let journey = Journey::new();
    let proxy = FaultProxy::start(journey.source.port, Default::default());
    let run = journey.lose(&proxy.url(), &journey.target.url(), proxy);
    assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
    run.assert_says(&["keys that were not read before are missing among the dead letters"]);
    assert!(journey.named("failures").is_subset(&journey.differing()));
}

#[test]
fn what_a_restarted_target_lost_is_named() {
    let mut journey = Journey::new();
    let failures = journey.file("failures");
    let options = ["--failures", &failures, "--if-exists", "skip"];
    let (from, into) = (journey.source.url(), journey.target.url());
    let running = half_way(&from, &into, &journey.target, &options);
    journey.target.kill();
    journey.target.start_again();
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["restarted"]);
    assert_eq!(journey.named("failures"), journey.differing());
    let run = journey.retry("failures").expect(0);
    run.assert_counts(&[("copied", journey.named("failures").len() as u64)]);
    assert_equal(&journey.source, &journey.target, &PAIRS);
}

#[test]
fn connections_that_break_again_and_again_keep_no_key_from_being_named() {
    // So long that to look at a few of them takes more bytes than pass between two breaks.
    const NAME: usize = 100_000;
    const BREAKS: usize = 12;
    let journey = Journey::new();
    for number in 0..100 {
        let name = format!("long:{number}:{}", "x".repeat(NAME));
        journey.source.client(0).set(name.as_bytes(), b"value");
    }
    let proxy = FaultProxy::start(journey.source.port, Default::default());
    let failures = journey.file("failures");
    let (from, into) = (proxy.url(), journey.target.url());
    let running = half_way(&from, &into, &journey.target, &["--failures", &failures]);
    journey.limit_memory(1);
    let fault = Fault::CloseOnce;
    proxy.then(&[Step { direction: Direction::Requests, after: 2 * NAME as u64, fault }; BREAKS]);
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(proxy.to_come(), 0, "too few breaks{}", run.frame());
    assert_eq!(run.report()["dead_letters_complete"], true, "{}", run.frame());
    assert_eq!(journey.named("failures"), journey.differing());
}

#[test]
fn letters_that_were_not_tried_again_are_written_again() {
    let journey = Journey::new();
    journey.out_of_memory(&[]);
    let first = journey.named("failures");
    journey.limit_memory(0);
    let copy = journey.retry("failures").args(SLOW).args(["--failures", &journey.file("rest")]);
    let mut running = copy.start();
    let mut client = journey.target.client(0);
    let held = client.dbsize();
    wait_until("some have arrived", || client.dbsize() > held + 300 || running.is_over());
    journey.limit_memory(1);
    let run = running.finish();
    run.assert_code(&[1]);
    let rest = journey.named("rest");
    assert!(rest.len() < first.len() && !rest.is_empty(), "{} of {}", rest.len(), first.len());
    assert_eq!(rest, journey.differing());
    journey.limit_memory(0);
    journey.retry("rest").expect(0);
    assert_equal(&journey.source, &journey.target, &PAIRS);
}
