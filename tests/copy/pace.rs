//! `--max-rate` and `--max-keys-rate`: no faster than asked for, all connections and databases together.
//!
//! A run may be slower than its rate for many reasons, faster for none: only that is asserted. What
//! the last batch owes is not waited for; that is the tolerance.

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

fn servers() -> (Server, Server) {
    (Server::start(Kind::Redis70), Server::start(Kind::Redis70))
}

/// Fails if the run was quicker than it may have been.
#[track_caller]
fn assert_took(run: &Run, at_least: f64) {
    let seconds = run.report()["seconds"].as_f64().expect("a number");
    assert!(seconds >= at_least, "{seconds} s, expected {at_least} s at least{}", run.frame());
}

#[test]
fn payload_bytes_of_several_connections_keep_the_rate() {
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "key", 4_000, 1_000);
    let options = ["--max-rate", "2MB", "--connections", "8"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 4_000)]);
    assert_took(&run, 1.8);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn databases_share_the_rate() {
    let (source, target) = servers();
    for db in 0..4 {
        fill_strings(&mut source.client(db), "key", 1_000, 1_000);
    }
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-rate", "2MB"]).expect(0);
    run.assert_counts(&[("copied", 4_000)]);
    assert_took(&run, 1.8);
}

#[test]
fn keys_keep_their_rate() {
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "key", 6_000, 10);
    let run =
        Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "2000"]).expect(0);
    run.assert_counts(&[("copied", 6_000)]);
    // 512 keys at most are the last batch.
    assert_took(&run, 2.7);
}

#[test]
fn a_value_larger_than_the_rate_passes_and_the_next_one_waits() {
    let (source, target) = servers();
    for key in ["one", "two"] {
        source.client(0).set(key.as_bytes(), &noise(7, 2_000_000));
    }
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-rate", "1MB"]).expect(0);
    run.assert_counts(&[("copied", 2)]);
    assert_took(&run, 1.9);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_wait_longer_than_a_silent_server_may_be_breaks_nothing() {
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "key", 4_000, 1_000);
    let run = Keyferry::copy(source.url(), target.url()).impatient();
    let run = run.args(["--max-rate", "500k", "--connections", "16"]).expect(0);
    run.assert_counts(&[("copied", 4_000)]);
    assert!(!run.stderr.contains("connecting again"), "{}", run.frame());
}

#[test]
fn ctrl_c_does_not_wait_for_the_rate() {
    // At this rate what is in flight alone would take minutes, and the harness allows one.
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-rate", "4k"]);
    let mut running = run.start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    assert_eq!(run.count("copied"), client.dbsize() as u64, "{}", run.frame());
    assert_eq!(run.count("failed"), 0, "{}", run.frame());
}
