//! A target that is restarted empty: all is copied anew, or the run says what may be lost.

use redis::cmd;

use super::{ALL, FEW, PAIRS, half_way, source};
use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

#[track_caller]
fn is_filled_anew(kind: Kind, options: &[&str]) -> Run {
    let (source, mut target) = (source(), Server::start(kind));
    let running = half_way(&source.url(), &target.url(), &target, options);
    target.kill();
    target.start_again();
    let run = running.finish();
    run.assert_code(&[0]);
    assert_eq!(run.outcome(), "complete", "{}", run.frame());
    run.assert_says(&["target", "restarted", "anew"]);
    // The database that was done already, too.
    assert_equal(&source, &target, &PAIRS);
    run
}

#[test]
fn a_redis_is_filled_anew() {
    let run = is_filled_anew(Kind::Redis70, &[]);
    let counts = (run.count("copied"), run.count("failed"));
    assert!(counts.0 > ALL && counts.1 == 0, "{counts:?} of {ALL}{}", run.frame());
}

#[test]
fn a_valkey_is_filled_anew() {
    is_filled_anew(Kind::Valkey91, &["--if-exists", "replace", "--verify", "none"]);
}

#[test]
fn all_is_merged_anew() {
    is_filled_anew(Kind::Redis70, &["--if-exists", "merge"]);
}

#[test]
fn it_is_noticed_where_nothing_was_being_written() {
    let (source, mut target) = (source(), Server::start(Kind::Redis70));
    // Reading names that are not meant keeps the run going while the lanes are idle.
    fill_strings(&mut source.client(2), "other", 20_000, 1);
    let slow = Behaviour { rate: Some(100_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let running = Keyferry::copy(proxy.url(), target.url())
        .args(["--match", "few:*", "--db", "1", "--db", "2", "--verify", "none"])
        .start();
    let mut client = target.client(1);
    wait_until("database 1 has arrived", || client.dbsize() == FEW);
    target.kill();
    target.start_again();
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["anew"]);
    assert_equal(&source, &target, &[(1, 1)]);
}

#[test]
fn one_that_is_restarted_again_and_again_is_given_up() {
    let (source, mut target) = (source(), Server::start(Kind::Redis70));
    let mut running = half_way(&source.url(), &target.url(), &target, &[]);
    while !running.is_over() {
        target.kill();
        target.start_again();
        let mut client = target.client(0);
        wait_until("keys have arrived again", || client.dbsize() > 0 || running.is_over());
    }
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["target", "restarted", "5 times"]);
}

/// What was there before cannot be told from what we wrote.
#[track_caller]
fn ends_the_run(options: &[&str], words: &[&str]) {
    let (source, mut target) = (source(), Server::start(Kind::Redis70));
    let running = half_way(&source.url(), &target.url(), &target, options);
    target.kill();
    target.start_again();
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["target", "restarted", "may be lost"]);
    run.assert_says(words);
}

#[test]
fn the_run_ends_where_existing_keys_are_kept() {
    ends_the_run(&["--if-exists", "skip"], &["--if-exists skip"]);
    ends_the_run(&["--if-exists", "fail"], &["--if-exists skip"]);
}

#[test]
fn a_move_fills_it_again_before_it_deletes_anything() {
    let (source, mut target, witness) =
        (source(), Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    Keyferry::copy(source.url(), witness.url()).expect(0);
    let running = half_way(&source.url(), &target.url(), &target, &["--delete-source"]);
    target.kill();
    target.start_again();
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["target", "restarted", "anew"]);
    assert_equal(&witness, &target, &PAIRS);
    assert_eq!(run.count("deleted_from_source"), ALL, "{}", run.frame());
    assert_eq!((source.client(0).dbsize(), source.client(1).dbsize()), (0, 0));
}

#[test]
fn functions_are_loaded_anew() {
    let (source, mut target) = (source(), Server::start(Kind::Redis70));
    let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
    let running = half_way(&source.url(), &target.url(), &target, &["--with-functions"]);
    target.kill();
    target.start_again();
    let run = running.finish();
    run.assert_code(&[0]);
    let answer: i64 = target.client(0).call(cmd("FCALL").arg("f").arg(0));
    assert_eq!(answer, 1, "{}", run.frame());
}
