//! The JSON of a benchmark, schema 1: fields are added, never changed.
//!
//! ```json
//! {"schema": 1, "command": "bench", "keyferry": "0.1.0", "began": "2026-01-31T12:34:56Z",
//!  "arguments": ["--rounds", "5"],
//!  "machine": {"cores": 2, "cpu": "…", "kernel": "…", "memory_bytes": 0}, "load": 0.1,
//!  "servers": {"source": "redis 7.0.15", "target": "redis 7.0.15", "throw_away": true},
//!  "rounds": 5, "doubts": ["why figures should not be trusted"],
//!  "data": [{
//!    "name": "strings-1k", "keys": 0, "bytes": 0, "source_memory_bytes": 0,
//!    "contestants": [{
//!      "name": "copy", "how": "keyferry copy", "left_out": null, "failure": null,
//!      "seconds": {"median": 0, "min": 0, "max": 0, "spread": 0},
//!      "of_ceiling": 0, "times_guide": 0, "keys_per_second": 0, "mib_per_second": 0,
//!      "cpu_seconds_per_gb": 0, "peak_resident_bytes": 0, "source_output_bytes": 0,
//!      "runs": [{"seconds": 0, "cpu_seconds": 0, "peak_resident_bytes": 0,
//!        "source_output_bytes": 0, "source_client_bytes": 0,
//!        "source_ping_ms": {"p50": 0, "p99": 0, "max": 0},
//!        "latency_ms": {"fetch": {"…": 0}, "restore": {"…": 0}}, "ways": {"…": 0},
//!        "moved": {"bytes": 0, "keys": 0, "seconds": 0}, "throttle": {"asked": 0, "reached": 0},
//!        "client_ms": {"operations": 0, "p50": 0, "p99": 0, "max": 0, "sent_p99": 0}}]}],
//!    "bars": [{"what": "…", "measured": 0, "bar": 0, "at_least": true, "met": true}]}]}
//! ```
//!
//! What was not measured is `null`. `bytes` are those of names and values; `source_output_bytes` is
//! the sum of `omem`, `source_client_bytes` that of `tot-mem` over the contestant's clients, the
//! most of any look. `moved` is what a copy reports, `throttle` bytes or keys a second;
//! `client_ms` counts from when an operation was due, `sent_p99` from when it was sent.

use serde_json::{Value, json};

use super::bars::bars;
use super::outcome::{DataOutcome, Outcome, Row};

/// Everything that was measured; `arguments` are the command line's, without passwords.
pub fn to_json(outcome: &Outcome, arguments: &[String]) -> Value {
    json!({
        "schema": 1,
        "command": "bench",
        "keyferry": env!("CARGO_PKG_VERSION"),
        "began": outcome.began,
        "arguments": arguments,
        "machine": outcome.machine,
        "load": outcome.load,
        "servers": {
            "source": outcome.source,
            "target": outcome.target,
            "throw_away": outcome.throw_away,
        },
        "rounds": outcome.rounds,
        "doubts": outcome.doubts(),
        "data": outcome.data.iter().map(data_set).collect::<Vec<_>>(),
    })
}

fn data_set(data: &DataOutcome) -> Value {
    let bars = bars(data).into_iter().map(|bar| {
        json!({
            "what": bar.what,
            "measured": rounded(bar.measured),
            "bar": bar.bar,
            "at_least": bar.at_least,
            "met": bar.is_met(),
        })
    });
    json!({
        "name": data.data.to_string(),
        "keys": data.loaded.keys,
        "bytes": data.loaded.bytes,
        "source_memory_bytes": data.loaded.memory,
        "contestants": data.rows.iter().map(|row| contestant(data, row)).collect::<Vec<_>>(),
        "bars": bars.collect::<Vec<_>>(),
    })
}

fn contestant(data: &DataOutcome, row: &Row) -> Value {
    let seconds = row.median().zip(row.range()).map(|(median, (min, max))| {
        json!({
            "median": rounded(median.seconds),
            "min": rounded(min),
            "max": rounded(max),
            "spread": row.spread().map(rounded),
        })
    });
    let name = row.name.as_str();
    json!({
        "name": name,
        "how": row.how,
        "left_out": row.left_out,
        "failure": row.failure,
        "seconds": seconds,
        "of_ceiling": data.of_ceiling(name).map(rounded),
        "times_guide": data.times_guide(name).map(rounded),
        "keys_per_second": data.keys_per_second(name).map(rounded),
        "mib_per_second": data.mib_per_second(name).map(rounded),
        "cpu_seconds_per_gb": data.cpu_per_gb(name).map(rounded),
        "peak_resident_bytes": row.most(|run| run.peak_resident_bytes),
        "source_output_bytes": row.most(|run| run.source_output_bytes),
        "runs": row.runs,
    })
}

/// Further digits are noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
