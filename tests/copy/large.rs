//! Values too large to be held: they come in pieces, arrive exactly, and survive what breaks.

use redis::cmd;

use crate::support::client::Client;
use crate::support::compare::assert_equal;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

const MB: usize = 1_000_000;

/// Bytes that no compression makes shorter.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn push(client: &mut Client, key: &str, elements: usize, length: usize) {
    for element in 0..elements {
        client.run(cmd("RPUSH").arg(key).arg(noise(length, element as u64)));
    }
}

/// Large strings and lists among small keys.
fn fill(source: &Server, large: usize) {
    let mut client = source.client(0);
    for number in 0..200 {
        client.set(format!("small:{number}").as_bytes(), b"value");
    }
    client.set(b"string", &noise(large, 1));
    client.set(b"expiring", &noise(large + 1, 2));
    client.run(cmd("PEXPIRE").arg("expiring").arg(3_600_000));
    push(&mut client, "list", 30, large / 20);
}

fn pair() -> (Server, Server) {
    (Server::start(Kind::Redis70), Server::start(Kind::Redis70))
}

#[test]
fn they_arrive_exactly_by_either_way_on_every_server() {
    for kind in [Kind::Redis62, Kind::Redis70, Kind::Valkey81] {
        let source = Server::start(kind);
        fill(&source, 3 * MB);
        for fetch in ["auto", "dump"] {
            let target = Server::start(kind);
            let run = Keyferry::copy(source.url(), target.url()).args(["--fetch", fetch]).expect(0);
            run.assert_counts(&[("scanned", 203), ("copied", 203)]);
            assert!(run.report()["bytes"].as_u64() > Some(10 * MB as u64), "{}", run.frame());
            assert_equal(&source, &target, &[(0, 0)]);
        }
    }
}

#[test]
fn one_whose_expiry_was_not_sure_is_asked_for_again() {
    // Without PEXPIRETIME a group's expiries are told between two looks at the clock. The long names
    // take their time to arrive in between, so nobody knows when each was told.
    let (source, target) = (Server::start(Kind::Redis62), Server::start(Kind::Redis62));
    let mut client = source.client(0);
    for number in 0..100 {
        client.set(format!("{number}{}", "x".repeat(50_000)).as_bytes(), b"value");
    }
    for number in 0..4 {
        client.set(format!("large:{number}").as_bytes(), &noise(3 * MB, number));
    }
    let slow = Behaviour { rate: Some(12_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let options = ["--fetch", "dump", "--connections", "1"];
    let run = Keyferry::copy(proxy.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 104)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn they_do_not_take_more_memory_than_was_allowed() {
    let (source, target) = pair();
    let mut client = source.client(0);
    for number in 0..24 {
        client.set(format!("key:{number}").as_bytes(), &noise(8 * MB, number));
    }
    client.set(b"giant", &noise(120 * MB, 99));
    push(&mut client, "list", 40, MB);
    let run = Keyferry::copy(source.url(), target.url()).args(["--memory", "32MiB"]).expect(0);
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a number");
    assert!(peak < 40 << 20, "{peak}{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_cut_on_either_side_in_the_middle_costs_nothing() {
    for at in [60_000, 700_000, 2_500_000, 6_000_000] {
        for (policy, of_source) in [("replace", true), ("replace", false), ("fail", false)] {
            let (source, target) = pair();
            fill(&source, 3 * MB);
            let (proxy, [from, to]) = FaultProxy::cut_between(&source, &target, of_source, at);
            let run = Keyferry::copy(from, to).args(["--if-exists", policy]).expect(0);
            assert!(proxy.struck());
            run.assert_counts(&[("scanned", 203), ("copied", 203)]);
            assert_equal(&source, &target, &[(0, 0)]);
        }
    }
}

#[test]
fn a_lost_answer_does_not_make_our_own_value_somebody_elses() {
    for (fetch, end) in [("dump", &b"\r\n$6\r\nABSTTL\r\n"[..]), ("auto", b"\r\n$2\r\nNX\r\n")] {
        let (source, target) = pair();
        source.client(0).set(b"string", &noise(3 * MB, 1));
        let behaviour = Behaviour {
            for_answer_to: Some((end, Fault::CloseOnce)),
            // What is asked before the value comes has such ends, too.
            spared: 3 * MB as u64,
            ..Behaviour::default()
        };
        let proxy = FaultProxy::start(target.port, behaviour);
        let run = Keyferry::copy(source.url(), proxy.url());
        let run = run.args(["--if-exists", "fail", "--fetch", fetch]).expect(0);
        assert!(proxy.struck());
        run.assert_counts(&[("copied", 1), ("failed", 0)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

#[test]
fn what_the_target_holds_is_treated_as_asked() {
    let (source, target) = pair();
    fill(&source, 3 * MB);
    target.client(0).set(b"string", b"other");
    let copy = || Keyferry::copy(source.url(), target.url());
    let run = copy().args(["--if-exists", "fail"]).expect(1);
    run.assert_counts(&[("copied", 202), ("failed", 1)]);
    let run = copy().args(["--if-exists", "skip"]).expect(0);
    run.assert_counts(&[("copied", 0), ("skipped", 203)]);
    assert_eq!(target.client(0).get(b"string").as_deref(), Some(&b"other"[..]));
    copy().args(["--if-exists", "replace"]).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn they_are_deleted_from_the_source_only_as_they_were_copied() {
    let (source, target) = pair();
    fill(&source, 3 * MB);
    let (kept, before) = (Server::start(Kind::Redis70), source.url());
    Keyferry::copy(&before, kept.url()).expect(0);
    let run = Keyferry::copy(&before, target.url()).arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", 203), ("deleted_from_source", 203), ("kept_on_source", 0)]);
    assert_eq!(source.client(0).dbsize(), 0);
    assert_equal(&kept, &target, &[(0, 0)]);
}
