//! What an interrupted run advises is typed as it stands: it goes on, and destroys nothing that its options kept.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 10_000;
const SAME: &str = "The same command goes on";
const ANEW: &str = "The same command begins again";
const REPLACE: &str = "--if-exists replace";

/// A source, and a target that holds a set of its own with the name of one of the source's.
fn sides() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 1_000);
    source.client(0).run(cmd("SADD").arg("set").arg("from the source"));
    target.client(0).run(cmd("SADD").arg("set").arg("the target's own"));
    (source, target)
}

/// Interrupts a command when some of its work is done: once, or twice for an end at once.
#[track_caller]
fn interrupted(command: Keyferry, so_far: impl Fn() -> bool, at_once: bool) -> Run {
    let mut running = command.start();
    wait_until("some work is done", || so_far() || running.is_over());
    running.signal("TERM");
    if at_once {
        running.signal("INT");
    }
    let run = running.finish();
    run.assert_code(&[130]);
    run
}

#[test]
fn the_advice_of_an_interrupted_copy_keeps_what_its_policy_keeps() {
    for (policy, code, own_stays) in
        [("merge", 0, true), ("skip", 0, true), ("fail", 1, true), ("replace", 0, false)]
    {
        for at_once in [false, true] {
            let (source, target) = sides();
            let slow = Behaviour { rate: Some(2_000_000), ..Behaviour::default() };
            let proxy = FaultProxy::start(source.port, slow);
            let copy = |from: &str| {
                let copy = Keyferry::copy(from, target.url());
                copy.args(["--if-exists", policy, "--verify", "none"])
            };
            let arrived = || target.client(0).dbsize() > 1;
            let run = interrupted(copy(&proxy.url()), arrived, at_once);
            let said = run.frame();
            assert!(said.contains(SAME) && !said.contains(REPLACE), "{policy}{said}");
            let there = target.client(0).dbsize();
            assert!(there <= KEYS, "{policy}: it was not interrupted{said}");
            let run = copy(&source.url()).expect(code);
            assert_eq!(target.client(0).dbsize(), KEYS + 1, "{policy}{}", run.frame());
            if policy == "fail" {
                assert_eq!(run.count("failed"), there as u64, "{}", run.frame());
            }
            let own = cmd("SISMEMBER").arg("set").arg("the target's own").clone();
            assert_eq!(target.client(0).call::<bool>(&own), own_stays, "{policy}");
        }
    }
}

/// Nobody has named a policy, and the target is not empty any more.
#[test]
fn where_no_policy_was_named_one_is_advised() {
    for (options, advised) in [(&[][..], true), (&["--if-exists", "skip"], false)] {
        let (source, target) = sides();
        target.client(0).run(&cmd("FLUSHALL"));
        let slow = Behaviour { rate: Some(2_000_000), ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, slow);
        let copy = Keyferry::copy(proxy.url(), target.url()).args(options);
        let run = interrupted(copy, || target.client(0).dbsize() > 0, false);
        assert_eq!(run.frame().contains(REPLACE), advised, "{}", run.frame());
    }
}

#[test]
fn where_nothing_was_written_the_same_command_begins_again() {
    for options in [&[][..], &["--require-quiet"], &["--if-exists", "replace"]] {
        for at_once in [false, true] {
            let (source, target) = sides();
            target.client(0).run(&cmd("FLUSHALL"));
            // What it asks first takes longer than the signal.
            let slow = Behaviour { rate: Some(2_000), ..Behaviour::default() };
            let proxy = FaultProxy::start(source.port, slow);
            let copy = Keyferry::copy(proxy.url(), target.url()).args(options);
            let run = interrupted(copy, || proxy.reply_bytes() > 0, at_once);
            let said = run.frame();
            assert!(said.contains(ANEW) && !said.contains(REPLACE), "{options:?}{said}");
            assert!(!said.contains("may have arrived"), "{options:?}{said}");
            assert_eq!(target.client(0).dbsize(), 0, "{options:?}{said}");
        }
    }
}

#[test]
fn an_interrupted_dry_run_says_what_it_would_have_done() {
    let (source, target) = sides();
    target.client(0).run(&cmd("FLUSHALL"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let list = directory.path().join("list");
    std::fs::write(&list, "precious\n").expect("a file");
    let slow = || Behaviour { rate: Some(100_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, slow());
    let copy = Keyferry::copy(source.url(), proxy.url()).args(["--dry-run", "--failures"]);
    let run = interrupted(copy.arg(&list), || proxy.reply_bytes() > 30_000, false);
    dry(&run, "would copy", "copied ");
    assert!(run.count("copied") > 0, "nothing was looked at{}", run.frame());
    assert_eq!(std::fs::read(&list).expect("a list"), b"precious\n", "{}", run.frame());
    fill_strings(&mut target.client(0), "key", KEYS, 1_000);
    let proxy = FaultProxy::start(source.port, slow());
    let cleanup = Keyferry::cleanup(proxy.url(), target.url()).arg("--dry-run");
    let run = interrupted(cleanup, || proxy.reply_bytes() > 200_000, false);
    dry(&run, "would delete", "deleted ");
    assert_eq!(source.client(0).dbsize(), KEYS + 1);
}

#[track_caller]
fn dry(run: &Run, would: &str, done: &str) {
    let said = run.frame();
    assert_eq!(run.outcome(), "interrupted", "{said}");
    assert_eq!(run.report()["dry_run"], true, "{said}");
    let headline = run.stdout.lines().next().unwrap_or_default();
    assert!(headline.starts_with("INTERRUPTED: ") && headline.contains(would), "{said}");
    assert!(!headline.contains(done), "{said}");
    assert!(run.stdout.contains(ANEW), "{said}");
    assert!(!said.contains("deletes the rest") && !said.contains(REPLACE), "{said}");
}

#[test]
fn every_report_says_whether_it_is_of_a_dry_run() {
    let (source, target) = sides();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let saved = directory.path().join("saved.rdb");
    let backup = || Keyferry::new().arg("backup").arg(source.url()).arg(&saved).with_report();
    let of_file = || Keyferry::copy(&saved, target.url()).args(["--if-exists", "replace"]);
    let copy = || Keyferry::copy(source.url(), target.url()).args(["--if-exists", "replace"]);
    let cleanup = || Keyferry::cleanup(source.url(), target.url()).arg("--force");
    assert_eq!(backup().expect(0).report()["dry_run"], false);
    std::fs::rename(&saved, directory.path().join("moved")).expect("a file");
    assert_eq!(backup().arg("--dry-run").expect(0).report()["dry_run"], true);
    std::fs::rename(directory.path().join("moved"), &saved).expect("a file");
    for (dry, options) in [(true, &["--dry-run"][..]), (false, &[])] {
        for command in [of_file(), copy(), cleanup()] {
            let run = command.args(options).run();
            // What a dry run did not copy would stay on the source.
            run.assert_code(if dry { &[0, 1] } else { &[0] });
            assert_eq!(run.report()["dry_run"], dry, "{}", run.frame());
        }
    }
    assert_eq!(Keyferry::verify(source.url(), target.url()).run().report()["dry_run"], false);
}
