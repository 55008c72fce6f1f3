//! Help, version, and the mistakes that are answered with exit code 2 before anything is connected.

use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

/// Nobody listens there: whoever connects fails with another code.
const NOWHERE: &str = "redis://127.0.0.1:1";

#[test]
fn help_of_the_whole() {
    for flag in ["--help", "-h"] {
        let run = Keyferry::new().arg(flag).expect(0);
        assert!(run.stdout.contains("copy") && run.stdout.contains("Usage"), "{}", run.frame());
    }
}

#[test]
fn help_of_each_command() {
    let help = Keyferry::new().arg("--help").expect(0);
    let commands: Vec<&str> = help
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.trim().is_empty())
        // Descriptions that wrap onto a second line stand further in.
        .filter(|line| line.starts_with("  ") && !line.starts_with("    "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.contains(&"copy"), "{}", help.frame());
    for command in commands {
        let run = Keyferry::new().args([command, "--help"]).expect(0);
        assert!(run.stdout.contains("Usage"), "help of {command}{}", run.frame());
    }
}

#[test]
fn help_of_copy_names_every_option() {
    let run = Keyferry::new().args(["copy", "--help"]).expect(0);
    let options = [
        "--db",
        "--match",
        "--exclude",
        "--type",
        "--if-exists",
        "--delete-source",
        "--dry-run",
        "--connections",
        "--max-rate",
        "--max-keys-rate",
        "--max-source-latency",
        "--source-compression",
        "--verify",
        "--report",
        "--progress",
        "--log-format",
        "--source-username",
        "--source-password-file",
        "--source-tls",
        "--source-cacert",
        "--source-cert",
        "--source-key",
        "--source-sni",
        "--source-tls-insecure",
        "--source-service-key",
        "--target-username",
        "--target-password-file",
        "--target-tls",
        "--target-cacert",
        "--target-cert",
        "--target-key",
        "--target-sni",
        "--target-tls-insecure",
        "--target-service-key",
        "--connect-timeout",
        "--reply-timeout",
    ];
    for option in options {
        assert!(run.stdout.contains(option), "help does not tell of {option}{}", run.frame());
    }
}

#[test]
fn version() {
    let run = Keyferry::new().arg("--version").expect(0);
    assert_eq!(run.stdout.trim(), concat!("keyferry ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn nothing_at_all_is_answered_with_usage() {
    // How to give the endpoints, or where to read about it.
    let run = Keyferry::new().expect(2);
    run.assert_says_one_of(&["usage", "--help", "SOURCE_REDIS_URL"]);
}

#[track_caller]
fn is_a_mistake(arguments: &[&str], named: &str) {
    let run = Keyferry::new().args(arguments).expect(2);
    run.assert_says(&[named]);
}

#[test]
fn a_missing_endpoint() {
    is_a_mistake(&["copy"], "SOURCE");
    is_a_mistake(&["copy", NOWHERE], "TARGET");
}

#[test]
fn too_much() {
    is_a_mistake(&["copy", NOWHERE, NOWHERE, "redis://third"], "[SOURCE] [TARGET]");
    is_a_mistake(&["copy", NOWHERE, NOWHERE, "--no-such-option"], "--no-such-option");
}

#[test]
fn values_that_are_none() {
    let bad = [
        ("--verify", "perhaps"),
        ("--progress", "dancing"),
        ("--log-format", "xml"),
        ("--connections", "0"),
        ("--connections", "many"),
        ("--max-rate", "0"),
        ("--max-rate", "fast"),
        ("--max-keys-rate", "0"),
        ("--max-keys-rate", "2k"),
        ("--max-source-latency", "0ms"),
        ("--source-compression", "on"),
        ("--connect-timeout", "soon"),
        ("--reply-timeout", "-1s"),
    ];
    for (option, value) in bad {
        is_a_mistake(&["copy", NOWHERE, NOWHERE, &format!("{option}={value}")], option);
    }
}

#[test]
fn copy_may_be_left_out() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"1");
    source.client(3).set(b"b", b"2");
    let run = Keyferry::new()
        .args([source.url(), target.url(), "--match".to_owned(), "b".to_owned()])
        .with_report()
        .expect(0);
    run.assert_counts(&[("copied", 1), ("filtered", 1)]);
    assert_eq!(target.client(3).get(b"b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn options_may_come_first() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"1");
    Keyferry::new().args(["copy", "--db", "0:1", &source.url(), &target.url()]).expect(0);
    assert!(target.client(1).exists(b"a"));
}

#[test]
fn any_number_of_connections_copies_the_same() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    crate::support::dataset::fill_database(&source, 0);
    for connections in ["1", "2", "7"] {
        Keyferry::copy(source.url(), target.url())
            .args(["--connections", connections, "--if-exists", "replace"])
            .expect(0);
        crate::support::compare::assert_equal(&source, &target, &[(0, 0)]);
        target.client(0).run(&redis::cmd("FLUSHALL"));
    }
}
