//! Waits, as percentiles in constant memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Longer waits count as this, in microseconds: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Significant digits: 1 % is finer than any of these waits repeats.
const DIGITS: u8 = 2;

/// Any number of waits, from a microsecond to an hour, each told to 1 %.
#[derive(Clone, Debug)]
pub struct Percentiles {
    micros: Histogram<u64>,
}

impl Default for Percentiles {
    fn default() -> Self {
        let micros = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)
            .unwrap_or_else(|_| unreachable!("constant bounds are valid"));
        Self { micros }
    }
}

impl Percentiles {
    /// Counts `times` waits of this length.
    pub fn record(&mut self, waited: Duration, times: u64) {
        // Cannot fail: the value is inside the bounds.
        let _ = self.micros.record_n(in_bounds(waited), times);
    }

    /// Counts a wait that kept others from beginning, each `interval` after the one before: they
    /// count, as those who come at any time would see them.
    pub fn record_with_hidden(&mut self, waited: Duration, interval: Duration) {
        // Cannot fail: the value is inside the bounds.
        let _ = self.micros.record_correct(in_bounds(waited), in_bounds(interval));
    }

    /// Takes all waits of another one in.
    pub fn add(&mut self, other: &Self) {
        // Cannot fail: all have the same bounds.
        let _ = self.micros.add(&other.micros);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.micros.clear();
    }

    /// What that share of the waits did not exceed; 1.0: the longest.
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.micros.value_at_quantile(quantile))
    }

    /// The same in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1_000.0
    }

    /// As reports show it: milliseconds.
    pub fn to_json(&self) -> Value {
        json!({ "p50": self.ms(0.5), "p99": self.ms(0.99), "max": self.ms(1.0) })
    }
}

fn in_bounds(waited: Duration) -> u64 {
    u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_hides_those_behind_it() {
        let mut seen = Percentiles::default();
        seen.record_with_hidden(Duration::from_millis(10), Duration::from_millis(1));
        assert_eq!(seen.count(), 10, "10 ms, and 9, 8, … of those that came meanwhile");
        seen.clear();
        assert_eq!((seen.count(), seen.at(1.0)), (0, Duration::ZERO));
        let mut all = Percentiles::default();
        seen.record(Duration::from_nanos(1), 3);
        all.add(&seen);
        assert_eq!((all.count(), all.at(0.5)), (3, Duration::from_micros(1)));
    }
}
