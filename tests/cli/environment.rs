//! Environment variables, for drop-in use in a container.

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, SECRET_VALUE};
use crate::support::server::{Kind, Server};

const OFF: [Option<&str>; 6] = [None, Some(""), Some("0"), Some("false"), Some("no"), Some("off")];
const ON: [&str; 4] = ["1", "true", "yes", "on"];
const NEITHER: [&str; 5] = ["2", "maybe", "-1", "y e s", "enabled"];

/// Two servers that serve a whole table: before each run they are as new.
struct Table {
    source: Server,
    target: Server,
    variable: &'static str,
}

impl Table {
    fn new(variable: &'static str) -> Self {
        Self {
            source: Server::start(Kind::Redis70),
            target: Server::start(Kind::Redis70),
            variable,
        }
    }

    #[track_caller]
    fn run(&self, value: Option<&str>, target_holds_key: bool) -> Run {
        for server in [&self.source, &self.target] {
            server.client(0).run(&redis::cmd("FLUSHALL"));
        }
        fill_strings(&mut self.source.client(0), "key", 3, 10);
        if target_holds_key {
            self.target.client(0).set(b"key:0", SECRET_VALUE.as_bytes());
        }
        let keyferry = Keyferry::copy(self.source.url(), self.target.url());
        match value {
            Some(value) => keyferry.env(self.variable, value).run(),
            None => keyferry.run(),
        }
    }

    /// Anything but the known words is a usage error that names the variable, before any write.
    #[track_caller]
    fn refuses_other_words(&self) {
        for word in NEITHER {
            let run = self.run(Some(word), false);
            run.assert_code(&[2]);
            run.assert_says(&[self.variable]);
            assert_eq!(self.target.client(0).dbsize(), 0);
        }
    }
}

#[test]
fn dry_run() {
    let table = Table::new("DRY_RUN");
    for value in OFF {
        table.run(value, false).assert_code(&[0]);
        assert_eq!(table.target.client(0).dbsize(), 3, "DRY_RUN={value:?} is off");
    }
    for value in ON {
        let run = table.run(Some(value), false);
        run.assert_code(&[0]);
        assert_eq!(run.outcome(), "dry-run");
        assert_eq!(table.target.client(0).dbsize(), 0, "DRY_RUN={value} is on");
    }
    table.refuses_other_words();
}

#[test]
fn clean_up() {
    let table = Table::new("CLEAN_UP");
    for value in OFF {
        table.run(value, false).assert_counts(&[("copied", 3)]);
        assert_eq!(table.source.client(0).dbsize(), 3, "CLEAN_UP={value:?} is off");
    }
    for value in ON {
        table.run(Some(value), false).assert_counts(&[("copied", 3), ("deleted_from_source", 3)]);
        assert_eq!(table.source.client(0).dbsize(), 0, "CLEAN_UP={value} is on");
        assert_eq!(table.target.client(0).dbsize(), 3);
    }
    table.refuses_other_words();
}

#[test]
fn replace_dst_keys() {
    let table = Table::new("REPLACE_DST_KEYS");
    for value in OFF {
        // A target that holds keys is refused, as without the variable.
        table.run(value, true).assert_code(&[4]);
        let kept = table.target.client(0).get(b"key:0");
        assert_eq!(kept.as_deref(), Some(SECRET_VALUE.as_bytes()), "{value:?} is off");
    }
    for value in ON {
        table.run(Some(value), true).assert_code(&[0]);
        let replaced = table.target.client(0).get(b"key:0");
        assert_eq!(replaced, table.source.client(0).get(b"key:0"), "{value} is on");
    }
    table.refuses_other_words();
}

#[test]
fn debug() {
    let table = Table::new("DEBUG");
    let lines = |value| {
        let run = table.run(value, false);
        run.assert_code(&[0]);
        run.stderr.lines().count()
    };
    let quiet = lines(None);
    for value in OFF {
        assert_eq!(lines(value), quiet, "DEBUG={value:?} is off");
    }
    for value in ON {
        assert!(lines(Some(value)) > quiet, "DEBUG={value} says no more than without");
    }
    // Other programs give it other values: `app:*` (Node), `2` (pip).
    for value in ["app:*", "2", "release"] {
        assert_eq!(lines(Some(value)), quiet, "DEBUG={value} is not for us");
    }
    Table::new("KEYFERRY_DEBUG").refuses_other_words();
}

#[test]
fn our_own_variables_win_and_the_command_line_wins_over_both() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 3, 10);
    let copy = || Keyferry::copy(source.url(), target.url()).args(["--if-exists", "replace"]);
    let outcome = |run: Keyferry| run.expect(0).outcome().to_owned();
    assert_eq!(outcome(copy().env("KEYFERRY_DRY_RUN", "on")), "dry-run");
    assert_eq!(outcome(copy().env("DRY_RUN", "1").env("KEYFERRY_DRY_RUN", "0")), "complete");
    assert_eq!(outcome(copy().env("DRY_RUN", "1").arg("--dry-run=false")), "complete");
    assert_eq!(outcome(copy().env("DRY_RUN", "0").arg("--dry-run=true")), "dry-run");
    assert_eq!(outcome(copy().env("DRY_RUN", "0").arg("--dry-run")), "dry-run");
    let kept = copy().env("CLEAN_UP", "true").arg("--delete-source=false").expect(0);
    assert_eq!((kept.count("deleted_from_source"), source.client(0).dbsize()), (0, 3));
    assert!(!kept.stderr.contains("CLEAN_UP"), "{}", kept.frame());
    copy().arg("--delete-source=maybe").expect(2);
    let moved = copy().env("KEYFERRY_CLEAN_UP", "yes").expect(0);
    assert_eq!(moved.count("deleted_from_source"), 3);
}

#[test]
fn what_comes_from_the_environment_is_said_once() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 3, 10);
    let names = ["DRY_RUN", "CLEAN_UP", "REPLACE_DST_KEYS", "DEBUG"];
    let options = ["--dry-run", "--delete-source", "--if-exists replace", "-v"];
    for prefix in ["", "KEYFERRY_"] {
        let copy = Keyferry::copy(source.url(), target.url());
        let run = names.iter().fold(copy, |run, name| run.env(&format!("{prefix}{name}"), "1"));
        let run = run.expect(0);
        for (name, option) in names.iter().zip(options) {
            let said = format!("{option} is on: the environment variable {prefix}{name} is set");
            assert_eq!(run.stderr.matches(&said).count(), 1, "{said}{}", run.frame());
        }
    }
    // What is off is not spoken of.
    let run = Keyferry::copy(source.url(), target.url()).env("CLEAN_UP", "0").expect(0);
    assert!(!run.stderr.contains("environment"), "{}", run.frame());
}

#[test]
fn a_dry_run_is_one_for_every_command() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for server in [&source, &target] {
        fill_strings(&mut server.client(0), "key", 3, 10);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("saved.rdb");
    let backup = || Keyferry::new().arg("backup").arg(source.url()).arg(&file).with_report();
    let run = backup().env("DRY_RUN", "1").expect(0);
    assert_eq!((run.outcome(), run.count("copied")), ("dry-run", 3), "{}", run.frame());
    assert!(run.stdout.contains("would save about 3 keys"), "{}", run.frame());
    assert_eq!(directory.path().read_dir().expect("it is there").count(), 0);
    let cleanup = || Keyferry::cleanup(source.url(), target.url()).arg("--force");
    assert_eq!(cleanup().env("DRY_RUN", "1").expect(0).outcome(), "dry-run");
    assert_eq!(source.client(0).dbsize(), 3);
    // What would be refused is refused.
    std::fs::write(&file, "theirs").expect("a file");
    backup().arg("--dry-run").expect(4);
    assert_eq!(std::fs::read(&file).expect("a file"), b"theirs");
}

#[test]
fn the_endpoints_may_come_from_the_environment() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(2), "key", 5, 10);
    let run = Keyferry::new()
        .arg("copy")
        .env("SOURCE_REDIS_URL", &source.url_of(2))
        .env("DESTINATION_REDIS_URL", &target.url_of(0))
        .with_report()
        .expect(0);
    run.assert_counts(&[("copied", 5)]);
    assert_eq!(target.client(0).dbsize(), 5);
}

#[test]
fn without_any_argument_the_environment_is_enough() {
    // As a container runs it.
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 5, 10);
    Keyferry::new()
        .env("SOURCE_REDIS_URL", &source.url_of(0))
        .env("DESTINATION_REDIS_URL", &target.url_of(0))
        .expect(0);
    assert_eq!(target.client(0).dbsize(), 5);
}

#[test]
fn arguments_win_over_the_environment() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 5, 10);
    Keyferry::copy(source.url_of(0), target.url_of(0))
        .env("SOURCE_REDIS_URL", "redis://127.0.0.1:1/0")
        .env("DESTINATION_REDIS_URL", "redis://127.0.0.1:2/0")
        .expect(0);
    assert_eq!(target.client(0).dbsize(), 5);
}

#[test]
fn one_argument_and_one_variable() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 5, 10);
    Keyferry::new()
        .arg("copy")
        .arg(source.url_of(0))
        .env("DESTINATION_REDIS_URL", &target.url_of(0))
        .expect(0);
    assert_eq!(target.client(0).dbsize(), 5);
}
