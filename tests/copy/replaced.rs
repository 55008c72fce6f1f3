//! A source that takes over the data of another server while it is read, as a replica does whose primary is
//! another one, or has lost its data: what was read before is not of what it holds in the end.

use redis::cmd;
use tempfile::TempDir;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 4_000;
/// Slow enough that a server is synchronised in the meantime.
const SLOW: [&str; 2] = ["--max-keys-rate", "800"];
const TOLD: &str = "took over the data of another server";

/// A server that hands its data out at once, with values of this length.
fn filled(kind: Kind, length: usize) -> Server {
    let server = Server::start(kind);
    server.synchronise_at_once();
    fill_strings(&mut server.client(0), "key", KEYS, length);
    server
}

/// Waits until a part is on the target, and strikes.
#[track_caller]
fn strike(mut running: Running, target: &Server, blow: impl FnOnce()) -> Run {
    let mut client = target.client(0);
    wait_until("a part is there", || client.dbsize() > KEYS / 10 || running.is_over());
    blow();
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    running.finish()
}

#[test]
fn a_copy_of_two_data_sets_is_told() {
    let foreign = ["--if-exists", "replace", "--verify", "full"];
    for (kind, options, promoted) in [
        (Kind::Redis62, &[][..], true),
        (Kind::Redis70, &foreign, false),
        (Kind::Redis82, &["--match", "k*"], true),
        (Kind::Valkey81, &["--verify", "none"], false),
        (Kind::Valkey91, &["--require-quiet"], true),
        (Kind::Valkey91, &["--require-quiet", "--if-exists", "skip"], false),
        (Kind::Redis70, &["--delete-source"], true),
    ] {
        let (source, other) = (filled(kind, 20), filled(kind, 10));
        let target = Server::start(kind);
        if options.contains(&"--if-exists") {
            target.client(0).set(b"foreign", b"value");
        }
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).args(options).start();
        let run = strike(running, &target, || {
            source.follow(other.port);
            if promoted {
                source.follow_nobody();
            }
        });
        run.assert_code(&[1]);
        run.assert_says_one_of(&[TOLD, "is not known"]);
        assert!(!run.stdout.contains("Verified"), "{kind:?} {options:?}{}", run.frame());
    }
}

/// In the end its history is the one that it had.
#[test]
fn a_replica_that_comes_back_to_its_primary_is_told() {
    for kind in [Kind::Redis62, Kind::Redis82, Kind::Valkey91] {
        let (primary, other, target) = (filled(kind, 20), filled(kind, 10), Server::start(kind));
        let source = filled(kind, 5);
        source.follow(primary.port);
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).start();
        let run = strike(running, &target, || {
            source.follow(other.port);
            source.follow(primary.port);
        });
        run.assert_code(&[1]);
        run.assert_says(&["source", TOLD]);
    }
}

/// In the end nothing but its counts shows that it was a replica.
#[test]
fn a_primary_that_has_forgotten_whom_it_followed_is_told() {
    for kind in [Kind::Redis70, Kind::Valkey81] {
        let (source, other, target) = (filled(kind, 20), filled(kind, 10), Server::start(kind));
        source.client(0).run(cmd("CONFIG").arg("SET").arg("repl-backlog-ttl").arg(1));
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).start();
        let run = strike(running, &target, || {
            source.follow(other.port);
            source.follow_nobody();
            let mut client = source.client(0);
            wait_until("it has forgotten", || {
                client.info("replication", "master_replid2").is_some_and(|id| id.starts_with("000"))
            });
        });
        run.assert_code(&[1]);
        run.assert_says(&["source", TOLD]);
    }
}

#[test]
fn a_backup_of_two_data_sets_is_none() {
    for (kind, promoted) in [(Kind::Redis70, true), (Kind::Valkey91, false)] {
        let (source, other) = (filled(kind, 20), filled(kind, 10));
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("saved.rdb");
        let backup = Keyferry::new().arg("backup").arg(source.url()).arg(&file);
        let mut running = backup.args(["--fetch", "dump"]).args(SLOW).with_report().start();
        wait_until("it reads", || source.calls("dump") > 200 || running.is_over());
        source.follow(other.port);
        if promoted {
            source.follow_nobody();
        }
        assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_says(&[TOLD]);
        assert!(!file.exists(), "{kind:?}{}", run.frame());
    }
}

#[test]
fn a_run_does_not_go_on_with_other_data() {
    for kind in [Kind::Redis82, Kind::Valkey81] {
        let (source, other) = (filled(kind, 20), filled(kind, 10));
        let (target, directory) = (Server::start(kind), TempDir::new().expect("a directory"));
        let state = directory.path().join("state.json");
        let copy = || Keyferry::copy(source.url(), target.url()).arg("--state").arg(&state);
        let mut running = copy().args(SLOW).start();
        let mut client = target.client(0);
        wait_until("a part is there", || client.dbsize() > KEYS / 10 || running.is_over());
        running.signal("TERM");
        running.finish().assert_code(&[130]);
        source.follow(other.port);
        source.follow_nobody();
        copy().expect(5).assert_says(&["other data", TOLD, "state.json"]);
    }
}

/// Its data is the same, and goes on.
#[test]
fn a_replica_that_is_promoted_and_a_first_replica_are_no_other_data() {
    for kind in [Kind::Redis62, Kind::Redis70, Kind::Valkey91] {
        let (primary, target) = (filled(kind, 20), Server::start(kind));
        let replica = filled(kind, 10);
        replica.follow(primary.port);
        let running = Keyferry::copy(replica.url(), target.url()).args(SLOW).start();
        strike(running, &target, || replica.follow_nobody()).assert_code(&[0]);
        let (source, target) = (filled(kind, 20), Server::start(kind));
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).start();
        strike(running, &target, || replica.follow(source.port)).assert_code(&[0]);
        let target = Server::start(kind);
        target.synchronise_at_once();
        target.client(0).set(b"foreign", b"value");
        let copy = Keyferry::copy(source.url(), target.url()).args(["--if-exists", "skip"]);
        let run = strike(copy.args(SLOW).start(), &target, || filled(kind, 5).follow(target.port));
        run.assert_code(&[0]);
    }
}

/// What nobody compares is called copied only if nothing is known to have taken it away.
#[test]
fn a_target_that_is_emptied_beside_a_copy_without_proof_is_told() {
    let flush: &[&[&str]] = &[&["FLUSHALL"]];
    let hidden: &[&[&str]] = &[&["SWAPDB", "0", "1"], &["CONFIG", "RESETSTAT"]];
    for (blows, why) in [(flush, "FLUSHALL"), (hidden, "RESETSTAT")] {
        let (source, target) = (filled(Kind::Redis70, 20), Server::start(Kind::Redis70));
        let options = ["--verify", "none"];
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).args(options).start();
        let run = strike(running, &target, || {
            for blow in blows {
                target.client(0).run(cmd(blow[0]).arg(&blow[1..]));
            }
        });
        run.assert_code(&[1]);
        run.assert_says(&["target", why]);
    }
}

/// One way, a comparison does not see what neither side holds any more.
#[test]
fn a_source_that_may_have_been_emptied_is_not_called_complete() {
    for policy in ["replace", "skip"] {
        let (source, target) = (filled(Kind::Redis70, 20), Server::start(Kind::Redis70));
        target.client(0).set(b"foreign", b"value");
        let options = ["--if-exists", policy, "--verify", "full"];
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).args(options).start();
        let run = strike(running, &target, || {
            source.client(0).run(&cmd("FLUSHDB"));
            source.client(0).run(cmd("CONFIG").arg("RESETSTAT"));
        });
        run.assert_code(&[1]);
        run.assert_says(&["source", "RESETSTAT"]);
    }
}
