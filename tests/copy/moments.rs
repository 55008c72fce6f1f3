//! Value and expiry of a key are of one moment, whatever clients do while it is read: on the network of today
//! a command and the next one to the same key do not always arrive together.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::moments::{Family, Keys, delete_what_is_gone};
use crate::support::now_ms;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// What one TCP segment on an Ethernet carries.
const SEGMENT: usize = 1_448;

/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Most of them strings that are written anew, since these pass by value.
fn mixed(keys: usize) -> Keys {
    let families = vec![
        (Family::Flips, keys * 6 / 10),
        (Family::Persists, keys / 10),
        (Family::Locks, keys / 20),
        (Family::Hashes, keys / 10),
        (Family::Lasting, keys / 10),
    ];
    Keys { families, db: 0, rest: Duration::ZERO }
}

/// Commands arrive in segments, one every so often, so that clients are served between two of them.
fn segments(server: &Server, delay: Option<Duration>) -> FaultProxy {
    let behaviour = Behaviour { piece: Some(SEGMENT), delay, ..Behaviour::default() };
    FaultProxy::start(server.port, behaviour)
}

#[track_caller]
fn assert_of_one_moment(what: &str, keys: &Keys, server: &Server, start: i64, run: &Run) {
    let wrong = keys.wrong_on(server, start);
    let shown = wrong.get(..10).unwrap_or(&wrong).join("\n  ");
    let count = wrong.len();
    assert!(
        count == 0,
        "{what}: {count} keys with an expiry of another moment:\n  {shown}{}",
        run.frame()
    );
}

/// Copies while clients write, and checks; both servers are as they are then.
fn copied(kind: Kind, keys: &Keys, delay: Option<Duration>, options: &[&str]) -> (Server, Server) {
    let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
    keys.fill(&source);
    let (start, clients) = (now_ms(), keys.start(&source));
    let proxy = segments(&source, delay);
    let run = Keyferry::copy(proxy.url(), target.url()).args(options).start().finish_within(LIMIT);
    clients.stop();
    // Keys that were touched too often may have failed.
    run.assert_code(&[0, 1]);
    assert_of_one_moment(&format!("{kind:?} {options:?}"), keys, &target, start, &run);
    let all: usize = keys.families.iter().map(|(_, count)| count).sum();
    assert!(target.client(keys.db).dbsize() > all * 8 / 10, "most keys are missing{}", run.frame());
    (source, target)
}

/// Once the clients have stopped, a second copy makes both sides equal.
fn copied_again((source, target): (Server, Server), keys: &Keys, options: &[&str]) {
    let again = Keyferry::copy(source.url(), target.url()).args(options);
    again.args(["--if-exists", "replace"]).start().finish_within(LIMIT).assert_code(&[0]);
    // A copy deletes nothing: what clients deleted after it was copied is there.
    delete_what_is_gone(&source, &target, keys.db);
    let verified = Keyferry::verify(source.url(), target.url()).start().finish_within(LIMIT);
    verified.assert_code(&[0]);
}

/// Copies while clients write, and again without them.
fn copied_twice(kind: Kind, options: &[&str]) {
    let keys = mixed(FEW);
    copied_again(copied(kind, &keys, PAUSE, options), &keys, options);
}

/// Saves while clients write, key by key, and loads the file again.
fn saved(kind: Kind, keys: &Keys, delay: Option<Duration>) {
    let (source, directory) = (Server::start(kind), TempDir::new().expect("a temporary directory"));
    keys.fill(&source);
    let (start, clients) = (now_ms(), keys.start(&source));
    let (proxy, file) = (segments(&source, delay), directory.path().join("saved.rdb"));
    let backup = Keyferry::new().arg("backup").arg(proxy.url()).arg(&file).with_report();
    let run = backup.args(["--fetch", "dump"]).start().finish_within(LIMIT);
    clients.stop();
    run.assert_code(&[0, 1]);
    let loaded = Setup::new(kind).rdb(&file).start();
    let mut client = loaded.client(0);
    wait_until("it has loaded its file", || {
        client.info("persistence", "loading").is_some_and(|loading| loading == "0")
    });
    assert_of_one_moment(&format!("a file of {kind:?}"), keys, &loaded, start, &run);
}

/// Keys of a short run.
const FEW: usize = 20_000;

/// The pause between two segments of a short run: some hundred writes fall into it.
const PAUSE: Option<Duration> = Some(Duration::from_millis(1));

#[test]
fn from_redis_6_2() {
    copied_twice(Kind::Redis62, &[]);
}

#[test]
fn from_redis_7_0() {
    copied_twice(Kind::Redis70, &[]);
}

#[test]
fn from_redis_8_2() {
    copied_twice(Kind::Redis82, &[]);
}

#[test]
fn from_valkey_8_1() {
    copied_twice(Kind::Valkey81, &[]);
}

#[test]
fn from_valkey_9_1() {
    copied_twice(Kind::Valkey91, &[]);
}

#[test]
fn by_dump() {
    for kind in [Kind::Redis70, Kind::Redis62] {
        copied_twice(kind, &["--fetch", "dump"]);
    }
}

#[test]
fn to_a_file() {
    for kind in [Kind::Redis70, Kind::Redis62] {
        saved(kind, &mixed(FEW), PAUSE);
    }
}

/// There is no expiry when the copy begins, and none when it ends.
#[test]
fn locks_that_come_and_go_in_a_database_without_expiries() {
    let families = vec![(Family::Lasting, FEW), (Family::Locks, 200)];
    let keys = Keys { families, db: 0, rest: Duration::from_millis(1) };
    for kind in [Kind::Redis62, Kind::Redis70, Kind::Valkey91] {
        let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
        keys.fill(&source);
        let proxy = segments(&source, PAUSE);
        let copy = Keyferry::copy(proxy.url(), target.url()).args(["--match", "moment:*"]);
        let (start, mut running) = (now_ms(), copy.start());
        let mut arrived = target.client(0);
        let mut wait = |count: usize| {
            wait_until("so many keys have arrived", || {
                arrived.dbsize() >= count || running.is_over()
            });
        };
        wait(1);
        let clients = keys.start(&source);
        wait(FEW / 2);
        clients.stop();
        let run = running.finish();
        run.assert_code(&[0, 1]);
        assert_of_one_moment(&format!("{kind:?}"), &keys, &target, start, &run);
        assert!(run.count("scanned") > FEW as u64, "no lock was seen by the copy{}", run.frame());
    }
}

#[test]
#[ignore = "takes hours: KEYFERRY_MOMENTS=1 make soak"]
fn soak() {
    let number = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a whole number"))
    };
    let (runs, keys) = (number("KEYFERRY_RUNS", 10), mixed(number("KEYFERRY_KEYS", 1_000_000)));
    let wanted = std::env::var("KEYFERRY_KIND").unwrap_or_default().to_lowercase();
    let kinds = Kind::ALL.into_iter();
    let mut failed = Vec::new();
    for kind in kinds.filter(|kind| format!("{kind:?}").to_lowercase().contains(&wanted)) {
        for run in 1..=runs {
            let options: &[&str] = if run % 3 == 0 { &["--fetch", "dump"] } else { &[] };
            eprintln!("{kind:?}, run {run} of {runs} {options:?}");
            let one = || {
                let sides = copied(kind, &keys, None, options);
                if run % 5 == 1 {
                    copied_again(sides, &keys, options);
                }
            };
            if std::panic::catch_unwind(one).is_err() {
                failed.push((kind, run));
            }
        }
        saved(kind, &keys, None);
    }
    assert!(failed.is_empty(), "these failed: {failed:?}");
}
