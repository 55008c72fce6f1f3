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
    table.refuses_other_words();
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
