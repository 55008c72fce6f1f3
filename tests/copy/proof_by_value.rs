//! `--verify full` says exactly what it compared, for each database: values only where they are the source's.

use redis::cmd;
use serde_json::Value;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Keys in databases 0 and 1 of the source; database 0 of the target holds one of them with a value
/// of its own, and keys that the source does not know.
fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for db in [0, 1] {
        fill_strings(&mut source.client(db), "key", 100, 20);
        source.client(db).run(cmd("SADD").arg("set").arg("a").arg("b"));
    }
    fill_strings(&mut target.client(0), "mine", 7, 20);
    target.client(0).set(b"key:5", b"mine");
    target.client(0).run(cmd("SADD").arg("set").arg("c"));
    (source, target)
}

fn full(source: &Server, target: &Server, options: &[&str]) -> Keyferry {
    Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]).args(options)
}

/// What was compared in a database.
fn of_database(run: &Run, place: usize) -> Value {
    run.report()["dbs"][place]["verify"].clone()
}

/// Fails unless the summary says that not all values were compared.
#[track_caller]
fn claims_no_values(run: &Run) {
    assert!(!run.stdout.contains("): every key, value"), "{}", run.frame());
}

#[test]
fn keys_that_stayed_on_the_target_are_compared_by_name_and_the_others_by_value() {
    for (policy, code, kept) in [("skip", 0, 2), ("merge", 0, 2), ("fail", 1, 2)] {
        let (source, target) = servers();
        let run = full(&source, &target, &["--if-exists", policy]).expect(code);
        assert_eq!(run.differences(), [], "{policy}{}", run.frame());
        let (used, own) = (of_database(&run, 0), of_database(&run, 1));
        assert_eq!((&used["mode"], &used["by_value"]), (&"names".into(), &(101 - kept).into()));
        assert_eq!(used["both_ways"], false);
        assert_eq!((&own["mode"], &own["both_ways"]), (&"full".into(), &true.into()));
        assert_eq!(run.report()["verify"]["mode"], "names", "{policy}{}", run.frame());
        if policy != "fail" {
            assert!(run.stdout.contains("99 keys copied have their value"), "{}", run.frame());
            assert!(run.stdout.contains("Verified (names)"), "{}", run.frame());
        }
    }
}

#[test]
fn a_used_database_that_is_replaced_is_compared_by_value_but_one_way() {
    let (source, target) = servers();
    let run = full(&source, &target, &["--if-exists", "replace"]).expect(0);
    let used = of_database(&run, 0);
    assert_eq!((&used["mode"], &used["both_ways"]), (&"full".into(), &false.into()));
    assert_eq!((&used["extra"], &used["by_value"]), (&0.into(), &Value::Null));
    assert_eq!(run.report()["verify"]["mode"], "full", "{}", run.frame());
    assert!(run.stdout.contains("other keys of the target were not looked at"), "{}", run.frame());
}

#[test]
fn a_copied_key_that_is_wrong_is_found_beside_keys_that_stayed() {
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "more", 2_000, 20);
    let slow = ["--if-exists", "skip", "--max-keys-rate", "1000"];
    let running = full(&source, &target, &slow).start();
    let copied = || {
        let held: Vec<String> = target.client(0).call(cmd("KEYS").arg("more:*"));
        held.first().cloned()
    };
    wait_until("a key is copied", || copied().is_some());
    let wrong = copied().expect("a key");
    target.client(0).set(wrong.as_bytes(), b"wrong");
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(run.differences(), [("different".to_owned(), wrong)], "{}", run.frame());
    assert_eq!(of_database(&run, 0)["different"], 1, "{}", run.frame());
}

#[test]
fn databases_that_replace_each_others_keys_are_compared_by_name() {
    let (source, target) = (servers().0, Server::start(Kind::Redis70));
    let into_one = ["--db", "0:5", "--db", "1:5", "--if-exists", "replace"];
    let run = full(&source, &target, &into_one).expect(0);
    assert_eq!(run.report()["verify"]["mode"], "names", "{}", run.frame());
    claims_no_values(&run);
}

#[test]
fn a_resumed_copy_that_does_not_know_what_stayed_claims_names_only() {
    let (source, target) = servers();
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let state = directory.path().join("state").to_string_lossy().into_owned();
    let options = ["--if-exists", "skip", "--state", state.as_str()];
    let slow = [&options[..], &["--max-keys-rate", "20"]].concat();
    let running = full(&source, &target, &slow).start();
    wait_until("keys are copied", || target.client(1).dbsize() > 5);
    running.signal("INT");
    running.finish().assert_code(&[130]);
    let run = full(&source, &target, &options).expect(0);
    assert_eq!(run.differences(), [], "{}", run.frame());
}

#[test]
fn a_backup_claims_nothing_of_the_source() {
    let (source, _) = servers();
    for way in ["auto", "dump"] {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let backup = Keyferry::new().arg("backup").arg(source.url());
        let backup = backup.arg(directory.path().join("saved.rdb")).args(["--fetch", way]);
        let run = backup.with_report().expect(0);
        assert!(run.stdout.contains("not compared with the source"), "{}", run.frame());
        assert_eq!(of_database(&run, 0)["mode"], "read-back", "{}", run.frame());
        claims_no_values(&run);
    }
}

#[test]
fn a_copy_of_a_file_claims_names_only() {
    let (source, _) = servers();
    let target = Server::start(Kind::Redis70);
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("saved.rdb");
    Keyferry::new().arg("backup").arg(source.url()).arg(&file).expect(0);
    let run = Keyferry::copy(&file, target.url()).expect(0);
    assert_eq!(run.report()["verify"]["mode"], "names", "{}", run.frame());
    assert!(run.stdout.contains("every name of the file"), "{}", run.frame());
    claims_no_values(&run);
}
