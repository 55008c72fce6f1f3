//! No file where there should be none: one that exists stays, one that is not whole is removed.

use redis::cmd;

use super::{Place, backup, start};
use crate::support::client::fill_strings;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::Kind;
use crate::support::wait_until;

#[test]
fn a_file_that_exists_is_not_touched() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    source.client(0).set(b"key", b"value");
    std::fs::write(place.file(), b"precious").expect("a file");
    source.reset_commands();
    let run = backup(source.url(), &place.file()).expect(4);
    run.assert_says(&["saved.rdb", "exists"]);
    assert_eq!(std::fs::read(place.file()).expect("the file"), b"precious");
    assert_eq!(place.names(), ["saved.rdb"]);
    assert_eq!(source.calls("psync") + source.calls("scan"), 0);
}

#[test]
fn a_file_that_appears_meanwhile_is_not_touched() {
    for fetch in ["auto", "dump"] {
        let (source, place) = (start(Kind::Redis70), Place::new());
        fill_strings(&mut source.client(0), "key", 5_000, 1_000);
        let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, slow);
        let mut running = backup(proxy.url(), &place.file()).args(["--fetch", fetch]).start();
        wait_until("it has begun", || !place.names().is_empty() || running.is_over());
        std::fs::write(place.file(), b"precious").expect("a file");
        let run = running.finish();
        run.assert_code(&[4]);
        assert_eq!(std::fs::read(place.file()).expect("the file"), b"precious");
        assert_eq!(place.names(), ["saved.rdb"]);
    }
}

#[test]
fn a_place_where_no_file_can_be() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    for path in [place.file().join("deeper.rdb"), place.directory.path().join("..")] {
        backup(source.url(), &path).expect(2);
    }
    let run = Keyferry::new().args(["backup", &source.url(), "redis://u:secret@host"]).expect(2);
    assert!(!run.stderr.contains("secret"), "{}", run.frame());
    assert!(place.names().is_empty());
}

/// Half of it has come, and then.
fn half_way(fetch: &str, then: Fault) {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 5_000, 1_000);
    let cut = Behaviour { after_replies: Some((2_500_000, then)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, cut);
    let run = backup(proxy.url(), &place.file()).impatient().args(["--fetch", fetch]).expect(1);
    assert!(proxy.struck());
    assert_eq!(run.outcome(), "incomplete");
    assert!(place.names().is_empty(), "{:?}{}", place.names(), run.frame());
}

#[test]
fn a_source_that_goes_away_leaves_no_file() {
    for fault in [Fault::Close, Fault::Reset, Fault::Stall] {
        half_way("auto", fault);
        half_way("dump", fault);
    }
}

#[test]
fn an_interrupted_backup_leaves_no_file() {
    for (fetch, signals) in [("auto", 1), ("dump", 1), ("auto", 2), ("dump", 2)] {
        let (source, place) = (start(Kind::Redis70), Place::new());
        fill_strings(&mut source.client(0), "key", 20_000, 1_000);
        let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, slow);
        let mut running = backup(proxy.url(), &place.file()).args(["--fetch", fetch]).start();
        wait_until("half has come", || proxy.reply_bytes() > 4_000_000 || running.is_over());
        assert!(!running.is_over());
        for _ in 0..signals {
            running.signal("INT");
        }
        let run = running.finish();
        run.assert_code(&[130]);
        assert!(place.names().is_empty(), "{:?}{}", place.names(), run.frame());
    }
}

#[test]
fn a_source_that_is_killed_leaves_no_file() {
    let (source, place) = (start(Kind::Valkey81), Place::new());
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let mut running = backup(proxy.url(), &place.file()).impatient().start();
    wait_until("half has come", || proxy.reply_bytes() > 4_000_000 || running.is_over());
    // A reply never comes.
    let _: Result<redis::Value, _> = source.client(0).try_call(cmd("SHUTDOWN").arg("NOSAVE"));
    drop(source);
    let run = running.finish();
    run.assert_code(&[1]);
    assert!(place.names().is_empty(), "{:?}{}", place.names(), run.frame());
}

#[test]
fn what_makes_no_sense_for_a_file_is_a_mistake() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    for options in [["--db", "1:2"], ["--max-source-latency", "5ms"]] {
        let run = backup(source.url(), &place.file()).args(options).expect(2);
        run.assert_says(&[options[0]]);
    }
    assert!(place.names().is_empty());
}
