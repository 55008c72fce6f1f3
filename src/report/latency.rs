//! How long replies took, as percentiles in constant memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::percentiles::Percentiles;

/// Which wait was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the request of a key until its payload is whole.
    Fetch,
    /// From the write of a RESTORE until its ack.
    Restore,
}

/// Waits of both stages. Each task has its own; they are merged at its end.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    fetch: Percentiles,
    restore: Percentiles,
}

impl Latency {
    /// Counts `keys` that waited this long.
    pub fn record(&mut self, stage: Stage, waited: Duration, keys: u64) {
        self.of(stage).record(waited, keys);
    }

    pub(super) fn merge(&mut self, stage: Stage, other: &Self) {
        let from = match stage {
            Stage::Fetch => &other.fetch,
            Stage::Restore => &other.restore,
        };
        self.of(stage).add(from);
    }

    fn of(&mut self, stage: Stage) -> &mut Percentiles {
        match stage {
            Stage::Fetch => &mut self.fetch,
            Stage::Restore => &mut self.restore,
        }
    }

    /// As the report shows it: milliseconds.
    pub fn to_json(&self) -> Value {
        json!({ "fetch": self.fetch.to_json(), "restore": self.restore.to_json() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latency = Latency::default();
        latency.record(Stage::Fetch, Duration::from_millis(2), 99);
        latency.record(Stage::Fetch, Duration::from_secs(9_000), 1);
        let shown = latency.to_json();
        let p50 = shown["fetch"]["p50"].as_f64().unwrap();
        assert!((1.9..2.1).contains(&p50), "{p50}");
        assert!(shown["fetch"]["max"].as_f64().unwrap() > 3_000_000.0);
        assert_eq!(shown["restore"]["max"], 0.0);
    }
}
