//! What was measured, and what follows from it: medians, spreads, ratios, doubts.

use serde::Serialize;
use serde_json::Value;

use super::contestant::failed;
use super::data::{DataSet, Loaded};
use super::foreground::{TRUSTED_OPERATIONS, Waits};
use super::lineup::{CEILING, CLIENT_ALONE, GUIDE};
use super::machine::Machine;
use super::process::Ended;
use super::throttle::{Held, Moved};
use super::watch::Seen;
use crate::error::Result;

/// A spread beyond this says more about the machine than about the contestant.
const TRUSTED_SPREAD: f64 = 0.15;
/// Fewer rounds show no spread worth the name.
const TRUSTED_ROUNDS: usize = 3;
/// Work that waited for a core before the run began, for each core.
const QUIET: f64 = 0.5;

/// One run of one contestant.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measured {
    /// Wall-clock time.
    pub seconds: f64,
    /// CPU time of the contestant's own processes, where it has some.
    pub cpu_seconds: Option<f64>,
    /// Their peak resident memory.
    pub peak_resident_bytes: Option<u64>,
    /// The most that its clients' output buffers held on the source (`omem`).
    pub source_output_bytes: Option<u64>,
    /// The most that its clients held on the source in all (`tot-mem`).
    pub source_client_bytes: Option<u64>,
    /// What another client's PING took on the source meanwhile.
    pub source_ping_ms: Option<Value>,
    /// The copy's own percentiles.
    #[serde(rename = "latency_ms")]
    pub latency: Option<Value>,
    /// The ways that the copy's keys took.
    pub ways: Option<Value>,
    /// What the copy says it moved.
    pub moved: Option<Moved>,
    /// How the copy kept to the rate it was told.
    pub throttle: Option<Held>,
    /// What a client of the source waited meanwhile, if there was one.
    pub client_ms: Option<Waits>,
}

/// What a process that did its work took.
///
/// # Errors
/// It did not: its status and its last words.
pub(super) fn of_process(ended: &Ended) -> Result<Measured> {
    if !ended.status.success() {
        return Err(failed(format!("{}: {}", ended.status, ended.last_words())));
    }
    Ok(Measured {
        seconds: ended.seconds,
        cpu_seconds: ended.cpu_seconds,
        peak_resident_bytes: ended.peak_resident_bytes,
        ..Measured::default()
    })
}

/// Adds what was seen on the source.
pub(super) fn fill(measured: &mut Measured, seen: &Seen) {
    measured.source_output_bytes = seen.omem;
    measured.source_client_bytes = seen.total;
    measured.source_ping_ms = Some(seen.waits.to_json());
}

/// One contestant's runs.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who ran.
    pub name: String,
    /// How.
    pub how: String,
    /// Every run, in order.
    pub runs: Vec<Measured>,
    /// Why it did not take part.
    pub left_out: Option<String>,
    /// Why its last run does not count.
    pub failure: Option<String>,
}

impl Row {
    /// The run in the middle, by seconds.
    pub fn median(&self) -> Option<&Measured> {
        self.by_seconds().get(self.runs.len() / 2).copied()
    }

    /// Seconds of the fastest and the slowest run.
    pub fn range(&self) -> Option<(f64, f64)> {
        let runs = self.by_seconds();
        Some((runs.first()?.seconds, runs.last()?.seconds))
    }

    /// From the fastest to the slowest run, as a share of the median.
    pub fn spread(&self) -> Option<f64> {
        let (fastest, slowest) = self.range()?;
        Some((slowest - fastest) / self.median()?.seconds.max(f64::MIN_POSITIVE))
    }

    /// The most that any run shows: memory has no median.
    pub fn most(&self, figure: impl Fn(&Measured) -> Option<u64>) -> Option<u64> {
        self.runs.iter().filter_map(figure).max()
    }

    /// Whether it ran for what a client of the source waits, and not for its own speed.
    pub(super) fn has_client(&self) -> bool {
        self.runs.iter().any(|run| run.client_ms.is_some())
    }

    fn by_seconds(&self) -> Vec<&Measured> {
        let mut runs: Vec<&Measured> = self.runs.iter().collect();
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        runs
    }
}

/// All contestants on one data set.
#[derive(Clone, Debug)]
pub struct DataOutcome {
    /// What was loaded.
    pub data: DataSet,
    pub(super) loaded: Loaded,
    /// The contestants, in the order they ran in.
    pub rows: Vec<Row>,
}

impl DataOutcome {
    /// The median of a contestant, in seconds.
    pub fn seconds(&self, name: &str) -> Option<f64> {
        let row = self.row(name)?;
        Some(row.median()?.seconds)
    }

    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// How many times as fast `name` is as `other`.
    pub fn ratio(&self, name: &str, other: &str) -> Option<f64> {
        if name == CLIENT_ALONE {
            return None;
        }
        Some(self.seconds(other)? / self.seconds(name)?.max(f64::MIN_POSITIVE))
    }

    /// Its speed as a share of what the source can do by DUMP.
    pub fn of_ceiling(&self, name: &str) -> Option<f64> {
        self.ratio(name, CEILING)
    }

    /// How many times as fast it is as the guides' pipeline.
    pub fn times_guide(&self, name: &str) -> Option<f64> {
        self.ratio(name, GUIDE)
    }

    /// Keys a second; none of a client that is alone.
    pub fn keys_per_second(&self, name: &str) -> Option<f64> {
        if name == CLIENT_ALONE {
            return None;
        }
        Some(self.loaded.keys as f64 / self.seconds(name)?.max(f64::MIN_POSITIVE))
    }

    /// MiB of names and values a second.
    pub fn mib_per_second(&self, name: &str) -> Option<f64> {
        if name == CLIENT_ALONE {
            return None;
        }
        let mib = self.loaded.bytes as f64 / f64::from(1 << 20);
        Some(mib / self.seconds(name)?.max(f64::MIN_POSITIVE))
    }

    /// CPU seconds of the median run for each GB (10⁹ bytes) of names and values.
    pub fn cpu_per_gb(&self, name: &str) -> Option<f64> {
        let cpu = self.row(name)?.median()?.cpu_seconds?;
        Some(cpu / (self.loaded.bytes as f64 / 1e9).max(f64::MIN_POSITIVE))
    }
}

/// A whole benchmark.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// When it began, in UTC.
    pub began: String,
    /// Where it ran.
    pub machine: Machine,
    /// Work that waited for a core when it began (the load average of the last minute).
    pub load: f64,
    /// Family and version of the source.
    pub source: String,
    /// Family and version of the target.
    pub target: String,
    /// Whether the servers were started for it.
    pub throw_away: bool,
    /// How often each contestant ran.
    pub rounds: usize,
    /// The data sets, in the order they were asked for.
    pub data: Vec<DataOutcome>,
}

impl Outcome {
    /// Why the figures should not be trusted.
    pub fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.rounds < TRUSTED_ROUNDS {
            doubts.push(format!(
                "{} round(s) show no spread: take {TRUSTED_ROUNDS} or more",
                self.rounds
            ));
        }
        if self.load > QUIET * self.machine.cores as f64 {
            doubts.push(format!(
                "the machine was busy when the run began (load {:.1} on {} cores)",
                self.load, self.machine.cores
            ));
        }
        for data in &self.data {
            for row in &data.rows {
                if let Some(spread) = row.spread().filter(|&spread| spread > TRUSTED_SPREAD) {
                    doubts.push(format!(
                        "{}, {}: the runs lie {:.0} % apart; do not trust this figure",
                        data.data,
                        row.name,
                        spread * 100.0
                    ));
                }
                let operations = |run: &Measured| run.client_ms.map(|waits| waits.operations);
                let least = row.runs.iter().filter_map(operations).min();
                if let Some(least) = least.filter(|&least| least < TRUSTED_OPERATIONS) {
                    doubts.push(format!(
                        "{}, {}: {least} operations are too few to tell a p99",
                        data.data, row.name
                    ));
                }
            }
        }
        doubts
    }

    /// Whether a contestant failed.
    pub fn any_failed(&self) -> bool {
        self.data.iter().flat_map(|data| &data.rows).any(|row| row.failure.is_some())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two contestants of three runs each.
    pub(in crate::bench) fn example() -> Outcome {
        let row = |name: &str, seconds: [f64; 3]| Row {
            name: name.into(),
            how: "how".into(),
            runs: seconds
                .map(|seconds| Measured {
                    seconds,
                    cpu_seconds: Some(seconds / 2.0),
                    peak_resident_bytes: Some(20 << 20),
                    source_output_bytes: Some((seconds * 1e6) as u64),
                    ..Measured::default()
                })
                .into(),
            left_out: None,
            failure: None,
        };
        let loaded = Loaded { keys: 1_000, bytes: 1_000_000_000, memory: 1_200_000_000 };
        Outcome {
            began: "2026-01-31T12:34:56Z".into(),
            machine: Machine { cores: 2, ..Machine::default() },
            load: 0.1,
            source: "redis 7.0.15".into(),
            target: "valkey 9.1.2".into(),
            throw_away: true,
            rounds: 3,
            data: vec![DataOutcome {
                data: DataSet::Strings { size: 1_000 },
                loaded,
                rows: vec![row(GUIDE, [12.0, 12.1, 14.9]), row("copy", [2.0, 2.1, 1.9])],
            }],
        }
    }

    #[test]
    fn medians_spreads_and_ratios() {
        let outcome = example();
        let data = &outcome.data[0];
        assert_eq!(data.seconds("copy"), Some(2.0));
        assert!((data.times_guide("copy").unwrap() - 6.05).abs() < 1e-9);
        assert!((data.rows[1].spread().unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(data.rows[1].most(|run| run.source_output_bytes), Some(2_100_000));
        assert_eq!(data.cpu_per_gb("copy"), Some(1.0));
        assert_eq!(data.of_ceiling("copy"), None, "the ceiling did not take part");
    }

    #[test]
    fn what_varies_is_doubted() {
        let mut outcome = example();
        assert_eq!(outcome.doubts().len(), 1, "{:?}", outcome.doubts());
        assert!(outcome.doubts()[0].contains("guide"));
        outcome.rounds = 1;
        outcome.load = 9.0;
        assert_eq!(outcome.doubts().len(), 3);
    }
}
