//! Connections that break: for good, for a moment, in the middle of a reply or of a command.

use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

/// About 3 MB: small keys, and one value that is several reads long.
fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 2_000, 1_000);
    source.client(0).set(b"large", &noise(1, 1_000_000));
    source
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Target,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Replies,
    Requests,
}

/// Copies through a proxy that strikes once, after so many bytes on this side.
#[track_caller]
fn copy(
    source: &Server,
    target: &Server,
    side: Side,
    way: Way,
    at: u64,
    fault: Fault,
    fetch: &str,
) -> (Run, bool) {
    let behaviour = match way {
        Way::Replies => Behaviour { after_replies: Some((at, fault)), ..Behaviour::default() },
        Way::Requests => Behaviour { after_requests: Some((at, fault)), ..Behaviour::default() },
    };
    let port = match side {
        Side::Source => source.port,
        Side::Target => target.port,
    };
    let proxy = FaultProxy::start(port, behaviour);
    let run = match side {
        Side::Source => Keyferry::copy(proxy.url(), target.url()),
        Side::Target => Keyferry::copy(source.url(), proxy.url()),
    };
    let run = run.args(["--fetch", fetch]).impatient().run();
    (run, proxy.struck())
}

/// The server is gone for good from some point on: an error in time, and nothing wrong on the target.
#[track_caller]
fn ends_in_time(side: Side, way: Way, offsets: &[u64], fault: Fault) {
    let source = source();
    // Waiting for a server that does not come back costs time but no work: wait for all at once.
    std::thread::scope(|scope| {
        for &at in offsets {
            let source = &source;
            scope.spawn(move || {
                let target = Server::start(Kind::Redis70);
                let (run, struck) = copy(source, &target, side, way, at, fault, "dump");
                assert!(struck, "nothing was cut at {at}{}", run.frame());
                run.assert_code(&[1, 3]);
                run.assert_says(&[match side {
                    Side::Source => "source",
                    Side::Target => "target",
                }]);
                assert_target_is_a_part(source, &target, &[(0, 0)]);
            });
        }
    });
    assert_eq!(source.client(0).dbsize(), 2_001);
}

const EARLY: [u64; 4] = [0, 1, 7, 100];

#[test]
fn the_source_dies_early_in_a_reply() {
    ends_in_time(Side::Source, Way::Replies, &EARLY, Fault::Close);
}

#[test]
fn the_source_dies_in_the_middle_of_the_work() {
    ends_in_time(
        Side::Source,
        Way::Replies,
        &[20_000, 200_000, 1_000_000, 2_500_000],
        Fault::Close,
    );
}

#[test]
fn the_source_dies_while_it_is_asked() {
    ends_in_time(Side::Source, Way::Requests, &[0, 30, 5_000, 50_000], Fault::Close);
}

#[test]
fn the_source_resets() {
    ends_in_time(Side::Source, Way::Replies, &[0, 100, 200_000, 1_500_000], Fault::Reset);
}

#[test]
fn the_target_dies_early_in_a_reply() {
    ends_in_time(Side::Target, Way::Replies, &EARLY, Fault::Close);
}

#[test]
fn the_target_dies_while_it_acknowledges() {
    // After the greetings, each acknowledged RESTORE is five bytes.
    ends_in_time(Side::Target, Way::Replies, &[6_000, 8_000, 10_001], Fault::Close);
}

#[test]
fn the_target_dies_in_the_middle_of_a_command() {
    ends_in_time(
        Side::Target,
        Way::Requests,
        &[1, 1_000, 100_000, 1_000_000, 2_500_000],
        Fault::Close,
    );
}

#[test]
fn the_target_resets() {
    ends_in_time(Side::Target, Way::Requests, &[0, 1_000, 1_000_000], Fault::Reset);
}

/// One connection breaks, the server stays: the work is taken up again and nothing is missing.
#[track_caller]
fn is_overcome(side: Side, way: Way, fetch: &str, offsets: &[u64]) {
    let source = source();
    std::thread::scope(|scope| {
        for &at in offsets {
            let source = &source;
            scope.spawn(move || {
                let target = Server::start(Kind::Redis70);
                let (run, struck) = copy(source, &target, side, way, at, Fault::CloseOnce, fetch);
                assert!(struck, "nothing was cut at {at}{}", run.frame());
                run.assert_code(&[0]);
                run.assert_counts(&[("copied", 2_001)]);
                assert_equal(source, &target, &[(0, 0)]);
            });
        }
    });
}

#[test]
fn a_hiccup_of_the_source_is_overcome() {
    is_overcome(Side::Source, Way::Replies, "auto", &[20_000, 200_000, 1_000_000, 2_500_000]);
    is_overcome(Side::Source, Way::Replies, "dump", &[20_000, 200_000, 1_000_000, 2_500_000]);
}

#[test]
fn a_hiccup_of_the_target_is_overcome() {
    is_overcome(Side::Target, Way::Requests, "auto", &[50_000, 1_000_000, 2_500_000]);
    is_overcome(Side::Target, Way::Requests, "dump", &[50_000, 1_000_000, 2_500_000]);
}

#[test]
fn deletion_loses_nothing_when_the_target_dies() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let behaviour =
        Behaviour { after_requests: Some((1_200_000, Fault::Close)), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, behaviour);
    let run = Keyferry::copy(source.url(), proxy.url()).impatient().arg("--delete-source").run();
    run.assert_code(&[1, 3]);
    let (mut here, mut there) = (source.client(0), target.client(0));
    for number in 0..2_000 {
        let key = format!("key:{number}");
        let kept = here.exists(key.as_bytes()) || there.exists(key.as_bytes());
        assert!(kept, "{key} is on neither side{}", run.frame());
    }
}
