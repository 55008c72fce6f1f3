//! Nothing is deleted that nobody agreed to, or that would be the only copy.

use std::io::Write as _;
use std::process::{Command, Stdio};

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::fill;
use crate::support::keyferry::{Keyferry, Run, SECRET};
use crate::support::permissions::rules_of;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const KEYS: usize = 200;

/// Two servers that hold the same.
fn pair() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    source.reset_commands();
    target.reset_commands();
    (source, target)
}

/// Fails unless it was refused and no writing command reached either server.
#[track_caller]
fn assert_refused(run: &Run, servers: [&Server; 2]) {
    run.assert_code(&[4]);
    assert_eq!(run.outcome(), "refused", "{}", run.frame());
    for server in servers {
        assert_eq!(server.writes_done(), Vec::<String>::new(), "{}", run.frame());
    }
}

#[test]
fn without_a_terminal_it_has_to_be_forced() {
    let (source, target) = pair();
    let run = Keyferry::cleanup(source.url(), target.url()).run();
    assert_refused(&run, [&source, &target]);
    run.assert_says(&["--force", "--dry-run"]);
    assert_eq!(source.client(0).dbsize(), KEYS);
}

/// Answers at a terminal, which `script` makes; the exit code and all that was shown.
#[track_caller]
fn answer(source: &Server, target: &Server, typed: &str) -> (Option<i32>, String) {
    let words = [env!("CARGO_BIN_EXE_keyferry"), "cleanup", &source.url(), "--verified-against"];
    let line = format!("{} {}", words.join(" "), target.url());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = script.spawn().expect("util-linux's `script` is installed");
    let mut keyboard = child.stdin.take().expect("stdin is piped");
    keyboard.write_all(typed.as_bytes()).expect("script takes what is typed");
    // The keyboard stays: its end would be taken for an answer.
    let mut state = None;
    wait_until("the run has ended", || {
        state = child.try_wait().expect("the state of a child");
        state.is_some()
    });
    drop(keyboard);
    let shown = child.wait_with_output().expect("what it printed");
    (state.and_then(|state| state.code()), String::from_utf8_lossy(&shown.stdout).into_owned())
}

#[test]
fn at_a_terminal_only_yes_means_yes() {
    let (source, target) = pair();
    fill_strings(&mut source.client(3), "other", 5, 20);
    for no in ["no\n", "y\n", "\n", "YES!\n"] {
        let (code, shown) = answer(&source, &target, no);
        assert_eq!(code, Some(4), "{no:?}: {shown}");
        assert!(shown.contains("nothing is deleted"), "{shown}");
        assert_eq!(source.client(0).dbsize(), KEYS, "{no:?}: {shown}");
    }
    for part in
        [&source.url(), &target.url(), "database 0: about 200 keys", "database 3: about 5 keys"]
    {
        let (_, shown) = answer(&source, &target, "no\n");
        assert!(shown.contains(part), "{part} is not told: {shown}");
    }
    let (code, shown) = answer(&source, &target, "yes\n");
    assert_eq!(code, Some(1), "{shown}");
    assert_eq!((source.client(0).dbsize(), source.client(3).dbsize()), (0, 5), "{shown}");
}

#[test]
fn a_dry_run_tells_and_sends_no_write() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    fill(&source);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let before = source.client(0).dbsize();
    source.reset_commands();
    target.reset_commands();
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--dry-run").expect(0);
    assert_eq!(run.outcome(), "dry-run", "{}", run.frame());
    assert_eq!(run.count("compared"), run.count("scanned"), "{}", run.frame());
    assert!(run.stdout.contains("would delete"), "{}", run.frame());
    target.client(0).run(cmd("DEL").arg("string:embstr"));
    target.reset_commands();
    // By the environment as well, and told by the exit code where not all is equal.
    let run = Keyferry::cleanup(source.url(), target.url()).env("DRY_RUN", "yes").expect(1);
    assert_eq!(run.count("kept_on_source"), 1, "{}", run.frame());
    assert_eq!(run.count("deleted_from_source"), 0, "{}", run.frame());
    for server in [&source, &target] {
        assert_eq!(server.write_commands(), Vec::<String>::new(), "{}", run.frame());
    }
    assert_eq!(source.client(0).dbsize(), before);
}

#[test]
fn the_only_copy_is_never_deleted() {
    let server = Server::start(Kind::Redis70);
    fill_strings(&mut server.client(0), "key", 20, 20);
    fill_strings(&mut server.client(1), "key", 20, 20);
    server.reset_commands();
    let same: [&[&str]; 3] = [&[], &["--db", "1"], &["--db", "0:1", "--db", "1:0"]];
    for options in same {
        let run = Keyferry::cleanup(server.url(), server.url()).arg("--force").args(options).run();
        assert_refused(&run, [&server, &server]);
        run.assert_says(&["same server"]);
    }
    let other_name = format!("redis://localhost:{}", server.port);
    let run = Keyferry::cleanup(server.url(), other_name).arg("--force").run();
    assert_refused(&run, [&server, &server]);
    assert_eq!((server.client(0).dbsize(), server.client(1).dbsize()), (20, 20));
    // One database against another is no such thing.
    let run = Keyferry::cleanup(server.url_of(0), server.url_of(1)).arg("--force").expect(0);
    assert_eq!(run.count("deleted_from_source"), 20, "{}", run.frame());
    assert_eq!((server.client(0).dbsize(), server.client(1).dbsize()), (0, 20));
}

/// A replica of `primary` that has caught up.
fn replica_of(primary: &Server, kind: Kind) -> Server {
    let replica = Setup::new(kind)
        .option("--replicaof", &format!("127.0.0.1 {}", primary.port))
        .option("--repl-diskless-sync-delay", "0")
        .start();
    let mut client = replica.client(0);
    wait_until("the replica has caught up", || {
        client.info("replication", "master_link_status").as_deref() == Some("up")
            && client.dbsize() == KEYS
    });
    replica
}

#[test]
fn a_replica_is_no_second_copy_and_deletes_nothing() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    let replica = replica_of(&source, Kind::Redis70);
    source.reset_commands();
    let run = Keyferry::cleanup(source.url(), replica.url()).arg("--force").expect(4);
    run.assert_says(&["replica of the source"]);
    let run = Keyferry::cleanup(replica.url(), source.url()).arg("--force").expect(4);
    run.assert_says(&["source", "read-only"]);
    assert_eq!(source.writes_done(), Vec::<String>::new(), "{}", run.frame());
    assert_eq!((source.client(0).dbsize(), replica.client(0).dbsize()), (KEYS, KEYS));
}

/// The source as a user with these rules.
fn as_user(server: &Server, rules: &[&str]) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("cleaner").arg("reset").arg("on").arg(format!(">{SECRET}")).arg(rules);
    server.client(0).run(&user);
    format!("redis://cleaner:{SECRET}@127.0.0.1:{}", server.port)
}

#[test]
fn a_missing_right_is_found_before_the_first_deletion() {
    let (source, target) = pair();
    let cases: [(&[&str], &str); 4] = [
        (&["~*", "+@all", "-unlink", "-del"], "+unlink"),
        (&["~*", "+@all", "-watch"], "+watch"),
        (&["~*", "+@all", "-multi"], "+multi"),
        (&["~*", "+@all", "-exec"], "+exec"),
    ];
    for (rules, missing) in cases {
        let url = as_user(&source, rules);
        source.reset_commands();
        let run = Keyferry::cleanup(url, target.url()).arg("--force").run();
        assert_refused(&run, [&source, &target]);
        run.assert_says(&["source", missing]);
    }
    assert_eq!(source.client(0).dbsize(), KEYS);
}

#[test]
fn the_rights_that_are_listed_are_enough() {
    let (source, target) = pair();
    let url = as_user(&source, &rules_of("cleaner"));
    Keyferry::cleanup(url, target.url()).arg("--force").expect(0);
    assert_eq!(source.client(0).dbsize(), 0);
}

#[test]
fn where_unlink_is_not_allowed_del_does() {
    let (source, target) = pair();
    let url = as_user(&source, &["~*", "+@all", "-unlink"]);
    Keyferry::cleanup(url, target.url()).arg("--force").expect(0);
    assert_eq!(source.client(0).dbsize(), 0);
    assert!(source.calls("del") > 0);
}

#[test]
fn keys_that_a_user_may_not_delete_are_named_and_end_nothing() {
    let (source, target) = pair();
    let url = as_user(&source, &["%R~*", "%W~key:1*", "+@all"]);
    let run = Keyferry::cleanup(url, target.url()).arg("--force").expect(1);
    // key:1, key:10 … key:19, key:100 … key:199
    run.assert_counts(&[("compared", 111), ("deleted_from_source", 111), ("failed", 89)]);
    assert_eq!(source.client(0).dbsize(), 89);
    let why = run.report()["failures"][0]["error"].as_str().unwrap_or_default();
    assert!(why.contains("NOPERM"), "{}", run.frame());
}

#[test]
fn a_target_has_to_be_named() {
    let (source, target) = pair();
    let source_only = || Keyferry::new().arg("cleanup").arg(source.url());
    let run = source_only().arg("--force").expect(2);
    run.assert_says(&["--verified-against"]);
    // A service key of the source does not make a target of the URL.
    let key = format!("{{\"host\":\"127.0.0.1\",\"port\":{}}}", target.port);
    let command = source_only().arg("--force");
    let file = command.file("key.json", &key);
    command.arg("--source-service-key").arg(file).expect(2);
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (KEYS, KEYS));
    let run = Keyferry::new()
        .args(["cleanup", "--force"])
        .env("SOURCE_REDIS_URL", &source.url())
        .env("DESTINATION_REDIS_URL", &target.url());
    run.expect(0);
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, KEYS));
}
