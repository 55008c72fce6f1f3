//! Connections that break where no key is on its way, or each time at the same place.

use super::{ALL, PAIRS, source};
use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Direction, Fault, FaultProxy, Step};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Breaks one connection once, where the answer to a command is awaited, after so many bytes of requests.
#[track_caller]
fn is_overcome(of_source: bool, command: &'static [u8], spared: u64) {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let for_answer_to = Some((command, Fault::CloseOnce));
    let behaviour = Behaviour { for_answer_to, spared, ..Behaviour::default() };
    let broken = if of_source { &source } else { &target };
    let proxy = FaultProxy::start(broken.port, behaviour);
    let run = match of_source {
        true => Keyferry::copy(proxy.url(), target.url()),
        false => Keyferry::copy(source.url(), proxy.url()),
    };
    let run = run.expect(0);
    assert!(proxy.struck(), "nothing broke{}", run.frame());
    run.assert_counts(&[("copied", ALL)]);
    assert_equal(&source, &target, &PAIRS);
}

/// Breaks the first connection to either side after so many bytes of its replies.
#[track_caller]
fn is_overcome_early(after: u64, fault: Fault) {
    for of_source in [true, false] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", 20, 10);
        let broken = if of_source { &source } else { &target };
        let proxy = FaultProxy::scripted(
            broken.port,
            vec![Step { direction: Direction::Replies, after, fault }],
        );
        let ends =
            if of_source { [proxy.url(), target.url()] } else { [source.url(), proxy.url()] };
        let [from, into] = ends;
        let copied = Keyferry::copy(&from, &into).expect(0);
        assert!(proxy.struck(), "nothing broke{}", copied.frame());
        assert_equal(&source, &target, &[(0, 0)]);
        let again = FaultProxy::scripted(
            broken.port,
            vec![Step { direction: Direction::Replies, after, fault }],
        );
        let ends = if of_source { [again.url(), into] } else { [from, again.url()] };
        let verified = Keyferry::verify(&ends[0], &ends[1]).expect(0);
        assert!(again.struck(), "nothing broke{}", verified.frame());
    }
}

#[test]
fn in_the_middle_of_the_greeting() {
    is_overcome_early(9, Fault::ResetOnce);
}

#[test]
fn while_it_is_asked_what_it_is() {
    is_overcome_early(900, Fault::Away(std::time::Duration::from_millis(500)));
}

#[test]
fn ctrl_c_ends_the_waiting_for_what_they_are() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let gone = Step { direction: Direction::Replies, after: 900, fault: Fault::Close };
    let proxy = FaultProxy::scripted(source.port, vec![gone]);
    let running = Keyferry::verify(proxy.url(), target.url()).start();
    wait_until("the source is gone", || proxy.struck());
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
}

#[test]
fn while_it_is_found_out_what_may_be_read() {
    is_overcome(true, b"keyferry:probe", 0);
}

#[test]
fn while_it_is_found_out_what_may_be_written() {
    is_overcome(false, b"no-such-option", 0);
}

/// What a move and a clean-up try before they delete: each question breaks once.
#[test]
fn while_it_is_found_out_what_may_be_deleted() {
    for (command, cleans) in [(b"WATCH", true), (b"MULTI", true), (b"WATCH", false)] {
        let (source, target) = (source(), Server::start(Kind::Redis70));
        if cleans {
            Keyferry::copy(source.url(), target.url()).expect(0);
        }
        let for_answer_to = Some((&command[..], Fault::CloseOnce));
        let behaviour = Behaviour { for_answer_to, ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, behaviour);
        let run = match cleans {
            true => Keyferry::cleanup(proxy.url(), target.url()).arg("--force"),
            false => Keyferry::copy(proxy.url(), target.url()).arg("--delete-source"),
        };
        let run = run.expect(0);
        assert!(proxy.struck(), "nothing broke{}", run.frame());
        assert_eq!(source.client(0).dbsize(), 0, "{}", run.frame());
    }
}

#[test]
fn while_the_source_is_asked_what_it_holds_in_the_end() {
    is_overcome(true, b"INFO", 50_000);
}

#[test]
fn while_the_target_is_asked_whether_it_is_the_same_in_the_end() {
    is_overcome(false, b"INFO", 300_000);
}

#[test]
fn a_large_value_that_neither_side_can_finish_is_counted_once() {
    const VALUE: usize = 6_000_000;
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"value", &noise(1, VALUE));
    let behaviour = Behaviour {
        after_replies: Some((VALUE as u64 / 2, Fault::Close)),
        rate: Some(VALUE as u64),
        ..Behaviour::default()
    };
    let from = FaultProxy::start(source.port, behaviour);
    let into = FaultProxy::start(target.port, Behaviour::default());
    let mut running = Keyferry::copy(from.url(), into.url()).args(["--retry-budget", "1s"]).start();
    wait_until("the value is on its way", || into.request_bytes() > 200_000 || running.is_over());
    // The lane has to give its connection up in the middle of the command, and gets no other.
    into.lead_to(1);
    let run = running.finish();
    run.assert_code(&[1]);
    assert!(from.struck(), "nothing broke{}", run.frame());
    run.assert_counts(&[("failed", 1)]);
    assert_eq!(target.client(0).dbsize(), 0);
}

/// Every connection breaks in the middle of its first value: without progress, that is given up.
#[track_caller]
fn is_given_up(of_source: bool) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 20, 50_000);
    let direction = if of_source { Direction::Replies } else { Direction::Requests };
    let always = vec![Step { direction, after: 30_000, fault: Fault::CloseOnce }; 100_000];
    let broken = if of_source { &source } else { &target };
    let proxy = FaultProxy::scripted(broken.port, always);
    let run = match of_source {
        true => Keyferry::copy(proxy.url(), target.url()),
        false => Keyferry::copy(source.url(), proxy.url()),
    };
    let run = run.args(["--retry-budget", "2s"]).expect(1);
    run.assert_says(&["without progress", "--retry-budget"]);
    assert!(run.count("failed") > 0 && run.count("copied") == 0, "{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn a_source_that_breaks_off_each_time() {
    is_given_up(true);
}

#[test]
fn a_target_that_breaks_off_each_time() {
    is_given_up(false);
}
