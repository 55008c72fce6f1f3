//! What keyferry promises of its speed, held against what was measured. Ratios of one run: seconds
//! of one machine say nothing about another.

use serde::Serialize;

use super::data::DataSet;
use super::foreground;
use super::lineup::{
    CEILING, CLIENT_COPY, CLIENT_GUARDED, COPY, COPY_DUMP, COPY_FAR, COPY_KEYS_RATE, COPY_NEAR,
    COPY_NO_COMPRESSION, COPY_RATE, COPY_TLS, GUIDE, REPLICA,
};
use super::outcome::DataOutcome;
use super::throttle;

/// A promise and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is promised.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What it has to be.
    pub bar: f64,
    /// Whether the bar is a lower bound; else it is an upper one.
    pub at_least: bool,
}

impl Bar {
    /// Whether the promise is kept.
    pub fn is_met(&self) -> bool {
        if self.at_least { self.measured >= self.bar } else { self.measured <= self.bar }
    }
}

const MIB: f64 = 1_048_576.0;

/// The promises about a data set, as far as the contestants they speak of took part.
pub fn bars(outcome: &DataOutcome) -> Vec<Bar> {
    let kilo = outcome.data == DataSet::Strings { size: 1_000 };
    let small = outcome.data == DataSet::Strings { size: 100 };
    let mixed = outcome.data == DataSet::Mixed;
    // Not of the giant value: the source makes its reply as a whole, whoever asks.
    let large = outcome.data == DataSet::Large;
    let times_guide = match outcome.data {
        _ if kilo => Some(6.0),
        _ if small => Some(3.8),
        DataSet::Expiring => Some(3.3),
        DataSet::Mixed => Some(2.0),
        _ => None,
    };
    let mut bars = Vec::new();
    let mut ratio = |name: &str, other: &str, bar: Option<f64>| {
        if let (Some(measured), Some(bar)) = (outcome.ratio(name, other), bar) {
            let what = format!("speed of {name} in that of {other}");
            bars.push(Bar { what, measured, bar, at_least: true });
        }
    };
    ratio(COPY, GUIDE, times_guide);
    ratio(COPY, REPLICA, times_guide.map(|_| 1.0));
    ratio(COPY_DUMP, CEILING, (kilo || small || mixed).then_some(0.92));
    ratio(COPY_NO_COMPRESSION, GUIDE, mixed.then_some(2.7));
    ratio(COPY_FAR, COPY_NEAR, Some(0.8));
    ratio(COPY_TLS, COPY, Some(0.6));
    // A throttle holds if it is neither too slow nor too fast, in any run.
    for (name, option) in [(COPY_RATE, "--max-rate"), (COPY_KEYS_RATE, "--max-keys-rate")] {
        let held = outcome.row(name).and_then(|row| throttle::range(&row.runs));
        for (measured, bar, at_least) in
            held.into_iter().flat_map(|(low, high)| [(low, 0.95, true), (high, 1.05, false)])
        {
            let run = if at_least { "slowest" } else { "fastest" };
            let what = format!("rate reached in that asked by {option}, {run} run");
            bars.push(Bar { what, measured, bar, at_least });
        }
    }
    // Only together they say something: a guard of what would not hurt anyway proves nothing.
    let waits = |name| outcome.row(name).and_then(|row| foreground::middle(&row.runs));
    for (name, at_least) in [(CLIENT_COPY, true), (CLIENT_GUARDED, false)] {
        if let Some(waits) = waits(name) {
            let what = format!("p99 in ms of clients of the source, {name}");
            bars.push(Bar { what, measured: waits.p99, bar: 10.0, at_least });
        }
    }
    let mut most = |what: &str, measured: Option<f64>, bar: f64| {
        if let Some(measured) = measured {
            bars.push(Bar { what: what.into(), measured, bar, at_least: false });
        }
    };
    if kilo {
        most("CPU seconds of copy for 1 GB", outcome.cpu_per_gb(COPY), 1.2);
    }
    if let Some(row) = outcome.row(COPY) {
        let mib = |bytes: u64| bytes as f64 / MIB;
        let peak = row.most(|run| run.peak_resident_bytes).map(mib);
        most("peak resident MiB of copy", peak, 64.0);
        if large {
            let held = row.most(|run| run.source_output_bytes).map(|bytes| bytes as f64 / 1e6);
            most("MB that the source holds for copy", held, 64.0);
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::data::Loaded;
    use crate::bench::outcome::tests::example;
    use crate::bench::{Held, Measured, Row, Waits};

    #[test]
    fn promises_are_held_against_the_figures() {
        let bars = bars(&example().data[0]);
        let shown: Vec<_> = bars.iter().map(|bar| (bar.what.as_str(), bar.is_met())).collect();
        let expected = [
            ("speed of copy in that of guide", true),
            ("CPU seconds of copy for 1 GB", true),
            ("peak resident MiB of copy", true),
        ];
        assert_eq!(shown, expected);
        let missed = Bar { what: String::new(), measured: 0.91, bar: 0.92, at_least: true };
        assert!(!missed.is_met());
    }

    /// One run of everybody.
    fn everybody(data: DataSet) -> DataOutcome {
        let names = [
            GUIDE,
            REPLICA,
            CEILING,
            COPY,
            COPY_DUMP,
            COPY_NO_COMPRESSION,
            COPY_TLS,
            COPY_NEAR,
            COPY_FAR,
            COPY_RATE,
            COPY_KEYS_RATE,
            CLIENT_COPY,
            CLIENT_GUARDED,
        ];
        let run = |name: &str| Measured {
            seconds: 1.0,
            cpu_seconds: Some(1.0),
            peak_resident_bytes: Some(1 << 20),
            source_output_bytes: Some(1_000_000),
            throttle: [COPY_RATE, COPY_KEYS_RATE]
                .contains(&name)
                .then_some(Held { asked: 100, reached: 90.0 }),
            client_ms: [CLIENT_COPY, CLIENT_GUARDED]
                .contains(&name)
                .then_some(Waits { p99: 11.0, ..Waits::default() }),
            ..Measured::default()
        };
        let row = |&name: &&str| Row {
            name: name.into(),
            how: String::new(),
            runs: vec![run(name)],
            left_out: None,
            failure: None,
        };
        let rows = names.iter().map(row).collect();
        DataOutcome { data, loaded: Loaded::default(), rows }
    }

    #[test]
    fn every_promise_is_held_against_a_figure_of_its_data() {
        let bars_of = |data: &str| -> Vec<(String, f64)> {
            let bars = bars(&everybody(data.parse().unwrap()));
            bars.into_iter().map(|bar| (bar.what, bar.bar)).collect()
        };
        let everywhere = [
            ("speed of copy-far in that of copy-near", 0.8),
            ("speed of copy-tls in that of copy", 0.6),
            ("rate reached in that asked by --max-rate, slowest run", 0.95),
            ("rate reached in that asked by --max-rate, fastest run", 1.05),
            ("rate reached in that asked by --max-keys-rate, slowest run", 0.95),
            ("rate reached in that asked by --max-keys-rate, fastest run", 1.05),
            ("p99 in ms of clients of the source, client-copy", 10.0),
            ("p99 in ms of clients of the source, client-guarded", 10.0),
            ("peak resident MiB of copy", 64.0),
        ];
        let (guide, replica) =
            ("speed of copy in that of guide", "speed of copy in that of replicaof");
        let ceiling = ("speed of copy-dump in that of dump-ceiling", 0.92);
        let special: [(&str, &[(&str, f64)]); 7] = [
            (
                "strings-1k",
                &[(guide, 6.0), (replica, 1.0), ceiling, ("CPU seconds of copy for 1 GB", 1.2)],
            ),
            ("strings-100", &[(guide, 3.8), (replica, 1.0), ceiling]),
            ("strings-expiring", &[(guide, 3.3), (replica, 1.0)]),
            (
                "mixed",
                &[
                    (guide, 2.0),
                    (replica, 1.0),
                    ceiling,
                    ("speed of copy-nocompress in that of guide", 2.7),
                ],
            ),
            ("large", &[("MB that the source holds for copy", 64.0)]),
            ("giant", &[]),
            ("together", &[]),
        ];
        for (data, special) in special {
            let mut found = bars_of(data);
            let mut expected: Vec<(String, f64)> =
                everywhere.iter().chain(special).map(|&(what, bar)| (what.into(), bar)).collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(found, expected, "{data}");
        }
        let slow = bars(&everybody(DataSet::Mixed));
        let slow: Vec<bool> =
            slow.iter().filter(|b| b.what.contains("asked by")).map(Bar::is_met).collect();
        assert_eq!(slow, [false, true, false, true]);
    }
}
