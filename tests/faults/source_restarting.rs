//! A source that is restarted: with its keys, with some of them, with none.

use redis::cmd;

use super::{PAIRS, half_way, source};
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::server::{Kind, Server};

#[test]
fn one_that_has_its_keys_again_is_copied_whole() {
    let (mut source, target) = (source(), Server::start(Kind::Redis70));
    source.client(0).run(&cmd("SAVE"));
    let running = half_way(&source.url(), &target.url(), &target, &[]);
    source.kill();
    source.start_again();
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["source", "restarted", "anew"]);
    assert_equal(&source, &target, &PAIRS);
}

#[track_caller]
fn is_not_called_complete(options: &[&str]) {
    let (mut source, target) = (source(), Server::start(Kind::Redis70));
    let running = half_way(&source.url(), &target.url(), &target, options);
    source.kill();
    source.start_again();
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["source", "restarted", "fewer keys"]);
}

#[test]
fn one_that_comes_back_empty_is_told() {
    is_not_called_complete(&[]);
}

#[test]
fn one_that_comes_back_empty_is_told_where_nothing_is_verified() {
    is_not_called_complete(&["--verify", "none", "--if-exists", "skip"]);
}

#[test]
fn one_that_comes_back_empty_is_told_where_it_is_deleted() {
    is_not_called_complete(&["--delete-source"]);
}

#[test]
fn one_that_lost_its_last_keys_is_told() {
    let (mut source, target) = (source(), Server::start(Kind::Redis70));
    source.client(0).run(&cmd("SAVE"));
    super::fill_strings(&mut source.client(0), "unsaved", 10, 100);
    let running = half_way(&source.url(), &target.url(), &target, &[]);
    source.kill();
    source.start_again();
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["source", "fewer keys"]);
    assert_eq!(run.count("failed"), 0, "{}", run.frame());
    let mut copied = target.client(0);
    let unsaved = (0..10).filter(|n| copied.exists(format!("unsaved:{n}").as_bytes()));
    for number in unsaved.collect::<Vec<_>>() {
        copied.run(cmd("DEL").arg(format!("unsaved:{number}")));
    }
    assert_target_is_a_part(&source, &target, &PAIRS);
}
