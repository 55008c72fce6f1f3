//! Values that go element by element: a plan that sees one tries the rights that they need.

use redis::cmd;

use super::rights::user_without;
use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::permissions::PAGE;
use crate::support::server::{Kind, Server, Setup};

/// What docs/permissions.md says that such values need, beside what every copy does: of the reader, and of the writer. `APPEND`
/// is for those that the source does not send at once.
fn listed() -> (Vec<String>, Vec<String>) {
    let start = PAGE.find("Values longer than the target takes at once need").expect("a list");
    let text = PAGE[start..].split("\n\n").next().unwrap_or_default();
    let (reader, writer) = text.split_once("and of the writer").expect("both sides");
    let rights = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !(c == '+' || c == '|' || c.is_ascii_lowercase()));
        let rights = words.filter(|word| word.len() > 1).filter_map(|word| word.strip_prefix('+'));
        rights
            .filter(|right| !["config|get", "append"].contains(right))
            .map(str::to_owned)
            .collect()
    };
    (rights(reader), rights(writer))
}

/// A source with a long value of each type, some of them with expiries and groups, and a target that takes none
/// of them at once.
fn long_values() -> (Server, Server) {
    let source = Server::start(Kind::Redis82);
    let mut client = source.client(0);
    client.set(b"string", &noise(1, 2_000_000));
    for number in 0..20_u32 {
        let element = noise(number.into(), 100_000);
        client.run(cmd("RPUSH").arg("list").arg(&element));
        client.run(cmd("SADD").arg("set").arg(&element));
        client.run(cmd("ZADD").arg("zset").arg(number).arg(&element));
        client.run(cmd("HSET").arg("hash").arg(number).arg(&element));
        client.run(cmd("XADD").arg("stream").arg("*").arg("f").arg(&element));
    }
    (source, Setup::new(Kind::Redis82).option("--proto-max-bulk-len", "1mb").start())
}

fn tells(run: &Run, side: &str, right: &str) -> bool {
    let findings = run.report()["findings"].as_array().expect("findings");
    findings.iter().any(|finding| {
        let granted = finding["remedy"].as_str().unwrap_or_default();
        let word = format!("+{right}");
        finding["side"] == side && granted.split_whitespace().any(|granted| granted == word)
    })
}

#[test]
fn each_right_that_they_need_is_tried() {
    let (source, target) = long_values();
    let (reader, writer) = listed();
    assert!(reader.len() > 10 && writer.len() > 20, "{reader:?} {writer:?}");
    target.reset_commands();
    for right in &reader {
        let user = user_without(&source, &[&format!("-{right}")]);
        let run = Keyferry::plan(user, target.url()).expect(0);
        assert!(tells(&run, "source", right), "{right}{}", run.frame());
    }
    for right in &writer {
        let user = user_without(&target, &[&format!("-{right}")]);
        let options = ["--if-exists", if right == "rename" { "replace" } else { "skip" }];
        let run = Keyferry::plan(source.url(), user).args(options).expect(0);
        assert!(tells(&run, "target", right), "{right}{}", run.frame());
    }
    assert_eq!(target.writes_done(), Vec::<String>::new());
    target.reset_commands();
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    assert_eq!(target.write_commands(), Vec::<String>::new(), "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn a_missing_right_is_told_and_the_copy_fails_for_it() {
    let (source, target) = long_values();
    for (right, failed) in [("eval", 1), ("rpush", 2), ("xadd", 1), ("pexpire", 6)] {
        let user = user_without(&target, &[&format!("-{right}")]);
        let run = Keyferry::plan(source.url(), &user).expect(0);
        assert!(tells(&run, "target", right), "{}", run.frame());
        Keyferry::copy(source.url(), user)
            .expect(1)
            .assert_counts(&[("copied", 6 - failed), ("failed", failed)]);
        target.client(0).run(&cmd("FLUSHALL"));
    }
    let user = user_without(&source, &["-getrange"]);
    let run = Keyferry::plan(&user, target.url()).expect(0);
    assert!(tells(&run, "source", "getrange"), "{}", run.frame());
    let run = Keyferry::copy(user, target.url()).expect(1);
    run.assert_counts(&[("copied", 5), ("failed", 1)]);
}

/// A name that the user may not touch is the temporary one, too.
#[test]
fn the_temporary_name_is_tried() {
    let (source, target) = long_values();
    let user = user_without(&target, &["resetkeys", "~string"]);
    let only = ["--match", "string"];
    let run = Keyferry::plan(source.url(), &user).args(only).expect(0);
    assert_eq!(run.findings("warning"), ["long-values of target"], "{}", run.frame());
    assert!(run.stdout.contains("~keyferry:tmp:*"), "{}", run.frame());
    Keyferry::copy(source.url(), user).args(only).expect(1);
    let user = user_without(&target, &["resetkeys", "~string", "~keyferry:tmp:*"]);
    let run = Keyferry::plan(source.url(), &user).args(only).expect(0);
    assert!(run.stdout.contains("Nothing stands in the way"), "{}", run.frame());
    Keyferry::copy(source.url(), user).args(only).expect(0);
}

/// With all rights a string gets there; whether every element of another value does, nobody knows beforehand.
#[test]
fn a_string_is_no_cause_for_a_warning_where_all_is_permitted() {
    let (source, target) = long_values();
    let only = ["--match", "string"];
    let run = Keyferry::plan(source.url(), target.url()).args(only).expect(0);
    assert!(run.stdout.contains("Nothing stands in the way"), "{}", run.frame());
    assert!(run.findings("note").contains(&"long-values of target".to_owned()), "{}", run.frame());
    Keyferry::copy(source.url(), target.url()).args(only).expect(0);
    target.client(0).run(&cmd("FLUSHALL"));
    let run = Keyferry::plan(source.url(), target.url()).args(["--type", "list"]).expect(0);
    assert_eq!(run.findings("warning"), ["long-values of target"], "{}", run.frame());
}

/// Neither what keys take nor what the target takes may be asked for, and the value compresses well.
#[test]
fn lengths_are_known_as_far_as_they_may_be_asked_for() {
    let source = Server::start(Kind::Redis70);
    source.client(0).set(b"string", &vec![b'x'; 2_000_000]);
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
    let writers = [&["-eval"][..], &["-eval", "-config|get"]];
    let readers = [&[][..], &["-memory|usage"], &["-memory|usage", "-strlen"], &["-type"]];
    for writer in writers {
        for reader in readers {
            let from = user_without(&source, reader);
            let into = user_without(&target, writer);
            let run = Keyferry::plan(&from, &into).expect(0);
            assert!(tells(&run, "target", "eval"), "{reader:?} {writer:?}{}", run.frame());
        }
    }
    let into = user_without(&target, &["-eval"]);
    Keyferry::copy(source.url(), into).expect(1);
}

/// Also where it is needed by some values, and perhaps by others, whose lengths nobody tells.
#[test]
fn a_right_is_told_once() {
    let (source, target) = long_values();
    fill_strings(&mut source.client(0), "short", 10, 20);
    let reader = user_without(&source, &["-memory|usage", "-strlen", "-watch"]);
    let run = Keyferry::plan(reader, target.url()).expect(0);
    for right in ["+watch", "+strlen"] {
        assert_eq!(run.stdout.matches(right).count(), 1, "{right}{}", run.frame());
    }
}

/// What the source never sends whole goes in parts, and what is large and would have to be encoded anew does.
#[test]
fn other_values_that_go_in_parts() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis62));
    let mut client = source.client(0);
    let element = noise(1, 40_000);
    for _ in 0..40 {
        client.run(cmd("RPUSH").arg("list").arg(&element));
    }
    let user = user_without(&target, &["-rpush"]);
    let run = Keyferry::plan(source.url(), &user).expect(0);
    assert!(tells(&run, "target", "rpush"), "{}", run.frame());
    Keyferry::copy(source.url(), user).expect(1);
    target.client(0).run(&cmd("FLUSHALL"));
    client.run(&cmd("FLUSHALL"));
    client.set(b"string", &noise(1, 3 << 20));
    let limit = "normal 1mb 0 0";
    client.run(cmd("CONFIG").arg("SET").arg("client-output-buffer-limit").arg(limit));
    let user = user_without(&target, &["-append"]);
    let run = Keyferry::plan(source.url(), &user).expect(0);
    assert!(tells(&run, "target", "append"), "{}", run.frame());
    Keyferry::copy(source.url(), user).expect(1);
}
