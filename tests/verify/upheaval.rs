//! Databases that are exchanged, emptied or replaced while they are compared: what was seen of them is not what
//! they hold, and is not called the same.

use std::time::Duration;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 4_000;
/// Slow enough that a server is synchronised in the meantime.
const SLOW: [&str; 2] = ["--max-keys-rate", "800"];

/// Two servers with the same keys in database 0, and others of the same names in database 1.
fn twins(kind: Kind) -> (Server, Server) {
    let [source, target] = [0, 1].map(|_| {
        let server = Server::start(kind);
        server.synchronise_at_once();
        fill_strings(&mut server.client(0), "key", KEYS, 20);
        fill_strings(&mut server.client(1), "key", KEYS, 10);
        server
    });
    (source, target)
}

/// Waits until values of the target are read, and strikes.
#[track_caller]
fn is_told(mut running: Running, target: &Server, blow: impl FnOnce(), told: &[&str]) {
    wait_until("values are compared", || target.calls("mget") > 3 || running.is_over());
    blow();
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(told);
    assert!(!run.stdout.contains("Verified"), "{}", run.frame());
    assert_eq!(run.report()["verify"]["mode"], "none", "{}", run.frame());
}

#[test]
fn a_side_that_takes_over_other_data_meanwhile_is_told() {
    for (kind, of_source) in [
        (Kind::Redis62, true),
        (Kind::Redis70, false),
        (Kind::Redis82, true),
        (Kind::Valkey81, false),
        (Kind::Valkey91, true),
    ] {
        let (source, target) = twins(kind);
        let primary = Server::start(kind);
        primary.synchronise_at_once();
        fill_strings(&mut primary.client(0), "key", KEYS, 20);
        let (struck, side) = if of_source { (&source, "source") } else { (&target, "target") };
        let running = Keyferry::verify(source.url(), target.url()).args(SLOW).start();
        let blow = || {
            struck.follow(primary.port);
            struck.follow_nobody();
        };
        is_told(running, &target, blow, &[side, "took over the data of another server"]);
    }
}

/// A replica whose primary loses its data while it is compared, and has it again: nothing is to be seen in the end.
#[test]
fn a_replica_that_was_empty_for_a_moment_is_told() {
    let (primary, target) = twins(Kind::Redis70);
    let [source, empty] = [0, 1].map(|_| Server::start(Kind::Redis70));
    empty.synchronise_at_once();
    source.follow(primary.port);
    let running = Keyferry::verify(source.url(), target.url()).args(SLOW).start();
    let blow = || {
        source.follow(empty.port);
        source.follow(primary.port);
    };
    is_told(running, &target, blow, &["source", "took over the data of another server"]);
}

#[test]
fn databases_that_are_exchanged_or_emptied_meanwhile_are_told() {
    let swap: &[&str] = &["SWAPDB", "0", "1"];
    for (of_source, blows, told) in [
        (true, vec![swap], "SWAPDB"),
        (false, vec![swap], "SWAPDB"),
        (true, vec![swap, swap], "SWAPDB"),
        (false, vec![swap, &["CONFIG", "RESETSTAT"]], "RESETSTAT"),
        (true, vec![&["FLUSHALL"]], "FLUSHALL"),
        (false, vec![&["FLUSHDB"]], "FLUSHDB"),
    ] {
        let (source, target) = twins(Kind::Valkey81);
        let (struck, side) = if of_source { (&source, "source") } else { (&target, "target") };
        let verify = Keyferry::verify(source.url(), target.url()).args(["--db", "0"]).args(SLOW);
        let blow = || {
            for blow in &blows {
                struck.client(0).run(cmd(blow[0]).arg(&blow[1..]));
            }
        };
        is_told(verify.start(), &target, blow, &[side, told]);
    }
}

/// Counters that begin at 0 again grow past what they were.
#[test]
fn counters_that_are_reset_before_and_meanwhile_hide_nothing() {
    for of_source in [true, false] {
        for swaps_first in [true, false] {
            let (source, target) = twins(Kind::Redis70);
            source.reset_commands();
            target.reset_commands();
            let (struck, side) = if of_source { (&source, "source") } else { (&target, "target") };
            let running = Keyferry::verify(source.url(), target.url()).args(SLOW).start();
            let blow = || {
                let mut blows = [vec!["SWAPDB", "0", "1"], vec!["CONFIG", "RESETSTAT"]];
                if !swaps_first {
                    blows.reverse();
                }
                for blow in &blows {
                    struck.client(0).run(cmd(blow[0]).arg(&blow[1..]));
                }
            };
            // Keys that are gone by then are no difference, and no proof.
            is_told(running, &target, blow, &[side]);
        }
    }
}

/// Saves the server with other values under the names that SCAN gives first: a restart brings them back.
fn save_other_values(server: &Server) {
    let mut client = server.client(0);
    let (_, first): (String, Vec<Vec<u8>>) = client.call(cmd("SCAN").arg(0).arg("COUNT").arg(300));
    let held = first.iter().map(|name| client.get(name).expect("a string"));
    let held: Vec<Vec<u8>> = held.collect();
    first.iter().for_each(|name| client.set(name, b"other"));
    client.run(&cmd("SAVE"));
    first.iter().zip(&held).for_each(|(name, value)| client.set(name, value));
}

/// Long after its first names were compared.
#[test]
fn a_side_that_is_restarted_meanwhile_is_not_called_the_same() {
    for of_source in [true, false] {
        let (mut source, mut target) = twins(Kind::Redis62);
        save_other_values(if of_source { &source } else { &target });
        let verify = Keyferry::verify(source.url(), target.url()).args(["--db", "0"]);
        let mut running = verify.args(SLOW).start();
        // It takes 11 seconds.
        std::thread::sleep(Duration::from_secs(7));
        assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
        let (struck, side) =
            if of_source { (&mut source, "source") } else { (&mut target, "target") };
        struck.kill();
        struck.start_again();
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_says(&[side, "restarted"]);
        assert!(!run.stdout.contains("Verified"), "{}", run.frame());
    }
}

/// It is proven once more.
#[test]
fn a_side_that_is_restarted_while_a_copy_is_proven_is_looked_at_again() {
    for of_source in [true, false] {
        let (mut source, mut target) = twins(Kind::Valkey91);
        save_other_values(if of_source { &source } else { &target });
        target.client(0).run(&cmd("FLUSHALL"));
        let copy = Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]);
        let mut running = copy.args(["--db", "0"]).args(SLOW).start();
        let mut client = target.client(0);
        wait_until("all is copied", || client.dbsize() == KEYS || running.is_over());
        std::thread::sleep(Duration::from_secs(7));
        assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
        let struck = if of_source { &mut source } else { &mut target };
        struck.kill();
        struck.start_again();
        let run = running.finish();
        run.assert_code(&[1]);
        let different = run.report()["verify"]["different"].as_u64().unwrap_or_default();
        assert!(different > 0, "{}", run.frame());
    }
}

/// The proof of a copy is a comparison, too.
#[test]
fn what_happens_while_a_copy_is_proven_is_told() {
    for (of_source, told) in [(true, "SWAPDB"), (false, "SWAPDB"), (true, "FLUSHALL")] {
        let (source, _) = twins(Kind::Redis82);
        let target = Server::start(Kind::Redis82);
        fill_strings(&mut target.client(1), "key", KEYS, 10);
        let (struck, side) = if of_source { (&source, "source") } else { (&target, "target") };
        let copy = Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]);
        let running = copy.args(["--db", "0"]).args(SLOW).start();
        let blow = || match told {
            "SWAPDB" => struck.client(0).run(cmd("SWAPDB").arg(0).arg(1)),
            _ => struck.client(0).run(&cmd("FLUSHALL")),
        };
        is_told(running, &target, blow, &[side, told]);
    }
}
