//! Sources whose SCAN is not as it should be.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server};
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
