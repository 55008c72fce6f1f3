//! What deletes has to know that the sides are two servers, and that neither follows the other.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, SECRET};
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const KEYS: usize = 200;

fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    source
}

/// In front of a server whose INFO hides these fields.
fn hiding(server: &Server, fields: &'static [&'static str]) -> RewritingProxy {
    RewritingProxy::of_info(server, |info| {
        let told = |line: &&str| !fields.iter().any(|field| line.starts_with(&format!("{field}:")));
        info.split("\r\n").filter(told).collect::<Vec<_>>().join("\r\n")
    })
}

/// Everything that would delete keys of `from`, with leave to overwrite what `to` holds.
fn deleting(from: &str, to: &str) -> [Keyferry; 3] {
    let replace = ["--if-exists", "replace", "--delete-source"];
    [
        Keyferry::copy(from, to).args(replace),
        Keyferry::copy(from, to).args(replace).arg("--dry-run"),
        Keyferry::cleanup(from, to).arg("--force"),
    ]
}

/// Fails unless all of them are refused with these words, and the plan of the move says so, too.
#[track_caller]
fn are_refused(from: &str, to: &str, words: &[&str], blocker: &str) {
    for command in deleting(from, to) {
        let run = command.expect(4);
        assert_eq!(run.outcome(), "refused", "{}", run.frame());
        run.assert_says(words);
    }
    let plan = Keyferry::plan(from, to).args(["--if-exists", "replace", "--delete-source"]);
    let run = plan.expect(4);
    assert!(run.findings("blocker").iter().any(|found| found == blocker), "{}", run.frame());
}

/// A replica that takes writes and has caught up.
fn replica_of(primary: &Server) -> Server {
    let replica = Setup::new(Kind::Redis70)
        .option("--replicaof", &format!("127.0.0.1 {}", primary.port))
        .option("--replica-read-only", "no")
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
fn a_writable_replica_of_the_source_is_no_second_copy_however_far_down() {
    let source = source();
    source.synchronise_at_once();
    let first = replica_of(&source);
    let second = replica_of(&first);
    for replica in [&first, &second] {
        let words = ["replica of the source"];
        are_refused(&source.url(), &replica.url(), &words, "replication of target");
    }
    // Where both hide their history, that it is another's replica is not shown.
    let hidden = hiding(&second, &["master_replid", "master_replid2"]);
    are_refused(&source.url(), &hidden.url(), &["replica"], "replication of target");
    // Nor where it hides its role.
    let hidden = hiding(&second, &["role", "master_replid", "master_replid2"]);
    are_refused(&source.url(), &hidden.url(), &["replica"], "replication of target");
    for server in [&source, &first, &second] {
        assert_eq!(server.client(0).dbsize(), KEYS);
    }
}

#[test]
fn the_primary_of_a_writable_replica_is_not_independent_of_it() {
    let primary = source();
    primary.synchronise_at_once();
    let replica = replica_of(&primary);
    are_refused(&replica.url(), &primary.url(), &["replica"], "replication of target");
    assert_eq!((replica.client(0).dbsize(), primary.client(0).dbsize()), (KEYS, KEYS));
}

#[test]
fn a_target_that_was_promoted_stands_for_itself() {
    let source = source();
    source.synchronise_at_once();
    let promoted = replica_of(&source);
    promoted.follow_nobody();
    let run = Keyferry::cleanup(source.url(), promoted.url()).arg("--force").expect(0);
    assert_eq!(run.count("deleted_from_source"), KEYS as u64, "{}", run.frame());
    assert_eq!(promoted.client(0).dbsize(), KEYS);
}

/// Fails unless the server has all its keys, and none besides.
#[track_caller]
fn is_whole(server: &Server) {
    assert_eq!(server.client(0).dbsize(), KEYS);
    assert_eq!(server.client(0).get(b"key:7").map(|value| value.len()), Some(20));
}

#[test]
fn one_server_behind_two_addresses_that_hide_who_it_is() {
    let server = source();
    for fields in [&["run_id"][..], &["run_id", "master_replid", "master_replid2", "role"]] {
        let hidden = hiding(&server, fields);
        are_refused(&server.url(), &hidden.url(), &["same server"], "same-database");
        let run = Keyferry::copy(hidden.url(), server.url()).args(["--if-exists", "replace"]);
        run.expect(4).assert_says(&["same server"]);
        is_whole(&server);
    }
}

/// The server as a user that may not list clients.
fn as_user(server: &Server, port: u16, more: &[&str]) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("reset").arg("on").arg(format!(">{SECRET}"));
    user.arg(&["~*", "&*", "+@all", "-client|list"]).arg(more);
    server.client(0).run(&user);
    format!("redis://mover:{SECRET}@127.0.0.1:{port}")
}

const HIDDEN: &[&str] = &["run_id", "master_replid", "master_replid2"];

#[test]
fn a_key_written_to_the_target_shows_that_it_is_the_source() {
    let server = source();
    let hidden = hiding(&server, HIDDEN);
    let user = as_user(&server, server.port, &[]);
    let moves = ["--if-exists", "replace", "--delete-source"];
    let refused: [Keyferry; 4] = [
        Keyferry::copy(&user, hidden.url()).args(moves),
        Keyferry::copy(&user, hidden.url()).args(["--if-exists", "replace"]),
        Keyferry::copy(&user, hidden.url()).args([
            "--if-exists",
            "replace",
            "--db",
            "0:3",
            "--db",
            "3:4",
        ]),
        Keyferry::cleanup(&user, hidden.url()).arg("--force"),
    ];
    for command in refused {
        command.expect(4).assert_says(&["same server"]);
        is_whole(&server);
        assert_eq!(server.client(3).dbsize(), 0);
    }
    // What it cannot foresee without a write, a plan says.
    let run = Keyferry::plan(&user, hidden.url()).args(moves).run();
    assert_eq!(
        run.findings("warning").iter().filter(|w| w.contains("same-server")).count(),
        1,
        "{}",
        run.frame()
    );
    // Another database of the same server is another place.
    let run =
        Keyferry::copy(&user, hidden.url()).args(["--delete-source", "--db", "0:3"]).expect(0);
    run.assert_counts(&[("copied", KEYS as u64), ("deleted_from_source", KEYS as u64)]);
    assert_eq!((server.client(0).dbsize(), server.client(3).dbsize()), (0, KEYS));
}

#[test]
fn where_it_cannot_be_shown_nothing_is_deleted() {
    let (server, other) = (source(), Server::start(Kind::Redis70));
    Keyferry::copy(server.url(), other.url()).expect(0);
    let hidden = hiding(&other, HIDDEN);
    // A user that may not write on the target shows nothing by a key.
    let reader = as_user(&other, hidden.port, &["-set"]);
    let run = Keyferry::cleanup(server.url(), &reader).arg("--force").expect(4);
    run.assert_says(&["two servers", "+set"]);
    is_whole(&server);
    let run = Keyferry::cleanup(server.url(), hidden.url()).arg("--force").expect(0);
    assert_eq!(run.count("deleted_from_source"), KEYS as u64, "{}", run.frame());
    assert_eq!(other.client(0).dbsize(), KEYS, "the probe key is gone{}", run.frame());
}

#[test]
fn two_servers_that_hide_who_they_are_are_moved_between() {
    let (server, other) = (source(), Server::start(Kind::Valkey91));
    let (from, to) = (hiding(&server, HIDDEN), hiding(&other, HIDDEN));
    let run: Run = Keyferry::copy(from.url(), to.url()).arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", KEYS as u64), ("deleted_from_source", KEYS as u64)]);
    assert_eq!((server.client(0).dbsize(), other.client(0).dbsize()), (0, KEYS));
}

#[test]
fn an_empty_server_is_not_copied_onto_itself() {
    let server = Server::start(Kind::Redis70);
    let run = Keyferry::copy(server.url(), server.url()).expect(4);
    run.assert_says(&["same server"]);
    Keyferry::copy(server.url(), server.url()).arg("--delete-source").expect(4);
}
