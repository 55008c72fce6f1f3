//! A target that already holds keys: refused unless `--if-exists` says what to do. Merging has its own file.

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::keyferry::{Keyferry, Run, SECRET_VALUE};
use crate::support::server::{Kind, Server};

/// Three keys on the source; the target has its own idea of two of them, and one key more.
fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    client.set(b"both:string", b"source");
    client.run(cmd("RPUSH").arg("both:list").arg(&["s1", "s2"]));
    client.set(b"source only", b"source");
    let mut client = target.client(0);
    client.run(cmd("SET").arg("both:string").arg("target").arg("EX").arg(5_000));
    // Another type under the same name.
    client.set(b"both:list", b"target");
    client.set(b"target only", SECRET_VALUE.as_bytes());
    (source, target)
}

#[track_caller]
fn assert_target_values(target: &Server, expected: &[(&str, &str)]) {
    let mut client = target.client(0);
    for (key, value) in expected {
        let found = client.get(key.as_bytes());
        assert_eq!(found.as_deref(), Some(value.as_bytes()), "the value of {key:?} on the target");
    }
}

#[track_caller]
fn copy(source: &Server, target: &Server, policy: &str, code: i32) -> Run {
    Keyferry::copy(source.url(), target.url()).args(["--if-exists", policy]).expect(code)
}

#[test]
fn a_target_that_holds_keys_is_refused() {
    let (source, target) = servers();
    target.reset_commands();
    let run = Keyferry::copy(source.url(), target.url()).expect(4);
    run.assert_says(&["--if-exists"]);
    assert_eq!(run.outcome(), "refused", "{}", run.frame());
    assert_eq!(target.write_commands(), Vec::<String>::new(), "{}", run.frame());
    assert_target_values(&target, &[("both:string", "target"), ("both:list", "target")]);
}

#[test]
fn one_database_that_holds_keys_refuses_all() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for db in [0, 1, 2] {
        source.client(db).set(b"a", b"source");
    }
    target.client(1).set(b"foreign", b"target");
    target.reset_commands();
    Keyferry::copy(source.url(), target.url()).expect(4);
    assert_eq!(target.write_commands(), Vec::<String>::new());
}

#[test]
fn keys_in_a_database_that_is_not_written_do_not_matter() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"source");
    source.client(1).set(b"a", b"source");
    target.client(1).set(b"foreign", b"target");
    target.client(9).set(b"foreign", b"target");
    Keyferry::copy(source.url(), target.url()).args(["--db", "0", "--db", "1:5"]).expect(0);
    assert_equal(&source, &target, &[(0, 0), (1, 5)]);
    assert!(target.client(1).exists(b"foreign") && target.client(9).exists(b"foreign"));
}

#[test]
fn replace_overwrites_value_type_and_expiry() {
    let (source, target) = servers();
    let run = copy(&source, &target, "replace", 0);
    run.assert_counts(&[("copied", 3)]);
    assert_target_values(&target, &[("both:string", "source"), ("target only", SECRET_VALUE)]);
    let expiry: i64 = target.client(0).call(cmd("PTTL").arg("both:string"));
    assert_eq!(expiry, -1, "the old expiry goes with the old value");
    let items: Vec<String> = target.client(0).call(cmd("LRANGE").arg("both:list").arg(0).arg(-1));
    assert_eq!(items, ["s1", "s2"]);
}

#[test]
fn skip_leaves_what_exists() {
    let (source, target) = servers();
    let run = copy(&source, &target, "skip", 0);
    assert_eq!(run.outcome(), "complete");
    run.assert_counts(&[("copied", 1), ("skipped", 2)]);
    assert_target_values(
        &target,
        &[("both:string", "target"), ("both:list", "target"), ("source only", "source")],
    );
    let expiry: i64 = target.client(0).call(cmd("PTTL").arg("both:string"));
    assert!(expiry > 4_000_000, "the expiry of a skipped key stays, it is {expiry}");
}

#[test]
fn fail_names_what_exists_and_goes_on() {
    let (source, target) = servers();
    let run = copy(&source, &target, "fail", 1);
    assert_eq!(run.outcome(), "incomplete");
    run.assert_counts(&[("copied", 1), ("failed", 2)]);
    assert_target_values(
        &target,
        &[("both:string", "target"), ("both:list", "target"), ("source only", "source")],
    );
    let failures = run.report()["failures"].as_array().cloned().unwrap_or_default();
    let mut named: Vec<&str> =
        failures.iter().filter_map(|failure| failure["key"].as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["both:list", "both:string"], "{}", run.frame());
    assert!(failures.iter().all(|failure| failure["db"] == 0 && failure["error"].is_string()));
}

#[test]
fn fail_without_conflicts_is_a_complete_copy() {
    let (source, target) = servers();
    target.client(0).run(cmd("DEL").arg("both:string").arg("both:list"));
    copy(&source, &target, "fail", 0).assert_counts(&[("copied", 3)]);
}

#[test]
fn names_of_failed_keys_are_escaped_and_cut() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let long = vec![b'k'; 1024 * 1024];
    for server in [&source, &target] {
        let mut client = server.client(0);
        for key in [&b"a\nb"[..], b"\x1b[2Jclear", b"\xff\0", &long] {
            client.set(key, SECRET_VALUE.as_bytes());
        }
    }
    let run = copy(&source, &target, "fail", 1);
    run.assert_counts(&[("failed", 4)]);
    for text in [&run.stdout, &run.stderr] {
        let control = text.chars().find(|sign| sign.is_control() && !"\n\r\t".contains(*sign));
        assert_eq!(control, None, "a raw control character reaches the terminal{}", run.frame());
        assert!(text.len() < 50_000, "the key of 1 MiB is shown whole");
    }
    for failure in run.report()["failures"].as_array().into_iter().flatten() {
        let key = failure["key"].as_str().unwrap_or_default();
        assert!(key.len() < 5_000, "a key of {} bytes in the report", key.len());
        assert!(!key.chars().any(char::is_control), "{key:?} is not escaped");
    }
}

#[test]
fn an_unknown_policy_is_a_usage_error() {
    let run = Keyferry::copy("redis://127.0.0.1:1", "redis://127.0.0.1:2");
    run.args(["--if-exists", "maybe"]).expect(2).assert_says(&["--if-exists", "replace"]);
}
