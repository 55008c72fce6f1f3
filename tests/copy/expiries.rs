//! How expiries are read where a server is busy, refuses to tell them, or is old and far away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};

/// Strings and lists that all expire.
fn fill(server: &Server, keys: usize) {
    let mut client = server.client(0);
    for number in 0..keys {
        let key = format!("key:{number}");
        match number % 2 {
            0 => client.run(cmd("SET").arg(&key).arg(number)),
            _ => client.run(cmd("RPUSH").arg(&key).arg(number).arg("x")),
        }
        client.run(cmd("EXPIRE").arg(&key).arg(5_000 + number));
    }
}

#[test]
fn a_source_that_is_busy_now_and_then_is_asked_again() {
    for (kind, question) in [(Kind::Redis70, "PEXPIRETIME"), (Kind::Redis62, "PTTL")] {
        let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
        fill(&source, 2_000);
        for command in [question, "TIME", "MULTI", "EXEC", "DUMP", "MGET", "SCAN"] {
            let asked = AtomicUsize::new(0);
            let busy = RewritingProxy::start(&source, move |arguments, _| {
                let is_it = arguments[0].eq_ignore_ascii_case(command.as_bytes());
                let asked = if is_it { asked.fetch_add(1, Ordering::Relaxed) } else { 0 };
                let refused = is_it && asked > 8 && asked.is_multiple_of(97);
                refused.then(|| b"-BUSY a script is running\r\n".to_vec())
            });
            Keyferry::copy(busy.url(), target.url()).args(["--if-exists", "replace"]).expect(0);
            assert_equal(&source, &target, &[(0, 0)]);
            target.client(0).run(&cmd("FLUSHALL"));
        }
    }
}

#[test]
fn a_key_whose_expiry_may_not_be_read_is_not_written_without_it() {
    for (kind, question) in [(Kind::Redis70, "PEXPIRETIME"), (Kind::Redis62, "PTTL")] {
        for error in ["-NOPERM this user has no permissions\r\n", "-ERR no\r\n"] {
            let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
            fill(&source, 2_000);
            let asked = AtomicUsize::new(0);
            let refusing = RewritingProxy::start(&source, move |arguments, _| {
                let is_it = arguments[0].eq_ignore_ascii_case(question.as_bytes());
                let refused = is_it && asked.fetch_add(1, Ordering::Relaxed) > 500;
                refused.then(|| error.as_bytes().to_vec())
            });
            Keyferry::copy(refusing.url(), target.url()).expect(1);
            let mut there = target.client(0);
            for number in 0..2_000 {
                let left = there.call::<i64>(cmd("PTTL").arg(format!("key:{number}")));
                assert_ne!(left, -1, "key:{number} has become immortal after {error}");
            }
        }
    }
}

/// A server below 7.0, so many milliseconds away in each direction.
fn distant(away_ms: u64) -> (Server, FaultProxy) {
    let source = Server::start(Kind::Redis62);
    let far = Behaviour { delay: Some(Duration::from_millis(away_ms)), ..Behaviour::default() };
    let far = FaultProxy::start(source.port, far);
    (source, far)
}

#[test]
fn expiries_of_an_old_and_distant_source_are_the_same_within_50_ms() {
    let ((source, far), target) = (distant(75), Server::start(Kind::Redis70));
    fill(&source, 60);
    source.client(0).run(cmd("RPUSH").arg("large").arg(vec![b'x'; 2 << 20]));
    source.client(0).run(cmd("EXPIRE").arg("large").arg(7_000));
    Keyferry::copy(far.url(), target.url()).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn expiries_of_keys_that_go_in_pieces_from_there_are_the_same_within_50_ms() {
    let (source, far) = distant(40);
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
    let mut client = source.client(0);
    for number in 0..2 {
        client.run(cmd("RPUSH").arg("in pieces").arg(noise(number, 600_000)));
    }
    client.run(cmd("EXPIRE").arg("in pieces").arg(7_000));
    Keyferry::copy(far.url(), target.url()).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}
