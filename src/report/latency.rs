//! How long replies took, as percentiles in constant memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Which wait was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the request of a key until its payload is whole.
    Fetch,
    /// From the write of a RESTORE until its ack.
    Restore,
}

/// Longer waits count as this, in microseconds: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Waits of both stages. Each task has its own; they are merged at its end.
#[derive(Clone, Debug)]
pub struct Latency {
    fetch: Histogram<u64>,
    restore: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        // Two significant digits: 1 % is finer than any of these waits repeats.
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST_MICROS, 2)
                .unwrap_or_else(|_| unreachable!("constant bounds are valid"))
        };
        Self { fetch: empty(), restore: empty() }
    }
}

impl Latency {
    /// Counts `keys` that waited this long.
    pub fn record(&mut self, stage: Stage, waited: Duration, keys: u64) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_MICROS);
        // Cannot fail: the value is inside the bounds.
        let _ = self.of(stage).record_n(micros, keys);
    }

    pub(super) fn merge(&mut self, stage: Stage, other: &Self) {
        let from = match stage {
            Stage::Fetch => &other.fetch,
            Stage::Restore => &other.restore,
        };
        // Cannot fail: all have the same bounds.
        let _ = self.of(stage).add(from);
    }

    fn of(&mut self, stage: Stage) -> &mut Histogram<u64> {
        match stage {
            Stage::Fetch => &mut self.fetch,
            Stage::Restore => &mut self.restore,
        }
    }

    /// As the report shows it: milliseconds.
    pub fn to_json(&self) -> Value {
        let shown = |histogram: &Histogram<u64>| {
            let ms = |micros: u64| micros as f64 / 1000.0;
            json!({
                "p50": ms(histogram.value_at_quantile(0.5)),
                "p99": ms(histogram.value_at_quantile(0.99)),
                "max": ms(histogram.max()),
            })
        };
        json!({ "fetch": shown(&self.fetch), "restore": shown(&self.restore) })
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
