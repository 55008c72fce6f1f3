//! Neither plan nor copy leaves anything of its trials, or touches a key of somebody else, whatever that is
//! called.

use redis::cmd;

use super::pairs::state;
use super::servers;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

/// Names that keyferry's own trials have, or had.
const NAMES: [&[u8]; 5] = [
    b"keyferry:probe",
    b"keyferry:probe:payload",
    b"keyferry:probe:",
    b"\x01keyferry:probe",
    b"\x01keyferry:probe:",
];

const POLICIES: [&str; 4] = ["replace", "skip", "fail", "merge"];

/// A Valkey that keeps keys that have expired, and holds some of its user's.
fn importing(kind: Kind) -> Server {
    let server = Setup::new(kind).option("--import-mode", "yes").start();
    let mut client = server.client(0);
    client.run(cmd("CLIENT").arg("IMPORT-SOURCE").arg("ON"));
    for name in [b"key:1".as_slice(), b"dead"].into_iter().chain(NAMES) {
        client.run(cmd("SET").arg(name).arg("old").arg("PXAT").arg(1_000));
    }
    assert_eq!(server.client(0).dbsize(), 2 + NAMES.len(), "they are kept");
    server
}

#[test]
fn keys_that_have_expired_and_are_kept_stay() {
    for kind in [Kind::Valkey81, Kind::Valkey91] {
        let (plain, _) = servers();
        let importing = importing(kind);
        let before = state(&importing);
        for policy in POLICIES {
            let options = ["--if-exists", policy, "--with-functions"];
            Keyferry::plan(plain.url(), importing.url()).args(options).expect(0);
            assert_eq!(state(&importing), before, "{kind:?}: as a target, {policy}");
        }
        let run = Keyferry::plan(importing.url(), plain.url()).args(["--if-exists", "replace"]);
        run.expect(0);
        assert_eq!(state(&importing), before, "{kind:?}: as a source");
    }
}

#[test]
fn a_plan_does_not_block_its_own_copy() {
    for kind in [Kind::Valkey81, Kind::Valkey91] {
        let (source, _) = servers();
        let target = Setup::new(kind).option("--import-mode", "yes").start();
        Keyferry::plan(source.url(), target.url()).expect(0);
        assert_eq!(target.client(0).dbsize(), 0, "{kind:?}");
        Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]).expect(0);
        assert_eq!(target.client(0).dbsize(), 300, "{kind:?}: the keys, and none of our own");
    }
}

#[test]
fn a_replica_that_takes_writes_keeps_nothing_of_it() {
    for kind in Kind::ALL {
        let (source, primary) = (servers().0, Server::start(kind));
        let target = Setup::new(kind).option("--replica-read-only", "no").start();
        target.follow(primary.port);
        let before = state(&target);
        Keyferry::plan(source.url(), target.url()).expect(0);
        assert_eq!(state(&target), before, "{kind:?}");
        Keyferry::copy(source.url(), target.url()).expect(0);
        assert_eq!(target.client(0).dbsize(), 300, "{kind:?}");
    }
}

#[test]
fn a_key_of_the_name_of_a_trial_is_nobodys_but_its_owners() {
    for kind in Kind::ALL {
        let (source, _) = servers();
        let target = Server::start(kind);
        let mut owners = target.client(0);
        for name in NAMES {
            owners.set(name, b"mine");
        }
        let untouched = |what: &str| {
            for name in NAMES {
                let value = target.client(0).get(name);
                assert_eq!(value.as_deref(), Some(&b"mine"[..]), "{kind:?}, {what}");
            }
        };
        for policy in POLICIES {
            Keyferry::plan(source.url(), target.url()).args(["--if-exists", policy]).expect(0);
            untouched(policy);
        }
        Keyferry::copy(source.url(), target.url()).args(["--if-exists", "replace"]).expect(0);
        untouched("copy");
        Keyferry::verify(source.url(), target.url()).expect(1);
        untouched("verify");
        Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(0);
        untouched("cleanup");
    }
}

/// Writing commands are not even called, where they can be queued.
#[test]
fn a_plan_calls_no_writing_command() {
    for kind in Kind::ALL {
        let (source, _) = servers();
        let target = Server::start(kind);
        for policy in POLICIES {
            source.reset_commands();
            target.reset_commands();
            let plan = Keyferry::plan(source.url(), target.url());
            let run = plan.args(["--if-exists", policy, "--delete-source"]).expect(0);
            for server in [&source, &target] {
                assert_eq!(server.write_commands(), Vec::<String>::new(), "{}", run.frame());
            }
        }
    }
}
