//! Stopped half-way: in an orderly way by a signal, or in the worst way. Nothing is lost, nothing is half.

use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 20_000;
const SIZE: usize = 1_000;

/// A copy that would take several seconds, at the moment when the first keys have arrived.
struct HalfWay {
    source: Server,
    target: Server,
    running: Running,
    // Holds the run back.
    _proxy: FaultProxy,
}

#[track_caller]
fn half_way(options: &[&str]) -> HalfWay {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, SIZE);
    let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let mut running = Keyferry::copy(proxy.url(), target.url()).args(options).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    assert!(
        !running.is_over(),
        "the run ended before it could be stopped{}",
        running.finish().frame()
    );
    HalfWay { source, target, running, _proxy: proxy }
}

#[track_caller]
fn drains_and_reports(signal: &str) {
    let HalfWay { source, target, running, _proxy } = half_way(&[]);
    running.signal(signal);
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    let arrived = target.client(0).dbsize() as u64;
    assert!(arrived < KEYS as u64, "it was not interrupted but finished{}", run.frame());
    assert_eq!(run.count("copied"), arrived, "copied, and keys on the target{}", run.frame());
    assert_eq!(run.count("failed"), 0, "an interruption is no failure of keys{}", run.frame());
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
    assert_eq!(source.client(0).dbsize(), KEYS);
}

#[test]
fn ctrl_c_drains_and_reports() {
    drains_and_reports("INT");
}

#[test]
fn sigterm_drains_and_reports() {
    drains_and_reports("TERM");
}

#[test]
fn a_lost_terminal_and_sigquit_drain_and_report() {
    drains_and_reports("HUP");
    drains_and_reports("QUIT");
}

#[test]
fn a_signal_that_is_ignored_from_the_start_stays_so() {
    for signal in ["HUP", "QUIT", "INT", "TERM"] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", 3_000, 10);
        let run = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "3000"]);
        let mut running = run.ignoring(signal).start();
        let mut client = target.client(0);
        wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
        running.signal(signal);
        let run = running.finish();
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", 3_000)]);
    }
}

/// What to type next is said, once with what is in flight, once without.
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    for (options, says) in [
        (&[][..], "--if-exists replace"),
        (&["--state", "state"], "The same command goes on from here"),
    ] {
        let HalfWay { running, _proxy, .. } = half_way(options);
        running.signal("TERM");
        let run = running.finish();
        run.assert_code(&[130]);
        assert!(run.stdout.contains(says), "{}", run.frame());
    }
    let HalfWay { running, _proxy, .. } = half_way(&[]);
    running.signal("HUP");
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert!(run.frame().contains("--if-exists replace"), "{}", run.frame());
}

/// The names of failed keys that were written by then are there: it may be all that is known of them.
#[test]
fn a_run_that_is_stopped_at_once_keeps_the_list_of_its_failures() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for server in [&source, &target] {
        fill_strings(&mut server.client(0), "key", 5_000, 10);
    }
    let stall = Behaviour { after_requests: Some((150_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, stall);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let list = directory.path().join("list");
    let copy = Keyferry::copy(source.url(), proxy.url()).args(["--if-exists", "fail"]);
    let running = copy.arg("--failures").arg(&list).start();
    wait_until("the target stalls", || proxy.struck());
    running.signal("INT");
    running.signal("TERM");
    let run = running.finish();
    run.assert_code(&[130]);
    let lines = std::fs::read_to_string(&list).expect("a list").lines().count();
    assert!((1..=5_000).contains(&lines), "{lines}{}", run.frame());
}

/// Each key must be somewhere, with its value.
#[track_caller]
fn assert_nothing_lost(source: &Server, target: &Server) {
    let (mut here, mut there) = (source.client(0), target.client(0));
    for number in 0..KEYS {
        let key = format!("key:{number}");
        let value = noise(number as u64 + 1, SIZE);
        let holder = if here.exists(key.as_bytes()) { &mut here } else { &mut there };
        let found = holder.get(key.as_bytes());
        assert!(
            found.as_ref() == Some(&value),
            "{key} is lost: on neither side, or with another value"
        );
    }
}

#[test]
fn ctrl_c_while_the_source_is_being_deleted_loses_nothing() {
    let HalfWay { source, target, running, _proxy } = half_way(&["--delete-source"]);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_nothing_lost(&source, &target);
    let gone = (KEYS - source.client(0).dbsize()) as u64;
    assert_eq!(run.count("deleted_from_source"), gone, "{}", run.frame());
}

#[test]
fn a_kill_while_the_source_is_being_deleted_loses_nothing() {
    let HalfWay { source, target, running, _proxy } = half_way(&["--delete-source"]);
    running.signal("KILL");
    assert_eq!(running.finish().code(), None);
    assert_nothing_lost(&source, &target);
}

#[test]
fn a_second_run_finishes_what_the_first_began() {
    let HalfWay { source, target, running, _proxy } = half_way(&[]);
    running.signal("INT");
    running.finish().assert_code(&[130]);
    let options = ["--if-exists", "replace"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", KEYS as u64)]);
    assert_equal(&source, &target, &[(0, 0)]);
}
