//! A target that becomes a replica for a while, or for good, or whose address moves to another server.

use redis::cmd;

use super::{ALL, PAIRS, half_way, source};
use crate::support::client::Client;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// A port where nobody listens: a replica of it keeps its data and takes no writes.
const NOBODY: &str = "1";

fn replica_of(client: &mut Client, host: &str, port: &str) {
    client.run(cmd("REPLICAOF").arg(host).arg(port));
}

#[track_caller]
fn wait_for_refusal(client: &mut Client) {
    wait_until("a write was refused", || client.info("errorstats", "errorstat_READONLY").is_some());
}

#[track_caller]
fn is_waited_for(kind: Kind, options: &[&str]) {
    let (source, target) = (source(), Server::start(kind));
    let whole = Server::start(Kind::Redis70);
    super::fill(&whole);
    let running = half_way(&source.url(), &target.url(), &target, options);
    let mut client = target.client(0);
    for _ in 0..2 {
        client.run(cmd("CONFIG").arg("RESETSTAT"));
        replica_of(&mut client, "127.0.0.1", NOBODY);
        wait_for_refusal(&mut client);
        replica_of(&mut client, "NO", "ONE");
        // Before it goes on nobody has seen that it is still the same.
        let before = client.dbsize();
        wait_until("it goes on", || client.dbsize() > before);
    }
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["READONLY", "connecting again"]);
    // It has what it had: nothing is copied twice.
    run.assert_counts(&[
        ("copied", ALL),
        ("deleted_from_source", if options.contains(&"--delete-source") { ALL } else { 0 }),
    ]);
    assert_equal(&whole, &target, &PAIRS);
}

#[test]
fn a_read_only_redis_is_waited_for() {
    is_waited_for(Kind::Redis70, &[]);
}

#[test]
fn a_read_only_valkey_is_waited_for() {
    is_waited_for(Kind::Valkey81, &["--fetch", "dump", "--connections", "1"]);
}

#[test]
fn what_was_written_before_is_not_taken_for_somebody_elses() {
    is_waited_for(Kind::Redis62, &["--if-exists", "fail"]);
}

#[test]
fn the_source_is_deleted_all_the_same() {
    is_waited_for(Kind::Redis82, &["--delete-source"]);
}

#[test]
fn one_that_stays_read_only_ends_the_run() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let running = half_way(&source.url(), &target.url(), &target, &["--retry-budget", "1s"]);
    replica_of(&mut target.client(0), "127.0.0.1", NOBODY);
    let run = running.finish();
    run.assert_code(&[1]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["target", "READONLY", "primary", "--retry-budget"]);
    let arrived = target.client(0).dbsize() + target.client(1).dbsize();
    assert_eq!(run.count("copied"), arrived as u64, "{}", run.frame());
    assert!(run.count("failed") > 0, "{}", run.frame());
    assert_target_is_a_part(&source, &target, &PAIRS);
}

#[test]
fn the_address_moves_to_the_replica() {
    let (source, old, new) = (source(), Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut at_new = new.client(0);
    replica_of(&mut at_new, "127.0.0.1", &old.port.to_string());
    wait_until("the replica is in step", || {
        at_new.info("replication", "master_link_status").as_deref() == Some("up")
    });
    let proxy = FaultProxy::start(old.port, Behaviour::default());
    let running = half_way(&source.url(), &proxy.url(), &old, &[]);
    replica_of(&mut at_new, "NO", "ONE");
    proxy.lead_to(new.port);
    replica_of(&mut old.client(0), "127.0.0.1", &new.port.to_string());
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["another server took its place"]);
    assert_equal(&source, &new, &PAIRS);
}

#[test]
fn one_that_took_over_other_data_is_filled_anew() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let empty = Server::start(Kind::Redis70);
    let running = half_way(&source.url(), &target.url(), &target, &[]);
    let mut client = target.client(0);
    replica_of(&mut client, "127.0.0.1", &empty.port.to_string());
    wait_until("it has lost its keys", || client.dbsize() == 0);
    replica_of(&mut client, "NO", "ONE");
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_says(&["anew"]);
    assert_equal(&source, &target, &PAIRS);
}
