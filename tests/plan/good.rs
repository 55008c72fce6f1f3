//! A good pair: no blocker, no warning, true figures, and nothing written on either side.

use redis::cmd;
use serde_json::Value;

use super::servers;
use crate::support::client::fill_strings;
use crate::support::dataset::fill_database;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

/// What would be another if somebody had written: keys, and changes since it was last saved.
fn state(server: &Server) -> (usize, usize, Option<String>) {
    let changes = server.client(0).info("persistence", "rdb_changes_since_last_save");
    (server.client(0).dbsize(), server.client(1).dbsize(), changes)
}

#[test]
fn nothing_stands_in_the_way_of_any_pair() {
    for (from, to) in [
        (Kind::Redis62, Kind::Valkey91),
        (Kind::Redis70, Kind::Redis62),
        (Kind::Redis82, Kind::Redis70),
        (Kind::Valkey81, Kind::Redis82),
        (Kind::Valkey91, Kind::Valkey81),
    ] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill_strings(&mut source.client(0), "key", 300, 20);
        let run = Keyferry::plan(source.url(), target.url()).expect(0);
        assert_eq!(run.outcome(), "complete", "{}", run.frame());
        assert!(run.findings("blocker").is_empty(), "{}", run.frame());
        assert!(run.findings("warning").is_empty(), "{}", run.frame());
        assert!(run.stdout.contains("Nothing stands in the way"), "{}", run.frame());
    }
}

#[test]
fn nothing_is_written_whatever_is_asked_for() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    fill_database(&source, 0);
    fill_database(&target, 1);
    for name in ["keyferry:probe", "keyferry:probe:payload"] {
        // Names that trials use, as unlikely as that is.
        source.client(0).set(name.as_bytes(), b"mine");
    }
    let before = (state(&source), state(&target));
    source.reset_commands();
    let policies = ["replace", "skip", "fail", "merge"];
    for policy in policies {
        let options = ["--if-exists", policy, "--delete-source", "--with-functions"];
        let more = ["--source-compression", "off", "--db", "0:1"];
        let run = Keyferry::plan(source.url(), target.url()).args(options).args(more).run();
        run.assert_code(&[0]);
    }
    assert_eq!(source.writes_done(), Vec::<String>::new());
    assert_eq!((state(&source), state(&target)), before);
    assert_eq!(source.client(0).get(b"keyferry:probe").as_deref(), Some(&b"mine"[..]));
}

#[test]
fn a_dry_run_of_it_tries_no_write() {
    let (source, target) = servers();
    target.reset_commands();
    let run = Keyferry::plan(source.url(), target.url()).arg("--dry-run").expect(0);
    assert_eq!(target.write_commands(), Vec::<String>::new(), "{}", run.frame());
    assert!(run.findings("note").contains(&"not-tried of target".to_owned()), "{}", run.frame());
}

#[test]
fn a_small_keyspace_is_told_exactly() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis62));
    fill_strings(&mut source.client(0), "key", 30, 20);
    fill_strings(&mut source.client(4), "key", 10, 20);
    source.client(0).set(b"big", &crate::support::dataset::noise(1, 50_000));
    source.client(0).run(cmd("HSET").arg("hash").arg("f").arg("v"));
    source.client(4).run(cmd("EXPIRE").arg("key:1").arg(1000));
    let run = Keyferry::plan(source.url(), target.url()).expect(0);
    let report = run.report();
    assert_eq!(
        (&report["keyspace"]["keys"], &report["keyspace"]["expires"]),
        (&42.into(), &1.into())
    );
    assert_eq!(report["keyspace"]["dbs"][1]["source_db"], 4);
    assert_eq!((&report["sample"]["keys"], &report["sample"]["whole"]), (&42.into(), &true.into()));
    let types: Vec<(&Value, &Value, &Value)> = report["types"]
        .as_array()
        .expect("types")
        .iter()
        .map(|of| (&of["type"], &of["keys"], &of["way"]))
        .collect();
    let expected: [(Value, Value, Value); 2] = [
        ("string".into(), 41.into(), "commands".into()),
        ("hash".into(), 1.into(), "reencoded".into()),
    ];
    let expected = expected.each_ref().map(|(name, keys, way)| (name, keys, way));
    assert_eq!(types, expected, "{}", run.frame());
    assert_eq!(report["biggest"][0]["key"], "big", "{}", run.frame());
    assert_eq!(report["estimate"]["keys"], 42);
    for figure in ["memory", "payload_bytes", "seconds"] {
        assert!(report["estimate"][figure].is_number(), "{figure}{}", run.frame());
    }
}

#[test]
fn a_large_keyspace_is_sampled_and_that_is_said() {
    let (source, target) = (Server::start(Kind::Valkey91), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "even", 10_000, 20);
    fill_strings(&mut source.client(0), "odd", 10_000, 20);
    let run = Keyferry::plan(source.url(), target.url()).args(["--match", "odd:*"]).expect(0);
    let report = run.report();
    assert_eq!(report["sample"]["whole"], false, "{}", run.frame());
    assert!(run.stdout.contains("from a sample of"), "{}", run.frame());
    // Half of them, of 2,000 that are looked at: off by a fifth would be many times the deviation.
    let keys = report["estimate"]["keys"].as_u64().expect("a number");
    assert!((8_000..12_000).contains(&keys), "{keys}{}", run.frame());
}

#[test]
fn the_report_goes_to_stdout_and_quiet_is_quiet() {
    let (source, target) = servers();
    let run = Keyferry::new()
        .args(["plan", &source.url(), &target.url(), "--report", "-", "-q"])
        .expect(0);
    let report: Value = serde_json::from_str(&run.stdout).expect("nothing but JSON");
    assert_eq!((&report["schema"], &report["command"]), (&1.into(), &"plan".into()));
    assert_eq!(run.stderr, "");
    let run = Keyferry::new().args(["plan", &source.url(), &source.url(), "-q"]).expect(4);
    assert_eq!(run.stdout, "");
    run.assert_says(&["same server", "name another target"]);
}

#[test]
fn a_file_has_no_plan() {
    let (_, target) = servers();
    let run = Keyferry::new().args(["plan", "some.rdb", &target.url()]).expect(2);
    run.assert_says(&["is a file"]);
}
