//! Peers that dribble or stall: the first is only slow, the second ends the run within the time limits.

use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::{SAME_NUMBERS, fill};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Running};
use crate::support::server::{Kind, Server};

fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 2_000, 1_000);
    source
}

#[test]
fn replies_that_come_byte_by_byte() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 300, 300);
    let bytewise = Behaviour { piece: Some(1), ..Behaviour::default() };
    let from = FaultProxy::start(source.port, bytewise);
    let to = FaultProxy::start(target.port, bytewise);
    Keyferry::copy(from.url(), to.url()).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn replies_cut_at_odd_places() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    fill(&source);
    let odd = Behaviour { piece: Some(1_021), ..Behaviour::default() };
    let from = FaultProxy::start(source.port, odd);
    let to = FaultProxy::start(target.port, odd);
    Keyferry::copy(from.url(), to.url()).expect(0);
    assert_equal(&source, &target, &SAME_NUMBERS);
}

#[test]
fn a_slow_line_is_no_stall() {
    // Each reply takes longer than the reply limit as a whole, but bytes keep coming.
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"large", &crate::support::dataset::noise(1, 4_000_000));
    let slow = Behaviour { rate: Some(1_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    Keyferry::copy(proxy.url(), target.url()).args(["--reply-timeout", "2s"]).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_source_that_stalls() {
    let source = source();
    std::thread::scope(|scope| {
        for at in [0, 50, 100_000, 1_000_000] {
            let source = &source;
            scope.spawn(move || {
                let target = Server::start(Kind::Redis70);
                let stall =
                    Behaviour { after_replies: Some((at, Fault::Stall)), ..Behaviour::default() };
                let proxy = FaultProxy::start(source.port, stall);
                let run = Keyferry::copy(proxy.url(), target.url()).impatient().run();
                run.assert_code(&[1, 3]);
                run.assert_says(&["source"]);
                assert!(proxy.struck(), "nothing stalled{}", run.frame());
                assert_target_is_a_part(source, &target, &[(0, 0)]);
            });
        }
    });
}

#[test]
fn a_target_that_stalls() {
    let source = source();
    std::thread::scope(|scope| {
        for at in [0, 1_000, 1_000_000] {
            let source = &source;
            scope.spawn(move || {
                let target = Server::start(Kind::Redis70);
                let stall =
                    Behaviour { after_requests: Some((at, Fault::Stall)), ..Behaviour::default() };
                let proxy = FaultProxy::start(target.port, stall);
                let run = Keyferry::copy(source.url(), proxy.url()).impatient().run();
                run.assert_code(&[1, 3]);
                run.assert_says(&["target"]);
                assert!(proxy.struck(), "nothing stalled{}", run.frame());
                assert_target_is_a_part(source, &target, &[(0, 0)]);
            });
        }
    });
}

/// A copy whose source has stalled half-way, and the proxy that holds it.
fn stalled(source: &Server, target: &Server, options: &[&str]) -> (Running, FaultProxy) {
    let stall = Behaviour { after_replies: Some((500_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, stall);
    let running = Keyferry::copy(proxy.url(), target.url()).args(options).start();
    crate::support::wait_until("the source has stalled", || proxy.struck());
    (running, proxy)
}

#[test]
fn ctrl_c_while_a_peer_stalls_ends_within_the_reply_limit() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let (running, _proxy) = stalled(&source, &target, &["--reply-timeout", "3s"]);
    running.signal("INT");
    let run = running.finish();
    // Interrupted, and its source was lost: both are true.
    run.assert_code(&[130, 1, 3]);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_stalled_peer() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let (running, _proxy) = stalled(&source, &target, &["--reply-timeout", "300s"]);
    running.signal("INT");
    // Two signals at once may arrive as one; the first has been noticed when stderr speaks of it,
    // which cannot be read here, so the second is repeated until it had its effect.
    let mut running = running;
    crate::support::wait_until("the second signal has its effect", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let over = running.is_over();
        if !over {
            running.signal("INT");
        }
        over
    });
    running.finish().assert_code(&[130]);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}
