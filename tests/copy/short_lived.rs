//! Keys about to die: a remaining life of 0 ms must never become "for ever".

use std::time::Duration;

use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::{now_ms, wait_until};

const KEYS: i64 = 20_000;

/// Sets all keys to end between 40 and 240 ms after `start`.
fn fill(server: &Server, start: i64) {
    let mut client = server.client(0);
    for first in (0..KEYS).step_by(2_000) {
        let mut batch = redis::pipe();
        for number in first..first + 2_000 {
            let at = start + 40 + number * 200 / KEYS;
            batch.cmd("SET").arg(format!("short:{number}")).arg(number).arg("PXAT").arg(at);
        }
        client.run_all(&batch);
    }
}

/// Copies while the keys die; after that the target must be empty. Returns how many were caught alive.
#[track_caller]
fn round(source: &Server, target: &Server, url: &str, lead: i64) -> u64 {
    for server in [source, target] {
        server.client(0).run(&redis::cmd("FLUSHALL"));
    }
    // All are alive together once filling is over, however long that takes within the lead.
    fill(source, now_ms() + lead);
    let run = Keyferry::copy(url, target.url()).expect(0);
    run.assert_counts(&[("copied", run.count("copied")), ("expired", run.count("expired"))]);

    let mut client = target.client(0);
    // "db0:keys=17,expires=17,…": a key without expiry makes the two numbers differ.
    if let Some(line) = client.info("keyspace", "db0") {
        let number = |part: usize| line.split([',', '=']).nth(part).map(ToOwned::to_owned);
        assert_eq!(number(1), number(3), "keys and keys that expire on the target: {line}");
    }
    wait_until("every short-lived key is gone from the target", || client.dbsize() == 0);
    run.count("copied")
}

/// Tries until keys were caught in flight; a run that came too late for all of them proves nothing.
#[track_caller]
fn none_becomes_immortal(from: Kind, to: Kind, behaviour: Option<Behaviour>) {
    let (source, target) = (Server::start(from), Server::start(to));
    let proxy = behaviour.map(|behaviour| FaultProxy::start(source.port, behaviour));
    let url = proxy.as_ref().map_or_else(|| source.url(), FaultProxy::url);
    let caught = [100, 200, 400, 800, 1_600, 3_200]
        .into_iter()
        .any(|lead| round(&source, &target, &url, lead) > 0);
    assert!(caught, "the machine is too slow to catch a short-lived key alive");
}

#[test]
fn none_of_20_000_short_lived_keys_becomes_immortal() {
    none_becomes_immortal(Kind::Redis70, Kind::Redis70, None);
}

#[test]
fn nor_where_only_the_remaining_time_is_known() {
    none_becomes_immortal(Kind::Redis62, Kind::Redis62, None);
}

#[test]
fn nor_from_an_old_source_to_a_new_target() {
    none_becomes_immortal(Kind::Redis62, Kind::Valkey91, None);
}

#[test]
fn nor_when_they_die_on_the_way() {
    let delay = Some(Duration::from_millis(20));
    none_becomes_immortal(
        Kind::Redis62,
        Kind::Redis70,
        Some(Behaviour { delay, ..Behaviour::default() }),
    );
}
