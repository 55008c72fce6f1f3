//! `keyferry bench`: every contestant and data set at a size that takes seconds, what is written about
//! it, and servers that are not to be touched.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

/// A server that all tests have, see `scripts/servers.py`.
const REDIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers/redis70/redis-server");

const VALKEY_WITHOUT_TLS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers/valkey81/valkey-server");

/// A benchmark of one round and its JSON.
struct Bench {
    directory: TempDir,
    keyferry: Keyferry,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let keyferry = Keyferry::new().args(["bench", "--rounds", "1", "--report"]);
        let keyferry = keyferry.arg(directory.path().join("bench.json"));
        Self { directory, keyferry }
    }

    /// On throw-away servers of the kind that all tests have.
    fn throw_away() -> Self {
        Self::new().args(["--server", REDIS])
    }

    /// On two servers.
    fn on(source: &Server, target: &Server) -> Self {
        Self::new().args([&*source.url(), &*target.url()])
    }

    fn arg(mut self, argument: &Path) -> Self {
        self.keyferry = self.keyferry.arg(argument);
        self
    }

    fn args<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.keyferry = self.keyferry.args(arguments);
        self
    }

    /// Runs it; the JSON is `null` where none was written. The directory goes with its last value.
    #[track_caller]
    fn run(self) -> (Run, Value, TempDir) {
        let run = self.keyferry.run();
        let text = std::fs::read(self.directory.path().join("bench.json")).unwrap_or_default();
        (run, serde_json::from_slice(&text).unwrap_or_default(), self.directory)
    }

    /// Runs it and expects this exit code.
    #[track_caller]
    fn expect(self, code: i32) -> (Run, Value) {
        let (run, report, _) = self.run();
        run.assert_code(&[code]);
        (run, report)
    }
}

/// The only data set of a report.
#[track_caller]
fn contestant<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["data"][0]["contestants"].as_array().expect("a list of contestants");
    let found = all.iter().find(|contestant| contestant["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Each contestant ran, or says why this program cannot run it.
#[track_caller]
fn assert_all_ran(report: &Value) {
    for data in report["data"].as_array().expect("a list of data sets") {
        for contestant in data["contestants"].as_array().expect("a list of contestants") {
            assert_eq!(contestant["failure"], Value::Null, "{contestant:#}");
            if contestant["left_out"].is_null() {
                assert!(contestant["seconds"]["median"].as_f64() > Some(0.0), "{contestant:#}");
                assert!(contestant["keys_per_second"].as_f64() > Some(0.0), "{contestant:#}");
            }
        }
    }
}

#[test]
fn every_contestant_on_strings() {
    let bench = Bench::throw_away();
    let picture = bench.directory.path().join("bench.svg");
    let bench = bench.args(["--keys", "2000", "--against", "nobody=true", "--svg"]);
    let bench = bench.arg(&picture).args(["--skip", "nobody", "--round-trip", "20ms"]);
    let (run, report, _directory) = bench.run();
    run.assert_code(&[0]);
    let picture = std::fs::read_to_string(picture).expect("a picture");
    assert!(picture.starts_with("<svg") && picture.contains("copy-far"), "{picture}");
    assert_all_ran(&report);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["machine"]["cores"].as_u64().map(|cores| cores > 0), Some(true));
    assert!(report["servers"]["source"].as_str().unwrap_or("").starts_with("redis 7.0."));
    assert_eq!(report["data"][0]["keys"], 2_000);
    for name in ["guide", "migrate", "replicaof", "dump-ceiling", "null-target", "copy"] {
        let seconds = &contestant(&report, name)["runs"][0]["seconds"];
        assert!(seconds.as_f64() > Some(0.0), "{name}: {report:#}");
    }
    let copy = contestant(&report, "copy");
    assert!(copy["peak_resident_bytes"].as_u64() > Some(1_000_000), "{copy:#}");
    assert!(copy["runs"][0]["latency_ms"]["fetch"]["p99"].is_number(), "{copy:#}");
    assert!(copy["runs"][0]["source_ping_ms"]["p99"].is_number(), "{copy:#}");
    assert!(copy["times_guide"].is_number() && copy["of_ceiling"].is_number(), "{copy:#}");
    let far = contestant(&report, "copy-far")["seconds"]["median"].as_f64();
    assert!(far > Some(0.04), "two round trips at least: {report:#}");
    for word in ["× guide", "of ceiling", "copy-far", "PING p99", "NOT TO BE TRUSTED"] {
        assert!(run.stdout.contains(word), "the table lacks {word}{}", run.frame());
    }
}

#[test]
fn every_data_set() {
    let bench = Bench::throw_away().args(["--keys", "2000", "--bytes", "12MB", "--size", "10"]);
    let sets =
        ["strings-1k", "strings-100", "strings-expiring", "mixed", "together", "large", "giant"];
    let mut bench = sets.iter().fold(bench, |bench, set| bench.args(["--data", set]));
    for name in ["guide", "replicaof", "dump-ceiling", "copy"] {
        bench = bench.args(["--only", name]);
    }
    let (_, report) = bench.expect(0);
    assert_all_ran(&report);
    let names: Vec<_> = report["data"].as_array().expect("data sets").iter().collect();
    let keys: Vec<_> = names.iter().map(|data| (&data["name"], data["keys"].as_u64())).collect();
    let fixed = [("together", 2_041), ("large", 40), ("giant", 1)];
    assert_eq!(keys.len(), sets.len() + 1);
    for ((name, keys), expected) in keys.iter().zip(sets.iter().chain(&["strings-10"])) {
        assert_eq!(*name, expected);
        let fixed = fixed.iter().find(|(name, _)| name == expected);
        assert_eq!(*keys, Some(fixed.map_or(2_000, |(_, keys)| *keys)), "{expected}");
    }
    // 2,000 strings of 1 kB; of the 12 MB 12/22 are large values.
    let together = report["data"][4]["bytes"].as_u64().unwrap_or(0);
    assert!((8_400_000..8_700_000).contains(&together), "{together}");
}

#[test]
fn tls_is_measured_where_both_servers_have_it() {
    let bench = || Bench::throw_away().args(["--keys", "2000", "--only", "copy"]);
    let (run, report) = bench().args(["--only", "copy-tls"]).expect(0);
    let tls = contestant(&report, "copy-tls");
    assert_eq!((&tls["left_out"], &tls["failure"]), (&Value::Null, &Value::Null), "{tls:#}");
    assert!(tls["seconds"]["median"].as_f64() > Some(0.0), "{tls:#}");
    assert!(run.stdout.contains("speed of copy-tls in that of copy"), "{}", run.frame());
    assert!(!run.stderr.contains("NOT verified"), "{}", run.frame());
    // A target without TLS: all the others run.
    let other = ["--target-server", VALKEY_WITHOUT_TLS, "--only", "copy-tls"];
    let (_, report) = bench().args(other).expect(0);
    let why = contestant(&report, "copy-tls")["left_out"].as_str().unwrap_or("").to_owned();
    assert!(why.contains("target") && why.contains("built without TLS"), "{why}");
    // No openssl: nothing of PATH is needed else, the server is named by its path.
    let mut bench = bench().args(["--only", "copy-tls"]);
    bench.keyferry = bench.keyferry.env("PATH", "/nowhere");
    let (_, report) = bench.expect(0);
    let why = contestant(&report, "copy-tls")["left_out"].as_str().unwrap_or("").to_owned();
    assert!(why.contains("openssl"), "{why}");
}

#[test]
fn throttled_copies_are_told_a_part_of_the_copys_rate() {
    let bench = || Bench::throw_away().args(["--keys", "3000", "--throttled"]);
    let names = ["--only", "copy", "--only", "copy-max-rate", "--only", "copy-max-keys-rate"];
    let (run, report) = bench().args(names).expect(0);
    for name in ["copy-max-rate", "copy-max-keys-rate"] {
        let held = &contestant(&report, name)["runs"][0]["throttle"];
        assert!(held["asked"].as_u64() > Some(0), "{held:#}");
        assert!(held["reached"].as_f64() > Some(0.0), "{held:#}");
    }
    for word in ["reached of asked", "asked by --max-rate", "asked by --max-keys-rate"] {
        assert!(run.stdout.contains(word), "the table lacks {word}{}", run.frame());
    }
    let (_, report) = bench().args(["--only", "copy-dump", "--only", "copy-max-rate"]).expect(0);
    assert!(contestant(&report, "copy-max-rate")["left_out"].is_string(), "{report:#}");
}

#[test]
fn clients_of_the_source_are_measured_in_three_situations() {
    let situations = ["client-alone", "client-copy", "client-guarded"];
    let bench = Bench::throw_away().args(["--keys", "3000", "--data", "mixed", "--foreground"]);
    let bench = situations.iter().fold(bench, |bench, name| bench.args(["--only", name]));
    let (run, report) = bench.expect(0);
    for name in situations {
        let row = contestant(&report, name);
        let waits = &row["runs"][0]["client_ms"];
        assert!(waits["operations"].as_u64() > Some(0), "{row:#}");
        assert!(waits["p50"].as_f64() <= waits["p99"].as_f64(), "{row:#}");
        assert!(waits["p99"].as_f64() <= waits["max"].as_f64(), "{row:#}");
        assert!(run.stdout.contains(name), "{}", run.frame());
    }
    let alone = contestant(&report, "client-alone");
    assert!(alone["keys_per_second"].is_null(), "nothing is copied: {alone:#}");
    for word in ["p99 from sending", "The guarded copy takes", "p99 in ms of clients"] {
        assert!(run.stdout.contains(word), "the table lacks {word}{}", run.frame());
    }
}

#[test]
fn two_servers_of_the_users_are_left_empty_and_as_they_were() {
    let (source, target) = (Server::start(Kind::Valkey81), Server::start(Kind::Valkey81));
    let delay = |server: &Server| -> Vec<String> {
        server.client(0).call(redis::cmd("CONFIG").arg("GET").arg("repl-diskless-sync-delay"))
    };
    let before = delay(&source);
    let (_, report) = Bench::on(&source, &target)
        .args(["--keys", "500", "--data", "mixed", "--only", "copy", "--only", "replicaof"])
        .expect(0);
    assert_all_ran(&report);
    assert_eq!(report["servers"]["throw_away"], false);
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, 0));
    assert_eq!(delay(&source), before);
    assert_eq!(target.client(0).info("replication", "role").as_deref(), Some("master"));
}

#[test]
fn servers_that_hold_keys_are_refused_and_not_touched() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    target.client(3).set(b"precious", b"1");
    let (run, _) = Bench::on(&source, &target).args(["--keys", "10"]).expect(4);
    run.assert_says(&["target", "not empty"]);
    assert!(target.client(3).exists(b"precious"));
    let (run, _) = Bench::on(&target, &source).args(["--keys", "10"]).expect(4);
    run.assert_says(&["source", "not empty"]);
    assert!(target.client(3).exists(b"precious"));
    assert_eq!(source.client(0).dbsize(), 0);
}

#[test]
fn the_same_server_twice_or_one_database_of_it_is_refused() {
    let server = Server::start(Kind::Redis70);
    Bench::on(&server, &server).args(["--keys", "10"]).expect(4);
    let other = Server::start(Kind::Redis70);
    let urls = [&*server.url_of(1), &*other.url()];
    Bench::new().args(urls).args(["--keys", "10"]).expect(2);
}

#[test]
fn another_program_is_run_and_its_result_is_checked() {
    let script = "moves=test {source_port} != {target_port} && \
                  redis-cli -p {source_port} --raw KEYS '*' | \
                  xargs redis-cli -p {source_port} MIGRATE {target_host} {target_port} '' 0 5000 COPY KEYS";
    let (run, report) = Bench::throw_away()
        .args(["--keys", "1000", "--only", "moves", "--only", "idle", "--only", "wrong"])
        .args(["--against", script, "--against", "idle=true"])
        .args(["--against", "wrong=echo because >&2; exit 3"])
        .expect(1);
    let moves = contestant(&report, "moves");
    assert_eq!(moves["failure"], Value::Null, "{moves:#}");
    assert!(moves["peak_resident_bytes"].as_u64() > Some(100_000), "{moves:#}");
    let idle = contestant(&report, "idle")["failure"].as_str().unwrap_or("").to_owned();
    assert!(idle.contains("0 of 1000 keys"), "{idle}");
    let wrong = contestant(&report, "wrong")["failure"].as_str().unwrap_or("").to_owned();
    assert!(wrong.contains("because"), "{wrong}");
    assert!(run.stdout.contains("FAILED"), "{}", run.frame());
}

#[test]
fn mistakes_are_named_before_anything_starts() {
    let (run, _) = Bench::throw_away().args(["--only", "copi"]).expect(2);
    run.assert_says(&["--only", "dump-ceiling"]);
    let (run, _) = Bench::throw_away().args(["--against", "nameless"]).expect(2);
    run.assert_says(&["--against"]);
    let (run, _) = Bench::throw_away().args(["--data", "strings-many"]).expect(2);
    run.assert_says(&["strings-expiring"]);
    let (run, _) = Bench::new().args(["--server", "true"]).expect(2);
    run.assert_says(&["true", "--server"]);
    let (run, _) = Bench::new().args(["--server", "no-such-server"]).expect(2);
    run.assert_says(&["cannot be started", "--server"]);
    let (_, report) = Bench::throw_away()
        .args(["--keys", "10", "--copy", "odd=--no-such", "--only", "odd"])
        .expect(1);
    assert!(contestant(&report, "odd")["failure"].is_string(), "{report:#}");
}

#[test]
fn an_interrupted_benchmark_leaves_the_servers_empty() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let bench = Bench::on(&source, &target).args(["--keys", "100000", "--only", "slow"]);
    // The directory of the report has to stay.
    let Bench { keyferry, directory: _directory } = bench.args(["--against", "slow=sleep 40"]);
    let running = keyferry.start();
    crate::support::wait_until("the source is loaded", || source.client(0).dbsize() >= 50_000);
    running.signal("TERM");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, 0));
}
