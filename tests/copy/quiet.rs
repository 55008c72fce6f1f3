//! `--require-quiet`: a source that is written to is refused, or found out at the end.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const KEYS: usize = 3_000;

fn servers(kind: Kind) -> (Server, Server) {
    let (source, target) = (Server::start(kind), Server::start(kind));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    (source, target)
}

fn quietly(source: &Server, target: &Server) -> Keyferry {
    Keyferry::copy(source.url(), target.url()).arg("--require-quiet")
}

/// Runs while somebody keeps writing one key of the source.
#[track_caller]
fn beside_a_writer(source: &Server, command: Keyferry) -> Run {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = source.client(3);
            while !over.load(Ordering::SeqCst) {
                client.run(cmd("INCR").arg("counter"));
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        let mut client = source.client(3);
        wait_until("the writer writes", || client.exists(b"counter"));
        let run = command.run();
        over.store(true, Ordering::SeqCst);
        run
    })
}

#[test]
fn a_source_that_is_written_to_is_refused_on_every_server() {
    for kind in Kind::ALL {
        let (source, target) = servers(kind);
        let run = beside_a_writer(&source, quietly(&source, &target));
        run.assert_code(&[4]);
        assert_eq!(run.outcome(), "refused", "{kind:?}{}", run.frame());
        run.assert_says(&["source", "being written to", "changes a second", "stop"]);
        let arrived = (target.client(0).dbsize(), target.client(3).dbsize());
        assert_eq!(arrived, (0, 0), "{kind:?}{}", run.frame());
        // A dry run would be of something that changes, too.
        let dry = beside_a_writer(&source, quietly(&source, &target).arg("--dry-run"));
        dry.assert_code(&[4]);
        // Without the option nobody asks.
        let run = beside_a_writer(&source, Keyferry::copy(source.url(), target.url()));
        run.assert_code(&[0]);
    }
}

#[test]
fn readers_and_keys_that_expire_are_no_writing() {
    for kind in Kind::ALL {
        let (source, target) = servers(kind);
        let mut batch = redis::pipe();
        for number in 0..2_000 {
            // From now on over three seconds.
            batch
                .cmd("SET")
                .arg(format!("short:{number}"))
                .arg("v")
                .arg("PX")
                .arg(number * 3 / 2 + 1);
        }
        if matches!(kind, Kind::Redis82 | Kind::Valkey91) {
            for number in 0..200 {
                let key = format!("hash:{number}");
                batch.cmd("HSET").arg(&key).arg("a").arg(1).arg("b").arg(2);
                let mut expire = cmd("HPEXPIRE");
                expire.arg(&key).arg(number * 15 + 1).arg("FIELDS").arg(1).arg("a");
                batch.add_command(expire);
            }
        }
        source.client(0).run_all(&batch);
        let over = AtomicBool::new(false);
        let run = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = source.client(0);
                while !over.load(Ordering::SeqCst) {
                    // Finds expired keys before the server does, too.
                    for number in (0..2_000).step_by(7) {
                        client.run(cmd("GET").arg(format!("short:{number}")));
                    }
                }
            });
            let options = ["--max-keys-rate", "2000", "--verify", "none"];
            let run = quietly(&source, &target).args(options).run();
            over.store(true, Ordering::SeqCst);
            run
        });
        run.assert_code(&[0]);
        assert_eq!(run.outcome(), "complete", "{kind:?}{}", run.frame());
        let expired: u64 = source
            .client(0)
            .info("stats", "expired_keys")
            .map_or(0, |count| count.parse().expect("a count"));
        assert!(expired > 500, "only {expired} keys expired, nothing is tested");
    }
}

#[test]
fn a_writer_that_comes_later_makes_the_copy_incomplete() {
    for kind in [Kind::Redis62, Kind::Valkey91] {
        let (source, target) = servers(kind);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state.json");
        let copy = quietly(&source, &target).args(["--max-keys-rate", "1500"]);
        let running = copy.arg("--state").arg(&state).start();
        let mut client = target.client(0);
        wait_until("the first keys have arrived", || client.dbsize() > 0);
        // In a database that is copied or not: the whole source has to be quiet.
        source.client(7).set(b"late", b"value");
        let run = running.finish();
        run.assert_code(&[1]);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
        run.assert_says(&[
            "source",
            "written to during the copy",
            "changes: 1",
            "--if-exists replace",
        ]);
        // Going on from its end would call complete what it is not.
        assert!(!state.exists(), "there is nothing to go on with{}", run.frame());
        run.assert_counts(&[("copied", KEYS as u64)]);
        assert_eq!(run.report()["verify"]["mode"], "names", "{}", run.frame());
    }
}

#[test]
fn deletions_of_our_own_are_no_writing_and_others_are() {
    let (source, target) = servers(Kind::Redis70);
    let run = quietly(&source, &target).arg("--delete-source").expect(0);
    run.assert_counts(&[("copied", KEYS as u64), ("deleted_from_source", KEYS as u64)]);
    let (source, target) = servers(Kind::Redis70);
    let options = ["--delete-source", "--max-keys-rate", "1500"];
    let running = quietly(&source, &target).args(options).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0);
    source.client(7).set(b"late", b"value");
    running.finish().assert_says(&["written to during the copy"]);
}

#[test]
fn a_save_meanwhile_is_no_writing() {
    let source = Setup::new(Kind::Redis70).option("--save", "1 1").start();
    let target = Server::start(Kind::Redis70);
    // Saved within a second: the look falls into it.
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    let mut running = quietly(&source, &target).args(["--max-keys-rate", "1500"]).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    // It may be saving already.
    let _: Result<redis::Value, _> = source.client(0).try_call(&cmd("SAVE"));
    running.finish().assert_code(&[0]);
}

#[test]
fn a_writer_whose_changes_are_saved_at_once_is_refused() {
    for kind in Kind::ALL {
        let (source, target) = servers(kind);
        let over = AtomicBool::new(false);
        let run = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = source.client(3);
                let mut batch = redis::pipe();
                batch.cmd("SET").arg("saved").arg("at once").cmd("SAVE");
                while !over.load(Ordering::SeqCst) {
                    client.run_all(&batch);
                }
            });
            let mut client = source.client(3);
            wait_until("the writer writes", || client.exists(b"saved"));
            let run = quietly(&source, &target).run();
            over.store(true, Ordering::SeqCst);
            run
        });
        run.assert_code(&[4]);
        run.assert_says(&["source", "being written to"]);
        assert_eq!(target.client(0).dbsize(), 0, "{kind:?}{}", run.frame());
    }
}

#[test]
fn writes_that_a_save_hides_later_are_not_called_quiet() {
    for kind in Kind::ALL {
        for more in [None, Some("--delete-source")] {
            let (source, target) = servers(kind);
            let slowly = quietly(&source, &target).args(["--max-keys-rate", "1500"]);
            let running = slowly.args(more).start();
            let mut client = target.client(0);
            wait_until("the first keys have arrived", || client.dbsize() > 0);
            let mut batch = redis::pipe();
            for number in 0..30 {
                batch.cmd("SET").arg(format!("late:{number}")).arg("value");
            }
            batch.cmd("SAVE");
            source.client(7).run_all(&batch);
            let run = running.finish();
            run.assert_code(&[1]);
            run.assert_says(&["source", "written to during the copy", "--if-exists replace"]);
            assert_eq!(run.outcome(), "incomplete", "{kind:?}{}", run.frame());
        }
    }
}

#[test]
fn a_run_does_not_go_on_quietly_after_writes() {
    for (kind, saves) in [(Kind::Redis62, false), (Kind::Redis70, true), (Kind::Valkey91, false)] {
        for writes in [true, false] {
            let (source, target) = servers(kind);
            source.wait_for_certain_counters();
            let directory = tempfile::TempDir::new().expect("a temporary directory");
            let state = directory.path().join("state.json");
            let copy = || quietly(&source, &target).arg("--state").arg(&state);
            let mut running = copy().args(["--max-keys-rate", "800"]).start();
            let mut client = target.client(0);
            wait_until("a part is there", || client.dbsize() > 100 || running.is_over());
            running.signal("TERM");
            running.finish().assert_code(&[130]);
            if writes {
                source.client(7).set(b"late", b"value");
            }
            if saves {
                source.client(0).run(&cmd("SAVE"));
            }
            let run = copy().run();
            run.assert_code(&[if writes { 4 } else { 0 }]);
            if writes {
                run.assert_says(&["source", "this one goes on with", "--require-quiet"]);
            }
        }
    }
}

#[test]
fn where_it_makes_no_sense_it_is_refused() {
    let (source, target) = servers(Kind::Redis70);
    let options = ["--require-quiet", "--db", "0:1"];
    let run = Keyferry::copy(source.url(), source.url()).args(options).expect(4);
    run.assert_says(&["same server", "--require-quiet"]);
    let run = Keyferry::copy("none.rdb", target.url()).arg("--require-quiet").expect(2);
    run.assert_says(&["--require-quiet", "file"]);
    let run = Keyferry::verify(source.url(), target.url()).arg("--require-quiet").run();
    run.assert_code(&[2]);
}

#[test]
fn ctrl_c_does_not_wait_for_the_look() {
    let (source, target) = servers(Kind::Redis70);
    source.reset_commands();
    // Too slow to end before the signal, should the look be over by then.
    let running = quietly(&source, &target).args(["--max-keys-rate", "100"]).start();
    wait_until("the source is probed", || source.calls("scan") > 0);
    running.signal("INT");
    running.finish().assert_code(&[130]);
}
