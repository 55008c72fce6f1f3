//! What keyferry promises of its speed, held against what was measured. Ratios of one run: seconds
//! of one machine say nothing about another.

use serde::Serialize;

use super::data::DataSet;
use super::lineup::{
    CEILING, COPY, COPY_DUMP, COPY_FAR, COPY_KEYS_RATE, COPY_NEAR, COPY_NO_COMPRESSION, COPY_RATE,
    COPY_TLS, GUIDE, REPLICA,
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
    use crate::bench::outcome::tests::example;

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
}
