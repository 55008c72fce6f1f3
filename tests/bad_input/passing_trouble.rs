//! Trouble that passes by itself is waited out: a server busy with a script, or short of replicas.

use redis::cmd;

use crate::support::client::{Client, fill_strings};
use crate::support::compare::assert_equal;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const KEYS: u64 = 500;

fn is_busy(client: &mut Client) -> bool {
    let answer: Result<redis::Value, _> = client.try_call(&cmd("PING"));
    answer.is_err_and(|error| error.to_string().to_uppercase().contains("BUSY"))
}

/// Copies while a script occupies `busy`, which ends once keyferry has been told so.
#[track_caller]
fn waits_for(busy_side: &str) {
    let start = || Setup::new(Kind::Redis70).option("--busy-reply-threshold", "10").start();
    let (source, target) = (start(), start());
    fill_strings(&mut source.client(0), "key", KEYS as usize, 100);
    let busy = if busy_side == "source" { &source } else { &target };
    let proxy = FaultProxy::start(busy.port, Behaviour::default());
    // A client opened now: later even the greeting would be refused.
    let mut other = busy.client(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let endless = cmd("EVAL").arg("while true do end").arg(0).to_owned();
            let _: Result<redis::Value, _> = busy.client(0).try_call(&endless);
        });
        wait_until("the server is busy", || is_busy(&mut other));
        let running = if busy_side == "source" {
            Keyferry::copy(proxy.url(), target.url()).start()
        } else {
            Keyferry::copy(source.url(), proxy.url()).start()
        };
        wait_until("keyferry has been told", || proxy.reply_bytes() > 0);
        other.run(cmd("SCRIPT").arg("KILL"));
        let run = running.finish();
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", KEYS)]);
    });
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_busy_source() {
    waits_for("source");
}

#[test]
fn a_busy_target() {
    waits_for("target");
}

#[test]
fn a_target_short_of_replicas_for_a_moment() {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", KEYS as usize, 100);
    let target = Setup::new(Kind::Redis70).option("--min-replicas-to-write", "1").start();
    let mut client = target.client(0);
    let running = Keyferry::copy(source.url(), target.url()).start();
    wait_until("a write was refused", || {
        client.info("errorstats", "errorstat_NOREPLICAS").is_some()
    });
    client.run(cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(0));
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", KEYS)]);
    assert_equal(&source, &target, &[(0, 0)]);
}
