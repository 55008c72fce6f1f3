//! Sources whose SCAN is not as it should be.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::keyferry::Keyferry;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// A SCAN that begins somewhere again where it should end.
fn going_round(server: &Server) -> RewritingProxy {
    RewritingProxy::start(server, |command, reply| {
        let end = b"*2\r\n$1\r\n0\r\n";
        let scan = command.first()?.eq_ignore_ascii_case(b"scan");
        let rest = reply.strip_prefix(end).filter(|_| scan && command.len() > 1)?;
        // The probe asks for one key.
        let probe = command.last().is_some_and(|count| count == b"1");
        (!probe).then(|| [b"*2\r\n$1\r\n5\r\n".as_slice(), rest].concat())
    })
}

#[test]
fn a_scan_that_never_ends_is_named() {
    for keys in [0, 3, 3_000] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", keys, 20);
        let round = going_round(&source);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("saved.rdb");
        let runs = [
            Keyferry::copy(round.url(), target.url()).args(["--db", "0", "--verify", "none"]),
            Keyferry::verify(round.url(), target.url()).args(["--db", "0"]),
            Keyferry::new()
                .arg("backup")
                .arg(round.url())
                .arg(&file)
                .args(["--db", "0", "--fetch", "dump"])
                .with_report(),
        ];
        for run in runs {
            let run = run.run();
            // Before anything is written it is a refusal.
            run.assert_code(&[1, 4]);
            run.assert_says(&["source", "SCAN never ends"]);
        }
        assert!(!file.exists());
    }
}

/// Its members are named anew where they should end.
fn going_round_in(server: &Server, scan: &'static str) -> RewritingProxy {
    RewritingProxy::start(server, move |command, reply| {
        let [name, key, ..] = command else { return None };
        if !name.eq_ignore_ascii_case(scan.as_bytes()) || key != b"round" {
            return None;
        }
        let rest = reply.strip_prefix(b"*2\r\n$1\r\n0\r\n")?;
        Some([b"*2\r\n$1\r\n7\r\n".as_slice(), rest].concat())
    })
}

#[test]
fn members_that_never_end_fail_by_name_and_their_neighbours_go() {
    for (scan, add) in [("SSCAN", "SADD"), ("HSCAN", "HSET"), ("ZSCAN", "ZADD")] {
        // What is longer than its limit goes to the target in pieces.
        let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
        let source = Server::start(Kind::Redis70);
        for key in ["round", "neighbour"] {
            for side in [&source, &target] {
                // The target holds one of them, so that `merge` has something to add to.
                let members = if side.port == source.port { 0..5_000 } else { 0..1 };
                let mut command = cmd(add);
                command.arg(key);
                for number in members {
                    match add {
                        "SADD" => command.arg(noise(number, 1_000)),
                        "HSET" => command.arg(number).arg(noise(number, 1_000)),
                        _ => command.arg(number).arg(noise(number, 1_000)),
                    };
                }
                side.client(0).run(&command);
            }
        }
        let round = going_round_in(&source, scan);
        let merge = Keyferry::copy(round.url(), target.url()).args(["--if-exists", "merge"]);
        let pieces = Keyferry::copy(round.url(), target.url()).args(["--if-exists", "replace"]);
        for run in [merge, pieces] {
            let run = run.run();
            run.assert_code(&[1]);
            let failure = &run.report()["failures"][0];
            let why = failure["error"].as_str().unwrap_or_default();
            assert!(
                failure["key"] == "round" && why.contains(&format!("{scan} never ends")),
                "{failure}"
            );
            assert_eq!((run.count("copied") + run.count("merged"), run.count("failed")), (1, 1));
        }
    }
}

#[test]
fn databases_that_are_exchanged_or_emptied_meanwhile_are_told() {
    for (upheaval, verify) in [("SWAPDB", "none"), ("SWAPDB", "count"), ("FLUSHALL", "count")] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        for db in [0, 1] {
            fill_strings(&mut source.client(db), &format!("of {db}"), 3_000, 20);
        }
        let copy = Keyferry::copy(source.url(), target.url());
        let running = copy.args(["--max-keys-rate", "3000", "--verify", verify]).start();
        let mut client = target.client(0);
        wait_until("the first keys have arrived", || client.dbsize() > 0);
        let mut command = cmd(upheaval);
        if upheaval == "SWAPDB" {
            command.arg(0).arg(1);
        }
        source.client(0).run(&command);
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_says(&["source", upheaval]);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    }
}
