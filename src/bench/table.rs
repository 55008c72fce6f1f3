//! The table that people read.

use std::fmt::Write as _;

use serde_json::Value;

use super::bars::bars;
use super::foreground;
use super::lineup::{CLIENT_COPY, CLIENT_GUARDED};
use super::outcome::{DataOutcome, Outcome, Row};
use crate::units;

const HEAD: [&str; 12] = [
    "contestant",
    "seconds",
    "min–max",
    "of ceiling",
    "× guide",
    "keys/s",
    "MiB/s",
    "CPU s",
    "CPU s/GB",
    "peak memory",
    "source holds",
    "PING p99",
];

const CLIENT_HEAD: [&str; 7] =
    ["situation", "seconds", "p50", "p99", "max", "p99 from sending", "operations"];

/// Everything that was measured, as text.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let machine = &outcome.machine;
    let _ = writeln!(
        text,
        "{} -> {}, {} · keyferry {} · {} · {} cores, {}, Linux {}, {} of memory",
        outcome.source,
        outcome.target,
        if outcome.throw_away { "throw-away servers" } else { "given servers" },
        env!("CARGO_PKG_VERSION"),
        outcome.began,
        machine.cores,
        machine.cpu,
        machine.kernel,
        units::bytes(machine.memory_bytes),
    );
    for data in &outcome.data {
        data_set(&mut text, data, outcome.rounds);
    }
    let doubts = outcome.doubts();
    if !doubts.is_empty() {
        text.push_str("\nNOT TO BE TRUSTED:\n");
        for doubt in doubts {
            let _ = writeln!(text, "  {doubt}");
        }
    }
    text
}

fn data_set(text: &mut String, data: &DataOutcome, rounds: usize) {
    let _ = writeln!(
        text,
        "\n{}: {} keys, {}; {}, {} in the source's memory; medians of {rounds} interleaved rounds\n",
        data.data,
        units::count(data.loaded.keys),
        data.data.describe(),
        units::bytes(data.loaded.bytes),
        units::bytes(data.loaded.memory),
    );
    let for_speed = data.rows.iter().filter(|row| !row.has_client());
    let rows: Vec<Vec<String>> = for_speed.filter_map(|row| figures(data, row)).collect();
    if !rows.is_empty() {
        lay_out(text, &HEAD, &rows);
    }
    for row in &data.rows {
        if let Some(why) = &row.left_out {
            let _ = writeln!(text, "{}: left out: {why}", row.name);
        }
        if let Some(why) = &row.failure {
            let _ = writeln!(text, "{}: FAILED: {why}", row.name);
        }
    }
    latencies(text, data);
    rates(text, data);
    clients(text, data);
    for bar in bars(data) {
        let (sign, verdict) =
            (if bar.at_least { '≥' } else { '≤' }, if bar.is_met() { "met" } else { "MISSED" });
        let _ =
            writeln!(text, "{verdict:>6}  {}: {:.2} {sign} {}", bar.what, bar.measured, bar.bar);
    }
}

fn figures(data: &DataOutcome, row: &Row) -> Option<Vec<String>> {
    let median = row.median()?;
    let (fastest, slowest) = row.range()?;
    let name = row.name.as_str();
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
    let bytes = |value: Option<u64>| value.map_or_else(|| "-".into(), units::bytes);
    let whole = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| units::count(v as u64));
    let ping = median.source_ping_ms.as_ref().and_then(|waits| waits["p99"].as_f64());
    Some(vec![
        row.name.clone(),
        format!("{:.2}", median.seconds),
        format!("{fastest:.2}–{slowest:.2}"),
        number(data.of_ceiling(name)),
        number(data.times_guide(name)),
        whole(data.keys_per_second(name)),
        whole(data.mib_per_second(name)),
        number(median.cpu_seconds),
        number(data.cpu_per_gb(name)),
        bytes(row.most(|run| run.peak_resident_bytes)),
        bytes(row.most(|run| run.source_output_bytes)),
        ping.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms")),
    ])
}

/// Names to the left, figures to the right; each column as wide as its widest cell.
fn lay_out(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let columns = head.len();
    let head: Vec<String> = head.iter().copied().map(str::to_owned).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in all {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
}

fn latencies(text: &mut String, data: &DataOutcome) {
    let shown = |latency: &Value, stage: &str| {
        let of = |name: &str| latency[stage][name].as_f64();
        match (of("p50"), of("p99"), of("max")) {
            (Some(p50), Some(p99), Some(max)) => format!("{stage} {p50:.1} / {p99:.1} / {max:.1}"),
            _ => String::new(),
        }
    };
    let lines: Vec<String> = data
        .rows
        .iter()
        .filter_map(|row| {
            let latency = row.median()?.latency.as_ref()?;
            let stages = ["fetch", "restore"].map(|stage| shown(latency, stage));
            let stages: Vec<String> = stages.into_iter().filter(|s| !s.is_empty()).collect();
            Some(format!("{}: {}", row.name, stages.join(", ")))
        })
        .collect();
    if !lines.is_empty() {
        let _ = writeln!(text, "Latency in ms, p50 / p99 / max: {}", lines.join(" · "));
    }
}

/// What throttled copies were told and what they reached, run by run.
fn rates(text: &mut String, data: &DataOutcome) {
    for row in &data.rows {
        let held: Vec<_> = row.runs.iter().filter_map(|run| run.throttle).collect();
        if held.is_empty() {
            continue;
        }
        let runs: Vec<String> = held
            .iter()
            .map(|run| {
                let (reached, asked) = (units::count(run.reached as u64), units::count(run.asked));
                format!("{reached} of {asked}")
            })
            .collect();
        let _ = writeln!(text, "{}, a second, reached of asked: {}", row.name, runs.join(" · "));
    }
}

/// What a client of the source waits in each situation.
fn clients(text: &mut String, data: &DataOutcome) {
    let ms = |value: f64| format!("{value:.2}");
    let situation = |row: &Row| {
        let waits = foreground::middle(&row.runs)?;
        let seconds = format!("{:.2}", row.median()?.seconds);
        let [p50, p99, max, sent] = [waits.p50, waits.p99, waits.max, waits.sent_p99].map(ms);
        let operations = units::count(waits.operations);
        Some(vec![row.name.clone(), seconds, p50, p99, max, sent, operations])
    };
    let rows: Vec<Vec<String>> = data.rows.iter().filter_map(situation).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str("\nWhat clients of the source wait, in ms, for a SET or GET of 100 B\n\n");
    lay_out(text, &CLIENT_HEAD, &rows);
    if let Some(times) = data.ratio(CLIENT_COPY, CLIENT_GUARDED) {
        let _ = writeln!(text, "The guarded copy takes {times:.2} times as long as the other");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::tests::example;

    #[test]
    fn columns_stand_under_each_other_and_doubts_are_said() {
        let mut outcome = example();
        if let Some(row) = outcome.data[0].rows.last_mut() {
            row.failure = Some("why".into());
        }
        let text = table(&outcome);
        let lines: Vec<&str> = text.lines().collect();
        let head = lines.iter().position(|line| line.starts_with("contestant")).unwrap();
        let copy = lines[head + 2];
        assert_eq!(lines[head].chars().count(), copy.chars().count(), "{text}");
        assert!(copy.contains("1.90–2.10") && copy.contains("6.05"), "{text}");
        assert!(text.contains("copy: FAILED: why"), "{text}");
        assert!(text.contains("met  speed of copy in that of guide: 6.05 ≥ 6"), "{text}");
        assert!(text.contains("NOT TO BE TRUSTED"), "{text}");
    }
}
