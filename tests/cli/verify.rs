//! `--verify` after the copy.

use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 100, 20);
    fill_strings(&mut source.client(3), "key", 50, 20);
    (source, target)
}

#[test]
fn counting_is_the_default() {
    let (source, target) = servers();
    source.wait_for_certain_counters();
    target.wait_for_certain_counters();
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    assert_eq!(run.report()["verify"]["mode"], "count", "{}", run.frame());
    assert_eq!(run.report()["verify"]["missing"], 0, "{}", run.frame());
}

/// A copy of keys that will expire, some of them soon.
fn expiring(soon: bool) -> (Server, Server) {
    let (source, target) = servers();
    let mut batch = redis::pipe();
    for number in 0..50 {
        let life = if soon && number < 5 { 300 } else { 3_600_000 };
        batch.cmd("PEXPIRE").arg(format!("key:{number}")).arg(life);
    }
    source.client(0).run_all(&batch);
    (source, target)
}

#[test]
fn counts_are_enough_while_no_key_expires() {
    let (source, target) = expiring(false);
    source.wait_for_certain_counters();
    target.wait_for_certain_counters();
    target.reset_commands();
    Keyferry::copy(source.url(), target.url()).expect(0);
    assert_eq!(target.calls("exists"), 0);
}

#[test]
fn once_a_key_has_expired_the_others_are_looked_for() {
    let (source, target) = expiring(true);
    target.reset_commands();
    let running =
        Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "100"]).start();
    let run = running.finish();
    run.assert_code(&[0]);
    assert!(target.calls("exists") > 0, "{}", run.frame());
    assert_eq!(run.report()["verify"]["missing"], 0, "{}", run.frame());
}

#[test]
fn it_can_be_left_out() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).args(["--verify", "none"]).expect(0);
    let mode = &run.report()["verify"]["mode"];
    assert!(mode == "none" || mode.is_null(), "{}", run.frame());
}

#[test]
fn keys_the_filter_left_out_are_not_missing() {
    let (source, target) = servers();
    let options = ["--verify", "count", "--match", "key:1*"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    assert_eq!(run.report()["verify"]["missing"], 0, "{}", run.frame());
}

#[test]
fn keys_that_were_there_before_are_no_difference() {
    let (source, target) = servers();
    fill_strings(&mut target.client(0), "mine", 7, 20);
    let options = ["--verify", "count", "--if-exists", "skip"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    assert_eq!(run.outcome(), "complete", "{}", run.frame());
}

#[test]
fn a_target_that_throws_keys_away_is_found_out() {
    // An evicting target answers every RESTORE with OK and holds only what fits.
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 10_000, 1_000);
    let target = Setup::new(Kind::Redis70)
        .option("--maxmemory", "5mb")
        .option("--maxmemory-policy", "allkeys-random")
        .start();
    // With a pattern nobody knows beforehand what fits.
    let run = Keyferry::copy(source.url(), target.url()).args(["--match", "*"]).run();
    assert!(target.client(0).dbsize() < 10_000, "nothing was evicted, nothing is tested");
    run.assert_code(&[1]);
    assert!(run.report()["verify"]["missing"].as_u64() > Some(1_000), "{}", run.frame());
    assert!(run.stdout.contains("the target evicted"), "the cause is not named{}", run.frame());
}
