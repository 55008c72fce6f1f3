//! What a copy will end with by exit code 1 is no "Nothing stands in the way" of its plan.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

const CLEAR: &str = "Nothing stands in the way";

/// The plan warns of this, and the copy ends as it is said.
#[track_caller]
fn warned((source, target): (&str, &str), options: &[&str], code: &str, says: &[&str]) -> Run {
    let plan = Keyferry::plan(source, target).args(options).expect(0);
    let copy = Keyferry::copy(source, target).args(options).expect(1);
    let both = format!("{options:?}{}{}", plan.frame(), copy.frame());
    assert_eq!(plan.findings("warning"), [code], "{both}");
    assert!(!plan.stdout.contains(CLEAR), "{both}");
    for words in says {
        assert!(plan.stdout.contains(words), "{words}: {both}");
    }
    copy
}

/// Nothing is said, and the copy does it.
#[track_caller]
fn clear((source, target): (&str, &str), options: &[&str]) {
    let plan = Keyferry::plan(source, target).args(options).expect(0);
    assert!(plan.stdout.contains(CLEAR), "{options:?}{}", plan.frame());
    Keyferry::copy(source, target).args(options).expect(0);
}

/// Ten keys of the source, three of which the target holds with other values.
fn three_of_ten() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    fill_strings(&mut source.client(0), "key", 10, 20);
    for number in 0..3 {
        target.client(0).set(format!("key:{number}").as_bytes(), b"another");
    }
    (source, target)
}

/// `--lossy` copies them without these expiries, so a move finds other values there.
#[test]
fn fields_that_will_not_expire_keep_a_key_on_the_source() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    client.run(cmd("HSET").arg("hash").arg("a").arg(1).arg("b").arg(2));
    client.run(cmd("HEXPIRE").arg("hash").arg(1_000).arg("FIELDS").arg(1).arg("a"));
    let (from, into) = (source.url(), target.url());
    let of = (from.as_str(), into.as_str());
    let plan = Keyferry::plan(of.0, of.1).arg("--lossy").expect(0);
    let noted = plan.findings("note").contains(&"expiries-lost of target".to_owned());
    assert!(noted && plan.findings("warning").is_empty(), "{}", plan.frame());
    assert!(!plan.stdout.contains("bookkeeping"), "{}", plan.frame());
    let says = ["1 hash of the sample", "keeps them on the source"];
    warned(of, &["--lossy", "--delete-source"], "expiries-lost of target", &says);
}

const EXIST: &str = "exist-on-target of target";

#[test]
fn keys_that_exist_on_the_target() {
    let (source, target) = three_of_ten();
    let (from, into) = (source.url(), target.url());
    let of = (from.as_str(), into.as_str());
    let says = ["of 3 of the 10 names", "exit code 1"];
    let fails = ["--if-exists", "fail"];
    warned(of, &[&fails[..], &["--match", "key:[012]"]].concat(), EXIST, &["of 3 of the 3 names"]);
    warned(of, &[&fails[..], &["--dry-run"]].concat(), EXIST, &says);
    warned(of, &fails, EXIST, &says).assert_counts(&[("copied", 7), ("failed", 3)]);
    clear(of, &["--if-exists", "skip"]);
    clear(of, &["--if-exists", "fail", "--db", "0:1"]);
}

#[test]
fn a_move_keeps_what_the_target_holds_otherwise() {
    for policy in ["skip", "fail", "merge"] {
        let (source, target) = three_of_ten();
        let (from, into) = (source.url(), target.url());
        let options = ["--if-exists", policy, "--delete-source"];
        let says = ["of 3 of the 10 names", "on the source", "exit code 1"];
        warned((&from, &into), &options, EXIST, &says);
        assert_eq!(source.client(0).dbsize(), 3, "{policy}");
    }
    let (source, target) = three_of_ten();
    clear((&source.url(), &target.url()), &["--if-exists", "replace", "--delete-source"]);
}

/// The sample shows none of them; that there is none it cannot show.
#[test]
fn keys_that_a_sample_does_not_show_may_exist() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 100_000, 2);
    source.client(0).set(b"rare", b"x");
    target.client(0).set(b"rare", b"y");
    let options = ["--if-exists", "fail"];
    let run = Keyferry::plan(source.url(), target.url()).args(options).expect(0);
    assert_eq!(run.findings("warning"), [EXIST], "{}", run.frame());
    target.client(0).run(&cmd("FLUSHALL"));
    let run = Keyferry::plan(source.url(), target.url()).args(options).expect(0);
    assert!(run.stdout.contains(CLEAR), "{}", run.frame());
}

/// Of names in two databases that go into one.
#[test]
fn names_that_come_twice() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for database in [0, 1] {
        fill_strings(&mut source.client(database), "key", 5, 20);
    }
    let (from, into) = (source.url(), target.url());
    let options = ["--db", "0:3", "--db", "1:3", "--if-exists", "fail"];
    warned((&from, &into), &options, EXIST, &["5 of the keys", "same name"]);
    target.client(3).run(cmd("FLUSHDB").arg("SYNC"));
    source.client(1).run(cmd("FLUSHDB").arg("SYNC"));
    fill_strings(&mut source.client(1), "other", 5, 20);
    clear((&from, &into), &options);
}

#[test]
fn nothing_is_selected_where_something_should_be() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let none = |options: &[&str]| {
        let options = [options, &["--fail-if-empty"]].concat();
        let run = super::is_blocked(
            Keyferry::plan(source.url(), target.url()).args(&options),
            "nothing-selected of source",
        );
        assert!(run.findings("warning").is_empty(), "{}", run.frame());
        Keyferry::copy(source.url(), target.url()).args(&options).expect(1);
    };
    none(&[]);
    fill_strings(&mut source.client(0), "key", 10, 20);
    none(&["--match", "other:*"]);
    none(&["--db", "3"]);
    none(&["--type", "hash"]);
    Keyferry::plan(source.url(), target.url()).args(["--match", "other:*"]).expect(0);
    clear((&source.url(), &target.url()), &["--fail-if-empty"]);
}

#[test]
fn names_that_memory_has_no_room_for() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"short", b"x");
    source.client(0).set(&vec![b'l'; 3_000_000], b"x");
    let (from, into) = (source.url(), target.url());
    let says = ["1 of the keys", "--memory 34MiB"];
    let run = warned((&from, &into), &["--memory", "24MiB"], "long-names of source", &says);
    run.assert_counts(&[("copied", 1), ("failed", 1)]);
    target.client(0).run(&cmd("FLUSHALL"));
    clear((&from, &into), &["--memory", "34MiB"]);
}
