//! A run that selects no key says so, proves nothing, and fails where that is asked for.

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 30, 20);
    (source, target)
}

/// Fails unless the run says that nothing was selected, and what to check.
#[track_caller]
fn says_so(run: &Run, check: &str) {
    run.assert_says(&["nothing was selected", check]);
    assert!(run.stdout.contains("Nothing was selected") && run.stdout.contains(check));
    assert!(!run.stdout.contains("Verified"), "{}", run.frame());
    assert_eq!(run.report()["verify"]["mode"], "none", "{}", run.frame());
}

/// Every command, as it selects nothing: what it is given, and what is to be checked.
fn each(check: impl Fn(&dyn Fn() -> Keyferry, &str)) {
    let ways: [(&[&str], &str); 3] = [
        (&["--match", "no:*"], "--match"),
        (&["--db", "7"], "--db"),
        (&["--type", "hash"], "--type"),
    ];
    for (options, hint) in ways {
        let (source, target) = servers();
        let (from, into) = (source.url(), target.url());
        check(&|| Keyferry::copy(&from, &into).args(options), hint);
        check(&|| Keyferry::copy(&from, &into).args(["--verify", "full"]).args(options), hint);
        check(&|| Keyferry::copy(&from, &into).arg("--dry-run").args(options), hint);
        check(&|| Keyferry::verify(&from, &into).args(options), hint);
        check(&|| Keyferry::cleanup(&from, &into).arg("--force").args(options), hint);
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let backup = |number: usize| {
            let file = directory.path().join(format!("{number}.rdb"));
            Keyferry::new().arg("backup").arg(&from).arg(file).with_report().args(options)
        };
        let number = std::cell::Cell::new(0);
        check(
            &|| {
                number.set(number.get() + 1);
                backup(number.get())
            },
            hint,
        );
        assert_eq!(source.client(0).dbsize(), 30);
    }
}

#[test]
fn it_is_a_warning_and_no_proof() {
    each(|command, hint| says_so(&command().expect(0), hint));
}

#[test]
fn it_is_a_failure_where_that_is_asked_for() {
    each(|command, hint| {
        let run = command().arg("--fail-if-empty").expect(1);
        says_so(&run, hint);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    });
}

#[test]
fn an_empty_source_is_told_by_every_command() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let (from, into) = (source.url(), target.url());
    says_so(&Keyferry::copy(&from, &into).expect(0), "--db");
    says_so(&Keyferry::verify(&from, &into).expect(0), "--db");
    says_so(&Keyferry::cleanup(&from, &into).arg("--force").expect(0), "--db");
    Keyferry::copy(&from, &into).arg("--fail-if-empty").expect(1);
}

#[test]
fn keys_that_only_the_target_holds_are_a_difference_and_not_nothing() {
    let (source, target) = servers();
    let run = Keyferry::verify(target.url(), source.url()).expect(1);
    assert_eq!(run.report()["verify"]["extra"], 30, "{}", run.frame());
    assert!(!run.stdout.contains("Nothing was selected"), "{}", run.frame());
}

#[test]
fn a_file_without_the_keys_is_told() {
    let (source, target) = servers();
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("saved.rdb");
    Keyferry::new().arg("backup").arg(source.url()).arg(&file).expect(0);
    let some = ["--match", "no:*"];
    says_so(&Keyferry::copy(&file, target.url()).args(some).expect(0), "--match");
    Keyferry::copy(&file, target.url()).args(some).arg("--fail-if-empty").expect(1);
}
