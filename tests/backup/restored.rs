//! Files copied into servers: everything arrives, as the options want it.

use redis::cmd;

use super::{Place, backup, start, total_keys};
use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::{SAME_NUMBERS, fill, noise};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};
use crate::support::{now_ms, wait_until};

/// A filled server and a file of it.
fn saved(kind: Kind) -> (Server, Place) {
    let (source, place) = (start(kind), Place::new());
    fill(&source);
    backup(source.url(), &place.file()).expect(0);
    (source, place)
}

#[test]
fn a_file_of_any_server_goes_into_any_server() {
    for from in Kind::ALL {
        let (source, place) = saved(from);
        for to in Kind::ALL {
            let target = Server::start(to);
            let run = Keyferry::copy(place.file(), target.url()).arg("--lossy").expect(0);
            assert_eq!(run.outcome(), "complete");
            run.assert_counts(&[("copied", total_keys(&source))]);
            assert_equal(&source, &target, &SAME_NUMBERS);
            let file = &run.report()["source"];
            let endpoint = file["endpoint"].as_str().expect("a text");
            assert!(endpoint.starts_with("file:/") && endpoint.ends_with("saved.rdb"));
            let server = file["server"].as_str().expect("a text");
            assert!(
                server.starts_with("rdb ") && server.contains(from.version_prefix()),
                "{server}"
            );
        }
    }
}

#[test]
fn a_file_made_of_scan_and_dump_goes_into_a_server() {
    for kind in Kind::ALL {
        let (source, place) = (start(kind), Place::new());
        fill(&source);
        backup(source.url(), &place.file()).args(["--fetch", "dump"]).expect(0);
        let target = Server::start(kind);
        let url = format!("file:{}", place.file().display());
        Keyferry::copy(url, target.url()).expect(0);
        assert_equal(&source, &target, &SAME_NUMBERS);
    }
}

#[test]
fn databases_and_filters_are_as_between_servers() {
    let (source, place) = saved(Kind::Redis70);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).args(["--db", "1:7"]).expect(0);
    run.assert_counts(&[("copied", source.client(1).dbsize() as u64)]);
    assert_equal(&source, &target, &[(1, 7)]);
    let options = ["--db", "0", "--db", "5:3", "--type", "hash", "--exclude", "*:binary"];
    let run = Keyferry::copy(place.file(), target.url()).args(options).expect(0);
    let all = (source.client(0).dbsize() + source.client(5).dbsize()) as u64;
    run.assert_counts(&[("copied", 6), ("filtered", all - 6)]);
    assert_target_is_a_part(&source, &target, &[(0, 0), (5, 3)]);
    assert_eq!((target.client(0).dbsize(), target.client(3).dbsize()), (3, 3));
    // Several databases of the file, one of the target.
    Keyferry::copy(place.file(), target.url_of(9)).expect(2);
}

#[test]
fn what_the_target_holds_is_treated_as_asked() {
    let (source, place) = saved(Kind::Redis70);
    let total = total_keys(&source);
    let target = Server::start(Kind::Valkey91);
    // One is small, one comes in pieces.
    target.client(0).set(b"string:raw", b"other");
    target.client(0).set(b"string:huge", b"other");
    let copy = |options: &[&str]| Keyferry::copy(place.file(), target.url()).args(options);
    copy(&[]).expect(4).assert_says(&["--if-exists"]);
    assert_eq!(target.client(0).dbsize(), 2);
    let run = copy(&["--if-exists", "skip", "--dry-run"]).expect(0);
    run.assert_counts(&[("copied", total - 2), ("skipped", 2)]);
    assert_eq!(target.client(0).dbsize(), 2);
    let run = copy(&["--if-exists", "fail"]).expect(1);
    run.assert_counts(&[("copied", total - 2), ("failed", 2)]);
    copy(&["--if-exists", "skip"]).expect(0).assert_counts(&[("skipped", total)]);
    assert_eq!(target.client(0).get(b"string:huge").as_deref(), Some(&b"other"[..]));
    copy(&["--if-exists", "replace"]).expect(0).assert_counts(&[("copied", total)]);
    assert_equal(&source, &target, &SAME_NUMBERS);
}

#[test]
fn keys_that_have_expired_meanwhile_are_counted_and_not_copied() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 50, 20);
    let at = now_ms() + 1_500;
    for number in 0..20 {
        source.client(0).run(cmd("PEXPIREAT").arg(format!("key:{number}")).arg(at));
    }
    backup(source.url(), &place.file()).expect(0).assert_counts(&[("copied", 50)]);
    wait_until("they have expired", || now_ms() > at);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).expect(0);
    run.assert_counts(&[("copied", 30), ("expired", 20)]);
    assert_eq!(target.client(0).dbsize(), 30);
}

#[test]
fn values_of_any_size_take_no_more_memory_than_was_allowed() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    source.client(0).set(b"giant", &noise(5, 60_000_000));
    for number in 0..8 {
        source.client(0).set(format!("large:{number}").as_bytes(), &noise(number, 3_000_000));
    }
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).args(["--memory", "32MiB"]).expect(0);
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a number");
    assert!(peak < 40 << 20, "{peak}{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn connections_that_break_cost_nothing() {
    let (source, place) = saved(Kind::Redis70);
    for at in [60_000, 2_000_000, 5_000_000, 8_000_000] {
        for policy in ["replace", "fail"] {
            let target = Server::start(Kind::Redis70);
            let cut = Some((at, Fault::CloseOnce));
            let behaviour = Behaviour { after_requests: cut, ..Behaviour::default() };
            let proxy = FaultProxy::start(target.port, behaviour);
            let run = Keyferry::copy(place.file(), proxy.url()).args(["--if-exists", policy]);
            let run = run.expect(0);
            assert!(proxy.struck());
            run.assert_counts(&[("copied", total_keys(&source))]);
            assert_equal(&source, &target, &SAME_NUMBERS);
        }
    }
}

#[test]
fn an_interrupted_copy_tells_how_far_it_came() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, slow);
    let mut running = Keyferry::copy(place.file(), proxy.url()).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted");
    assert_eq!(run.count("copied"), client.dbsize() as u64, "{}", run.frame());
    assert!(run.count("copied") < 20_000);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}

#[test]
fn a_target_that_is_full_is_told_from_a_bad_file() {
    let (_source, place) = saved(Kind::Redis70);
    let target = Setup::new(Kind::Redis70).option("--maxmemory", "4mb").start();
    let run = Keyferry::copy(place.file(), target.url()).impatient().expect(1);
    run.assert_says(&["target", "OOM"]);
}

#[test]
fn what_needs_a_server_as_source_is_a_mistake() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    for options in [
        &["--delete-source"][..],
        &["--source-compression", "off"],
        &["--fetch", "dump"],
        &["--max-source-latency", "5ms"],
        &["--if-exists", "merge"],
        &["--source-username", "me"],
    ] {
        let run = Keyferry::copy(place.file(), target.url()).args(options).expect(2);
        run.assert_says(&["file"]);
    }
    Keyferry::copy(target.url(), place.file()).expect(2).assert_says(&["keyferry backup"]);
    Keyferry::copy("no-such-file.rdb", target.url()).expect(2).assert_says(&["no-such-file.rdb"]);
}
