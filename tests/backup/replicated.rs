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
        let run = backup(source.url(), &place.file()).expect(0);
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
    for diskless in ["no", "yes"] {
        let source = start(Kind::Redis70);
        source.client(0).run(cmd("CONFIG").arg("SET").arg("repl-diskless-sync").arg(diskless));
        fill(&source);
        let place = Place::new();
        backup(source.url(), &place.file()).expect(0);
        assert_equal(&source, &loaded(Kind::Redis70, &place.file()), &SAME_NUMBERS);
    }
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
    super::hasten(&source);
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
