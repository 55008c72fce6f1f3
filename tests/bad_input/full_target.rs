//! A target that runs full: the run ends with the cause and advice, and every key is accounted for.

use crate::support::client::fill_strings;
use crate::support::compare::assert_target_is_a_part;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

const KEYS: usize = 20_000;

#[track_caller]
fn runs_full(kind: Kind, options: &[&str]) {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", KEYS, 1_000);
    let target = Setup::new(kind)
        .option("--maxmemory", "8mb")
        .option("--maxmemory-policy", "noeviction")
        .start();
    // With a pattern nobody knows beforehand that it will.
    let some = ["--match", "*"];
    let run = Keyferry::copy(source.url(), target.url()).args(some).args(options).expect(1);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["maxmemory"]);
    run.assert_says_one_of(&["oom", "out of memory", "full"]);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
    let arrived = target.client(0).dbsize() as u64;
    assert_eq!(run.count("copied"), arrived, "copied, and keys on the target{}", run.frame());
    let deleted = run.count("deleted_from_source");
    assert_eq!(source.client(0).dbsize() as u64, KEYS as u64 - deleted, "{}", run.frame());
    assert!(deleted <= arrived);
}

#[test]
fn redis_runs_full() {
    runs_full(Kind::Redis70, &[]);
}

#[test]
fn valkey_runs_full() {
    runs_full(Kind::Valkey91, &[]);
}

#[test]
fn a_target_full_from_the_start() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 100, 1_000);
    let target = Setup::new(Kind::Redis70).option("--maxmemory", "1").start();
    let run = Keyferry::copy(source.url(), target.url()).run();
    run.assert_code(&[1, 4]);
    run.assert_says(&["maxmemory"]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn nothing_is_lost_when_it_runs_full_while_the_source_is_deleted() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", KEYS, 1_000);
    let target = Setup::new(Kind::Redis70).option("--maxmemory", "8mb").start();
    let options = ["--delete-source", "--match", "*"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(1);
    let (mut here, mut there) = (source.client(0), target.client(0));
    for number in 0..KEYS {
        let key = format!("key:{number}");
        let kept = here.exists(key.as_bytes()) || there.exists(key.as_bytes());
        assert!(kept, "{key} is on neither side{}", run.frame());
    }
}
