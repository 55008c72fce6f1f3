//! What a guard makes of the latency it sees: how narrow the windows, how much work in a second.
//!
//! Narrow windows come first: they shorten the queue at the source and cost hardly any speed. Only
//! where they do not help is less work taken in a second. Down by a large factor, up by a small one:
//! what is too much is left quickly, what is just right is approached slowly. The beginning is
//! narrow, and widens quickly until it was too much for the first time.

use std::time::Duration;

/// The narrowest window, in percent: a few keys in flight on each connection.
const LEAST_SHARE: f64 = 1.0;
/// The first window, in percent.
const FIRST_SHARE: f64 = 5.0;
/// How a window that is too wide is narrowed.
const NARROWER: f64 = 0.5;
/// How it widens at first, and how once it was too wide.
const WIDER: (f64, f64) = (2.0, 1.05);
/// The least work in a second: a copy always goes on.
pub(super) const LEAST_WORK: f64 = 262_144.0;
/// How work that is too much is lessened.
const LESS: f64 = 0.6;
/// How it grows again, as a part of what it was before it was throttled.
const MORE: f64 = 0.05;
/// Under this part of the limit there is room for more; between the two nothing changes.
const ROOM: f64 = 0.8;
/// How much the newest measure of work counts in the mean.
const NEWEST: f64 = 0.3;
/// So many judgements in a row at the least of everything, and still over the limit: it cannot be
/// met.
const HOPELESS: u32 = 10;

/// Decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Governor {
    limit: Duration,
    share: f64,
    /// It was too much once.
    warned: bool,
    /// Work a second that is let through; `None`: all.
    work: Option<f64>,
    /// Work a second as it was lately, and when it was most.
    mean: f64,
    most: f64,
    hopeless: u32,
}

impl Governor {
    /// Begins with a narrow window.
    pub(super) fn new(limit: Duration) -> Self {
        let (share, warned) = (FIRST_SHARE, false);
        Self { limit, share, warned, work: None, mean: 0.0, most: 0.0, hopeless: 0 }
    }

    /// Judges the latency of a while in which `work` passed in a second.
    pub(super) fn judge(&mut self, latency: Duration, work: f64) {
        let newest = if self.mean == 0.0 { 1.0 } else { NEWEST };
        self.mean += (work - self.mean) * newest;
        self.most = self.most.max(self.mean);
        if latency > self.limit {
            self.slower();
        } else {
            self.hopeless = 0;
            if latency < self.limit.mul_f64(ROOM) {
                self.faster();
            }
        }
    }

    fn slower(&mut self) {
        self.warned = true;
        if self.share > LEAST_SHARE {
            self.share = (self.share * NARROWER).max(LEAST_SHARE);
        } else if self.work == Some(LEAST_WORK) {
            self.hopeless = self.hopeless.saturating_add(1);
        } else {
            // A limit far above what passes would take long to be felt.
            let now = self.work.unwrap_or(f64::MAX).min(self.mean);
            self.work = Some((now * LESS).max(LEAST_WORK));
        }
    }

    fn faster(&mut self) {
        match self.work {
            Some(work) => {
                let more = work + (self.most * MORE).max(LEAST_WORK * MORE);
                self.work = (more < self.most).then_some(more);
            }
            None => {
                let factor = if self.warned { WIDER.1 } else { WIDER.0 };
                self.share = (self.share * factor).min(100.0);
            }
        }
    }

    /// How much of a full window a connection may use, in percent.
    pub(super) fn share(&self) -> u8 {
        self.share as u8
    }

    /// Work that may pass in a second.
    pub(super) fn work(&self) -> Option<u64> {
        self.work.map(|work| work as u64)
    }

    /// Whether it was too much, and something is held back since.
    pub(super) fn throttles(&self) -> bool {
        self.warned && (self.share < 100.0 || self.work.is_some())
    }

    /// Whether the limit cannot be met, not even by the least of everything.
    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless >= HOPELESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(5);
    const FULL: f64 = 100e6;

    #[test]
    fn a_queue_at_the_source_is_mended_by_windows_alone() {
        // The latency is what waits in the windows; the speed stays.
        let mut governor = Governor::new(LIMIT);
        for _ in 0..500 {
            let latency = Duration::from_micros(300 * u64::from(governor.share()));
            governor.judge(latency, FULL);
        }
        assert_eq!(governor.work(), None);
        assert!((8..=17).contains(&governor.share()), "{}", governor.share());
        assert!(governor.throttles() && !governor.is_hopeless());
    }

    #[test]
    fn a_source_that_is_quick_is_soon_used_fully() {
        let mut governor = Governor::new(LIMIT);
        assert_eq!(governor.share(), 5);
        (0..5).for_each(|_| governor.judge(LIMIT / 10, FULL));
        assert_eq!((governor.share(), governor.work()), (100, None));
        assert!(!governor.throttles());
    }

    #[test]
    fn where_windows_do_not_help_the_work_becomes_less_and_stays_near_the_best() {
        // The latency follows the work alone and meets the limit at 40 % of it.
        let mut governor = Governor::new(LIMIT);
        let (mut sum, mut over) = (0.0, 0);
        for round in 0..1_000 {
            let work = governor.work().map_or(FULL, |work| (work as f64).min(FULL));
            let latency = LIMIT.mul_f64(work / (FULL * 0.4));
            governor.judge(latency, work);
            if round >= 100 {
                sum += work / (FULL * 0.4);
                over += u32::from(latency > LIMIT);
            }
        }
        let mean = sum / 900.0;
        assert!((0.7..1.0).contains(&mean), "{mean}");
        assert!(over < 90, "{over} of 900 over the limit");
    }

    #[test]
    fn all_comes_back_when_the_source_is_quick_again() {
        let mut governor = Governor::new(LIMIT);
        (0..50).for_each(|_| governor.judge(LIMIT * 2, FULL));
        assert_eq!((governor.share(), governor.work()), (1, Some(LEAST_WORK as u64)));
        assert!(governor.is_hopeless());
        governor.judge(LIMIT / 10, LEAST_WORK);
        assert!(!governor.is_hopeless());
        (0..200).for_each(|_| governor.judge(LIMIT / 10, FULL));
        assert_eq!((governor.share(), governor.work()), (100, None));
        assert!(!governor.throttles());
    }

    #[test]
    fn a_copy_that_moves_nothing_is_not_stopped_for_good() {
        let mut governor = Governor::new(LIMIT);
        (0..100).for_each(|_| governor.judge(LIMIT * 2, 0.0));
        assert_eq!(governor.work(), Some(LEAST_WORK as u64));
        (0..200).for_each(|_| governor.judge(Duration::ZERO, 0.0));
        assert!(!governor.throttles());
    }
}
