//! `--failures FILE` names every key that was not copied; `--retry-failures FILE` copies just these.

use std::fs;

use redis::cmd;
use serde_json::Value;

use crate::support::compare::{What, assert_equal, compare};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

fn pair() -> (Server, Server) {
    (Server::start(Kind::Redis70), Server::start(Kind::Redis70))
}

fn letters(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("the file of failures");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn exactly_the_failed_keys_are_written_and_copied_again() {
    let (source, target) = pair();
    for db in [0, 3] {
        for number in 0..3_000 {
            let key = format!("key:{number}");
            source.client(db).set(key.as_bytes(), format!("{db} {number}").as_bytes());
        }
        source.client(db).run(cmd("HSET").arg(b"odd \xff\n\"".as_slice()).arg("f").arg("v"));
    }
    // In the way of some of them.
    for number in (0..3_000).step_by(2) {
        target.client(3).set(format!("key:{number}").as_bytes(), b"theirs");
    }
    target.client(3).set(b"odd \xff\n\"", b"theirs");
    let run = Keyferry::copy(source.url(), target.url()).args(["--if-exists", "fail"]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let run = run.args(["--failures", path]).expect(1);
    run.assert_counts(&[("failed", 1_501), ("copied", 4_501)]);
    let written = letters(path);
    assert_eq!(written.len(), 1_501, "more than a report names");
    assert!(written.iter().all(|letter| letter["db"] == 3 && letter["target_db"] == 3));
    let missing = compare(&source, &target, &[(0, 0), (3, 3)]);
    assert_eq!(missing.len(), written.len(), "each of them differs");
    assert!(missing.iter().all(|difference| difference.what == What::Value));

    // What is in the way still is: nothing is overwritten unless that is asked for.
    let again = || Keyferry::copy(source.url(), target.url()).args(["--retry-failures", path]);
    again().expect(1).assert_counts(&[("scanned", 1_501), ("failed", 1_501)]);
    // Not among the letters, so nobody may touch it.
    target.client(0).set(b"key:1", b"changed since");
    let run = again().args(["--if-exists", "replace"]).expect(0);
    run.assert_counts(&[("scanned", 1_501), ("copied", 1_501)]);
    assert_eq!(target.client(0).get(b"key:1").as_deref(), Some(&b"changed since"[..]));
    assert_equal(&source, &target, &[(3, 3)]);
}

#[test]
fn failed_keys_are_copied_again_to_where_they_were_to_go() {
    let (source, target) = pair();
    for db in [0, 1, 2] {
        source.client(db).set(b"a", format!("of {db}").as_bytes());
    }
    target.client(3).set(b"a", b"theirs");
    target.client(1).set(b"a", b"theirs");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path");
    let first = ["--db", "0:3", "--db", "1", "--if-exists", "fail", "--failures", path];
    Keyferry::copy(source.url(), target.url()).args(first).expect(1);
    let again = || Keyferry::copy(source.url(), target.url()).args(["--retry-failures", path]);
    // The file says where they go; what says something else is refused before anything is written.
    for other in ["0", "0:5", "1:3"] {
        let run = again().args(["--if-exists", "replace", "--db", other]).expect(2);
        run.assert_says(&["--db", "were on their way to database"]);
    }
    let run = Keyferry::copy(source.url(), format!("{}/7", target.url()));
    run.args(["--retry-failures", path, "--if-exists", "replace"]).expect(2);
    let run = again().args(["--if-exists", "replace"]).expect(0);
    run.assert_counts(&[("scanned", 2), ("copied", 2)]);
    let held = |db: u32| target.client(db).get(b"a");
    assert_eq!(held(3).as_deref(), Some(&b"of 0"[..]), "{}", run.frame());
    assert_eq!(held(1).as_deref(), Some(&b"of 1"[..]));
    assert_eq!((held(0), held(2), held(5), held(7)), (None, None, None, None));
    // Some of them, where the options agree with the file.
    target.client(3).run(cmd("DEL").arg("a"));
    again().args(["--db", "0:3"]).expect(0).assert_counts(&[("scanned", 1), ("copied", 1)]);
}

#[test]
fn keys_of_one_database_that_went_to_several_are_refused() {
    let (source, target) = pair();
    source.client(0).set(b"a", b"1");
    let letter = |to: u32| {
        format!("{{\"db\":0,\"target_db\":{to},\"key\":\"a\",\"hex\":\"61\",\"error\":\"e\"}}\n")
    };
    let run = Keyferry::copy(source.url(), target.url());
    let path = run.file("letters.jsonl", &(letter(0) + &letter(3)));
    let run = run.args(["--retry-failures", &path]).expect(2);
    run.assert_says(&["database 0", "0 and 3", "one run"]);
    assert_eq!((target.client(0).dbsize(), target.client(3).dbsize()), (0, 0));
}

#[test]
fn a_damaged_file_is_refused_before_anything_is_written() {
    let (source, target) = pair();
    source.client(0).set(b"a", b"1");
    let good = r#"{"db":0,"target_db":0,"key":"a","hex":"61","error":"why"}"#;
    for damaged in [format!("{good}\n{}", &good[..20]), good.to_owned(), format!("{good}\nx\n")] {
        let run = Keyferry::copy(source.url(), target.url());
        let path = run.file("letters.jsonl", &damaged);
        let run = run.args(["--retry-failures", &path]).run();
        run.assert_code(&[5]);
        run.assert_says(&["line", "no dead letter"]);
        assert_eq!(target.client(0).dbsize(), 0);
    }
}

#[test]
fn what_does_not_go_together_is_a_usage_error() {
    let (source, target) = pair();
    let good = "{\"db\":0,\"target_db\":0,\"key\":\"a\",\"hex\":\"61\",\"error\":\"why\"}\n";
    for option in [["--verify", "full"], ["--type", "hash"]] {
        let run = Keyferry::copy(source.url(), target.url());
        let path = run.file("letters.jsonl", good);
        run.args(["--retry-failures", &path]).args(option).expect(2);
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), good).expect("a letter");
    let path = file.path().to_str().expect("a path");
    let run = Keyferry::copy(source.url(), target.url());
    run.args(["--retry-failures", path, "--failures", path]).expect(2);
    assert_eq!(fs::read_to_string(path).unwrap_or_default(), good, "it is as it was");
}
