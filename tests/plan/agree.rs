//! What stands in the way is a blocker of the plan, and the copy refuses it before its first key.

use std::time::{Duration, Instant};

use redis::cmd;

use super::rights::user_without;
use super::{is_blocked, servers};
use crate::support::compare::assert_equal;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::now_ms;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// Nobody waits for what does not pass.
const AT_ONCE: Duration = Duration::from_secs(15);

#[track_caller]
fn refused_at_once(command: Keyferry) -> Run {
    let began = Instant::now();
    let run = command.expect(4);
    assert!(began.elapsed() < AT_ONCE, "it waited{}", run.frame());
    run
}

/// Both refuse, with this code of the plan, and these words of the copy; nothing is written.
#[track_caller]
fn both_refuse(
    (source, target): (&str, &str),
    options: &[&str],
    (code, says): (&str, &[&str]),
    behind: &Server,
) {
    let before = behind.client(0).dbsize();
    is_blocked(Keyferry::plan(source, target).args(options), code);
    let run = refused_at_once(Keyferry::copy(source, target).args(options));
    run.assert_says(says);
    assert_eq!(behind.client(0).dbsize(), before, "{}", run.frame());
}

#[test]
fn a_target_user_that_cannot_be_told_expiries() {
    let (source, target) = servers();
    let writer = user_without(&target, &["-pttl", "-pexpiretime"]);
    let found = ("no-permission of target", &["PEXPIRETIME and PTTL", "+pttl"][..]);
    for options in [&["--verify", "full"][..], &["--delete-source"]] {
        both_refuse((&source.url(), &writer), options, found, &target);
    }
    // Where nothing of the target is compared they are not needed.
    Keyferry::plan(source.url(), &writer).expect(0);
    Keyferry::copy(source.url(), writer).expect(0);
}

#[test]
fn a_user_that_may_not_merge() {
    let (source, target) = servers();
    target.client(0).run(cmd("SADD").arg("own").arg("member"));
    let rights =
        ["sadd", "hsetnx", "zadd", "hexists", "type", "pttl", "dump", "watch", "multi", "exec"];
    for right in rights {
        let writer = user_without(&target, &[&format!("-{right}")]);
        let says = [&format!("+{right}")[..]];
        let found = ("no-permission of target", &says[..]);
        both_refuse((&source.url(), &writer), &["--if-exists", "merge"], found, &target);
    }
}

#[test]
fn a_move_deletes_by_the_command_that_is_permitted() {
    for denied in ["-unlink", "-del"] {
        let (source, target) = servers();
        let mover = user_without(&source, &[denied]);
        let plan = Keyferry::plan(&mover, target.url()).arg("--delete-source").expect(0);
        assert!(plan.findings("blocker").is_empty(), "{denied}{}", plan.frame());
        Keyferry::copy(mover, target.url()).arg("--delete-source").expect(0);
        assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, 300), "{denied}");
    }
    let (source, target) = servers();
    let mover = user_without(&source, &["-unlink", "-del"]);
    let found = ("no-permission of source", &["UNLINK was refused", "+unlink"][..]);
    both_refuse((&mover, &target.url()), &["--delete-source"], found, &target);
}

#[test]
fn a_move_from_a_replica() {
    let (primary, target) = servers();
    let replica_of = format!("127.0.0.1 {}", primary.port);
    let source = Setup::new(Kind::Redis70).option("--replicaof", &replica_of).start();
    wait_until("the replica has its keys", || source.client(0).dbsize() == 300);
    let found = ("source-keeps-keys of source", &["source", "READONLY"][..]);
    both_refuse((&source.url(), &target.url()), &["--delete-source"], found, &target);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let run = refused_at_once(Keyferry::cleanup(source.url(), target.url()).arg("--force"));
    run.assert_says(&["source", "READONLY"]);
}

#[test]
fn a_move_from_a_source_without_its_replicas() {
    let (source, target) = servers();
    source.client(0).run(cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(1));
    let found = ("source-keeps-keys of source", &["NOREPLICAS", "min-replicas-to-write"][..]);
    both_refuse((&source.url(), &target.url()), &["--delete-source"], found, &target);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let run = refused_at_once(Keyferry::cleanup(source.url(), target.url()).arg("--force"));
    run.assert_says(&["NOREPLICAS", "min-replicas-to-write"]);
}

#[test]
fn a_source_that_is_full() {
    let (source, target) = servers();
    source.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    let found = ("source-keeps-keys of source", &["OOM", "maxmemory of the source"][..]);
    both_refuse((&source.url(), &target.url()), &["--delete-source"], found, &target);
    // Reading commands are enough for a copy, one by one.
    Keyferry::plan(source.url(), target.url()).expect(0);
    Keyferry::copy(source.url(), target.url()).expect(0);
    source.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_target_user_that_may_only_read_the_keys() {
    let (source, target) = servers();
    for options in [&[][..], &["--if-exists", "replace"], &["--fetch", "dump"]] {
        let writer = user_without(&target, &["resetkeys", "%R~*"]);
        let found = ("keys-denied of target", &["RESTORE", "key pattern"][..]);
        both_refuse((&source.url(), &writer), options, found, &target);
    }
    // Some of them are enough, and the plan says that there are others.
    let writer = user_without(&target, &["resetkeys", "%R~*", "~key:1*"]);
    let run = Keyferry::plan(source.url(), &writer).expect(0);
    assert_eq!(run.findings("warning"), ["keys-denied of target"], "{}", run.frame());
    Keyferry::copy(source.url(), &writer).args(["--match", "key:1*"]).expect(0);
    Keyferry::copy(source.url(), writer).args(["--if-exists", "replace"]).expect(1);
}

#[test]
fn users_of_key_patterns_are_told_of_the_other_keys() {
    let (source, target) = servers();
    source.client(0).set(b"other", b"");
    // Whatever the names of keyferry's own probes are.
    for pattern in ["~k*", "~ke?ferry*", "~[a-m]*"] {
        let reader = user_without(&source, &["resetkeys", pattern, "~key*"]);
        let run = Keyferry::plan(reader, target.url()).expect(0);
        assert!(
            run.findings("warning").contains(&"keys-denied of source".to_owned()),
            "{}",
            run.frame()
        );
        let writer = user_without(&target, &["resetkeys", pattern, "~key*"]);
        let run = Keyferry::plan(source.url(), writer).expect(0);
        assert!(
            run.findings("warning").contains(&"keys-denied of target".to_owned()),
            "{}",
            run.frame()
        );
    }
}

#[test]
fn a_reader_that_may_not_ask_for_types_cannot_merge() {
    let (source, target) = servers();
    let reader = user_without(&source, &["-type"]);
    let found = ("no-permission of source", &["TYPE", "+type"][..]);
    both_refuse((&reader, &target.url()), &["--if-exists", "merge"], found, &target);
}

#[test]
fn fields_that_expire_and_a_target_where_they_cannot() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis70));
    source.client(0).run(cmd("HSET").arg("hash").arg("f").arg("v"));
    source.client(0).run(cmd("HSET").arg("plain").arg("f").arg("v"));
    let at = now_ms() + 1_000_000;
    source.client(0).run(cmd("HPEXPIREAT").arg("hash").arg(at).arg("FIELDS").arg(1).arg("f"));
    let copy = |options: &[&str]| Keyferry::copy(source.url(), target.url()).args(options);
    let dry = copy(&["--dry-run"]).expect(1);
    dry.assert_counts(&[("copied", 1), ("failed", 1)]);
    let wet = copy(&[]).expect(1);
    wet.assert_counts(&[("copied", 1), ("failed", 1)]);
    let error = |run: &Run| run.report()["failures"][0]["error"].clone();
    assert_eq!(error(&dry), error(&wet), "{}", dry.frame());
    target.client(0).run(&cmd("FLUSHALL"));
    let dry = copy(&["--dry-run", "--lossy"]).expect(0);
    let wet = copy(&["--lossy"]).expect(0);
    let losses = |run: &Run| run.report()["losses"].clone();
    assert_eq!(losses(&dry), losses(&wet), "{}", dry.frame());
}
