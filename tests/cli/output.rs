//! The summary on stdout and the report, in a file or on stdout.

use serde_json::Value;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, SECRET_VALUE};
use crate::support::server::{Kind, Server};

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    fill_strings(&mut source.client(0), "key", 1_234, 50);
    source.client(2).set(b"secret", SECRET_VALUE.as_bytes());
    (source, target)
}

#[test]
fn the_summary_goes_to_stdout() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    // However thousands are set apart.
    let digits: String = run.stdout.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.contains("1235"), "the summary does not tell the total{}", run.frame());
    assert!(run.stdout.to_lowercase().contains("copied"), "{}", run.frame());
}

#[test]
fn outputs_that_are_no_terminal_get_no_control_signs() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).arg("-v").expect(0);
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains(['\x1b', '\r']), "{}", run.frame());
    }
}

#[test]
fn a_dash_puts_the_report_alone_on_stdout() {
    let (source, target) = servers();
    let run =
        Keyferry::new().args(["copy", &source.url(), &target.url(), "--report", "-"]).expect(0);
    let report: Result<Value, _> = serde_json::from_str(&run.stdout);
    let report = report.unwrap_or_else(|error| panic!("stdout is no JSON: {error}{}", run.frame()));
    assert_eq!(report["schema"], 1);
    assert_eq!(report["keys"]["copied"], 1_235);
}

#[test]
fn the_report_has_every_field_of_the_schema() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).expect(0);
    let report = run.report();
    for path in [
        "/schema",
        "/command",
        "/outcome",
        "/source/endpoint",
        "/source/server",
        "/target/endpoint",
        "/target/server",
        "/seconds",
        "/bytes",
        "/keys/scanned",
        "/keys/copied",
        "/keys/skipped",
        "/keys/merged",
        "/keys/filtered",
        "/keys/expired",
        "/keys/failed",
        "/keys/deleted_from_source",
        "/dbs/0/source_db",
        "/dbs/0/target_db",
        "/dbs/0/keys/copied",
        "/dbs/0/bytes",
        "/ways/verbatim",
        "/ways/footer",
        "/ways/reencoded",
        "/ways/commands",
        "/failures",
        "/latency_ms/fetch/p50",
        "/latency_ms/fetch/p99",
        "/latency_ms/fetch/max",
        "/latency_ms/restore/p50",
        "/latency_ms/restore/p99",
        "/latency_ms/restore/max",
        "/verify/mode",
        "/verify/missing",
        "/verify/extra",
        "/verify/different",
        "/verify/expiry",
    ] {
        assert!(report.pointer(path).is_some(), "the report lacks {path}{}", run.frame());
    }
    assert!(report["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert_eq!(ways(&run), 1_235, "each copied key went one way{}", run.frame());
}

fn ways(run: &Run) -> u64 {
    let ways = run.report()["ways"].as_object().cloned().unwrap_or_default();
    ways.values().filter_map(Value::as_u64).sum()
}

#[test]
fn the_report_is_written_for_every_outcome() {
    let (source, target) = servers();
    let copy = || Keyferry::copy(source.url(), target.url());
    assert_eq!(copy().arg("--dry-run").expect(0).outcome(), "dry-run");
    assert_eq!(copy().expect(0).outcome(), "complete");
    assert_eq!(copy().expect(4).outcome(), "refused");
    let run = copy().args(["--if-exists", "fail"]).expect(1);
    assert_eq!(run.outcome(), "incomplete");
    run.assert_counts(&[("failed", 1_235)]);
}

#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let (source, target) = servers();
    let run = Keyferry::new()
        .args(["copy", &source.url(), &target.url(), "--report", "no/such/directory/report.json"])
        .run();
    assert_ne!(run.code(), Some(0), "{}", run.frame());
    run.assert_says(&["no/such/directory"]);
}
