//! A disk that is full, or a file that may grow no further: exit code 1, nothing is left, and what the report counts
//! is true.

use redis::cmd;

use super::{Place, backup, start};
use crate::support::client::fill_strings;
use crate::support::dataset::noise;
use crate::support::keyferry::Run;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// What a file may hold: in blocks, which are 512 bytes or 1,024, as the shell has it.
const BLOCKS: u32 = 2_000;

/// Two databases, each more than fits.
fn of_small_values() -> Server {
    let source = start(Kind::Redis70);
    source.client(0).run(cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no"));
    fill_strings(&mut source.client(0), "key", 4_000, 1_000);
    fill_strings(&mut source.client(3), "key", 4_000, 1_000);
    source
}

fn of_a_large_value() -> Server {
    let source = start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 100, 100);
    source.client(0).set(b"large", &noise(1, 16 << 20));
    source
}

#[track_caller]
fn counts_nothing_as_saved(run: &Run, place: &Place) {
    assert_eq!(place.names(), Vec::<String>::new(), "{}", run.frame());
    assert_eq!((run.count("copied"), &run.report()["bytes"]), (0, &0.into()), "{}", run.frame());
    // A run that never began is told by its error alone.
    let told = run.stdout.contains("no file is left");
    assert_eq!(told, !run.stdout.is_empty(), "{}", run.frame());
}

#[test]
fn a_file_that_cannot_grow_is_exit_1_with_counts_that_add_up() {
    for source in [of_small_values(), of_a_large_value()] {
        for way in ["dump", "psync"] {
            let (place, beside) = (Place::new(), tempfile::tempdir().expect("a directory"));
            let list = beside.path().join("list");
            let backup = backup(source.url(), &place.file()).args(["--fetch", way]);
            let run = backup.arg("--failures").arg(&list).with_files_of_at_most(BLOCKS).expect(1);
            counts_nothing_as_saved(&run, &place);
            assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
            run.assert_says(&["saved.rdb cannot be written: File too large"]);
            assert_eq!(run.report()["dead_letters_complete"], false, "{}", run.frame());
            let listed = std::fs::read_to_string(&list).unwrap_or_default().lines().count() as u64;
            assert_eq!(run.count("failed"), listed, "every failed key is named{}", run.frame());
            assert!(way == "psync" || listed > 0, "{}", run.frame());
        }
    }
}

#[test]
fn a_backup_that_is_interrupted_counts_nothing_as_saved() {
    let source = of_small_values();
    let place = Place::new();
    let slowly = backup(source.url(), &place.file()).args(["--max-keys-rate", "2000"]);
    let mut running = slowly.start();
    wait_until("some keys are read", || source.calls("dump") > 500 || running.is_over());
    running.signal("TERM");
    let run = running.finish();
    run.assert_code(&[130]);
    counts_nothing_as_saved(&run, &place);
    assert_eq!(run.count("failed"), 0, "{}", run.frame());
}
