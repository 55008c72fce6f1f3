//! The source's own file, as a replica gets it.

use std::os::unix::fs::PermissionsExt;

use redis::cmd;

use super::{Place, backup, loaded, start, total_keys};
use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill};
use crate::support::keyferry::SECRET;
use crate::support::server::{Kind, Setup};

#[test]
fn every_server_loads_what_was_saved_of_it() {
    for kind in Kind::ALL {
        let source = start(kind);
        fill(&source);
        source.reset_commands();
        let place = Place::new();
        // Redis 6.2 writes its file to its own disk first, unless it is told otherwise.
        let run = backup(source.url(), &place.file()).args(["--fetch", "psync"]).expect(0);
        assert_eq!(run.outcome(), "complete");
        run.assert_counts(&[("copied", total_keys(&source))]);
        assert_eq!(run.report()["command"], "backup");
        assert_eq!(run.report()["verify"]["mode"], "read-back");
        assert!(run.report()["bytes"].as_u64() > Some(9_000_000), "{}", run.frame());
        // Its own file, and nothing was written on it.
        assert_eq!((source.calls("psync"), source.calls("dump")), (1, 0), "{kind:?}");
        assert_eq!(source.write_commands(), Vec::<String>::new());
        assert_eq!(place.names(), ["saved.rdb"]);
        let mode = std::fs::metadata(place.file()).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_equal(&source, &loaded(kind, &place.file()), &SAME_NUMBERS);
    }
}

#[test]
fn a_file_is_the_same_from_disk_and_from_memory() {
    for (diskless, fetch, psync) in
        [("yes", "auto", 1), ("no", "auto", 0), ("no", "psync", 1), ("yes", "psync", 1)]
    {
        let source = start(Kind::Redis70);
        source.client(0).run(cmd("CONFIG").arg("SET").arg("repl-diskless-sync").arg(diskless));
        fill(&source);
        let saved_at = source.client(0).info("persistence", "rdb_last_save_time");
        let place = Place::new();
        let run = backup(source.url(), &place.file()).args(["--fetch", fetch]).expect(0);
        assert_equal(&source, &loaded(Kind::Redis70, &place.file()), &SAME_NUMBERS);
        assert_eq!(source.calls("psync"), psync, "{diskless} {fetch}{}", run.frame());
        if psync == 0 {
            // It was not made to write to its disk.
            assert_eq!(source.client(0).info("stats", "total_forks").as_deref(), Some("0"));
            assert_eq!(source.client(0).info("persistence", "rdb_last_save_time"), saved_at);
            run.assert_says(&["its own disk first", "--fetch psync"]);
        }
    }
}

#[test]
fn where_it_is_not_known_whether_the_source_would_use_its_disk_it_is_not_asked() {
    let source = start(Kind::Redis70);
    fill(&source);
    source.client(0).run(cmd("ACL").arg("SETUSER").arg("default").arg("-config"));
    let place = Place::new();
    let run = backup(source.url(), &place.file()).expect(0);
    run.assert_says(&["is not known", "--fetch psync"]);
    assert_eq!(source.calls("psync"), 0);
    let other = place.file().with_file_name("other.rdb");
    backup(source.url(), &other).args(["--fetch", "psync"]).expect(0);
    assert_eq!(source.calls("psync"), 1);
}

#[test]
fn a_limit_of_the_rate_is_kept_without_being_a_slow_replica() {
    let source = start(Kind::Redis70);
    fill(&source);
    let place = Place::new();
    backup(source.url(), &place.file()).args(["--max-rate", "20MB"]).expect(0);
    assert_eq!(source.calls("psync"), 0);
    for option in [["--max-rate", "20MB"], ["--db", "0"], ["--match", "*"]] {
        let other = place.file().with_file_name("other.rdb");
        backup(source.url(), &other).args(["--fetch", "psync"]).args(option).expect(2);
    }
}

#[test]
fn a_source_whose_disk_is_full_goes_on_taking_writes() {
    let source = start(Kind::Redis62);
    fill(&source);
    // Nothing can be written there, as on a disk that is full.
    source.client(0).run(cmd("CONFIG").arg("SET").arg("dbfilename").arg("f".repeat(300)));
    source.client(0).run(cmd("CONFIG").arg("SET").arg("save").arg("3600 1"));
    let place = Place::new();
    backup(source.url(), &place.file()).expect(0);
    source.client(0).set(b"a client's", b"write");
    // Whoever asks for it by name is told what became of it.
    let other = place.file().with_file_name("other.rdb");
    let run = backup(source.url(), &other).args(["--fetch", "psync"]).run();
    run.assert_code(&[1]);
    run.assert_says(&["does not hand out its RDB file", "MISCONF", "run BGSAVE there"]);
}

#[test]
fn an_empty_server_is_a_file_without_keys() {
    for kind in Kind::ALL {
        let (source, place) = (start(kind), Place::new());
        for (fetch, name) in [("auto", "one.rdb"), ("dump", "other.rdb")] {
            let file = place.file().with_file_name(name);
            let run = backup(source.url(), &file).args(["--fetch", fetch]).expect(0);
            run.assert_counts(&[]);
            assert_eq!(loaded(kind, &file).client(0).dbsize(), 0);
        }
    }
}

#[test]
fn a_value_of_any_size_takes_no_more_memory_than_was_allowed() {
    let source = start(Kind::Redis70);
    let value = crate::support::dataset::noise(5, 60_000_000);
    source.client(0).set(b"giant", &value);
    for fetch in ["auto", "dump"] {
        let place = Place::new();
        let options = ["--fetch", fetch, "--memory", "32MiB"];
        let run = backup(source.url(), &place.file()).args(options).expect(0);
        let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a number");
        assert!(peak < 40 << 20, "{peak}{}", run.frame());
        assert_equal(&source, &loaded(Kind::Redis70, &place.file()), &[(0, 0)]);
    }
}

#[test]
fn a_password_is_in_no_name_and_no_line() {
    let source = Setup::new(Kind::Valkey81).password(SECRET).start();
    source.synchronise_at_once();
    source.client(0).set(b"key", b"value");
    let place = Place::new();
    // Every run is searched for the password.
    let url = format!("redis://:{SECRET}@127.0.0.1:{}", source.port);
    let run = backup(&url, &place.file()).arg("-vv").expect(0);
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(place.names(), ["saved.rdb"]);
    let bytes = std::fs::read(place.file()).expect("the file");
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
}
