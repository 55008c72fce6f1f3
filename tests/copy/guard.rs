//! `--max-source-latency`: the source is asked how it is, and the copy slows down for it.
//!
//! How far latencies go down is a matter of the machine: `keyferry bench` measures that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

fn servers(keys: usize) -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", keys, 1_000);
    (source, target)
}

#[test]
fn a_guarded_copy_is_a_whole_copy() {
    let (source, target) = servers(20_000);
    let options = ["--max-source-latency", "5ms", "-v"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 20_000)]);
    run.assert_says(&["source latency during the copy"]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_source_that_is_kept_busy_is_spared() {
    let (source, target) = servers(5_000);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = source.client(0);
            while !over.load(Ordering::SeqCst) {
                client.run(cmd("DEBUG").arg("SLEEP").arg("0.03"));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        // So slow that the guard has time to see it.
        let options = ["--max-source-latency", "5ms", "--max-keys-rate", "2500", "-v"];
        let run = Keyferry::copy(source.url(), target.url()).args(options).run();
        over.store(true, Ordering::SeqCst);
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", 5_000)]);
        run.assert_says(&["throttling"]);
    });
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_limit_that_cannot_be_met_is_said_once_and_the_copy_goes_on() {
    let (source, target) = servers(3_000);
    let options = ["--max-source-latency", "1us", "--max-keys-rate", "500"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 3_000)]);
    assert_eq!(run.stderr.matches("the limit is too low").count(), 1, "{}", run.frame());
}

#[test]
fn the_guard_comes_back_when_its_connection_breaks() {
    let (source, target) = servers(3_000);
    let run = Keyferry::copy(source.url(), target.url());
    let options = ["--max-source-latency", "50ms", "--max-keys-rate", "1000"];
    let mut running = run.args(options).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    let mut kill = cmd("CLIENT");
    source.client(0).run(kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes"));
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", 3_000)]);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn ctrl_c_ends_the_guard_and_so_does_a_source_that_stalls() {
    let (source, target) = servers(5_000);
    let stall =
        Behaviour { after_replies: Some((1_000_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, stall);
    let options = ["--max-source-latency", "5ms"];
    let run = Keyferry::copy(proxy.url(), target.url()).impatient().args(options);
    let running = run.start();
    wait_until("the source stalls", || proxy.struck());
    for _ in 0..2 {
        running.signal("INT");
        std::thread::sleep(Duration::from_millis(100));
    }
    running.finish().assert_code(&[130]);
}
