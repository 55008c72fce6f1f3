//! `--dry-run`: the servers' own statistics show that nothing was written, nor a single payload read.

use crate::support::dataset::fill_database;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

/// Runs dry with these options and lets both servers testify.
#[track_caller]
fn writes_nothing(source: &Server, target: &Server, options: &[&str]) {
    let before = (source.client(0).dbsize(), target.client(0).dbsize());
    source.reset_commands();
    target.reset_commands();
    let run = Keyferry::copy(source.url(), target.url()).arg("--dry-run").args(options).run();
    // Foreseen failures may be told by the exit code as they would be by the real run.
    let foreseen = options.contains(&"fail");
    run.assert_code(if foreseen { &[0, 1] } else { &[0] });
    assert_eq!(run.outcome(), "dry-run", "{}", run.frame());
    for server in [source, target] {
        assert_eq!(server.write_commands(), Vec::<String>::new(), "{}", run.frame());
        // One may be a question for the permission; hundreds would be the payloads.
        let dumps = server.calls("dump");
        assert!(dumps <= 3, "a dry run fetched {dumps} payloads{}", run.frame());
    }
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), before);
    // What would happen to each key is told, and every key is in one of the counts.
    assert_eq!(run.count("scanned"), before.0 as u64, "{}", run.frame());
    assert_eq!(run.count("deleted_from_source"), 0, "{}", run.frame());
}

#[test]
fn into_an_empty_target() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_database(&source, 0);
    writes_nothing(&source, &target, &[]);
    writes_nothing(&source, &target, &["--match", "set:*", "--type", "set"]);
}

#[test]
fn with_everything_that_would_write() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    fill_database(&source, 0);
    target.client(0).set(b"string:embstr", b"mine");
    for policy in ["replace", "skip", "fail", "merge"] {
        writes_nothing(&source, &target, &["--if-exists", policy]);
    }
    writes_nothing(&source, &target, &["--if-exists", "replace", "--delete-source"]);
}

#[test]
fn a_real_run_is_seen_by_the_same_statistics() {
    // Else the tests above could not fail.
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_database(&source, 0);
    target.reset_commands();
    Keyferry::copy(source.url(), target.url()).expect(0);
    assert!(target.write_commands().contains(&"restore".to_owned()));
}
