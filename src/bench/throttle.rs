//! Whether `--max-rate` and `--max-keys-rate` hold: a copy is told a part of what it can do, and what
//! it reached is compared with that.

use serde::Serialize;

use super::outcome::Measured;

/// The rate that is asked for, as a share of what the copy reaches by itself: far enough below that
/// nothing else holds the copy back.
const SHARE: f64 = 0.4;
/// No shorter than this, in seconds: what a throttle saves up or owes at the ends, a tenth of a second
/// of it, has to weigh little.
const SHORTEST: f64 = 3.0;

/// What is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttle {
    /// Payload bytes a second.
    Bytes,
    /// Keys a second.
    Keys,
}

/// What a copy moved, and in which time, by its own report: the process's start does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// Payload bytes.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// From the first connection to the end.
    pub seconds: f64,
}

/// How a copy kept to the rate it was told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Held {
    /// What was asked for, in bytes or keys a second.
    pub asked: u64,
    /// What was reached.
    pub reached: f64,
}

impl Held {
    /// What was reached, as a share of what was asked for.
    pub fn share(&self) -> f64 {
        self.reached / self.asked.max(1) as f64
    }
}

impl Throttle {
    /// The option of the copy.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Bytes => "--max-rate",
            Self::Keys => "--max-keys-rate",
        }
    }

    /// The rate to ask for, where a copy without any reached `free`.
    pub(super) fn rate(self, free: &Moved) -> u64 {
        let longest = (free.seconds / SHARE).max(SHORTEST);
        ((self.of(free) as f64 / longest) as u64).max(1)
    }

    /// How it kept to `asked`.
    pub(super) fn held(self, asked: u64, moved: &Moved) -> Held {
        Held { asked, reached: self.of(moved) as f64 / moved.seconds.max(f64::MIN_POSITIVE) }
    }

    fn of(self, moved: &Moved) -> u64 {
        match self {
            Self::Bytes => moved.bytes,
            Self::Keys => moved.keys,
        }
    }
}

/// The lowest and the highest share that any run reached: "holds" says it of all of them.
pub(super) fn range(runs: &[Measured]) -> Option<(f64, f64)> {
    let shares = || runs.iter().filter_map(|run| Some(run.throttle?.share()));
    Some((shares().reduce(f64::min)?, shares().reduce(f64::max)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_part_of_what_is_possible_and_takes_its_time() {
        let slow = Moved { bytes: 1_000_000_000, keys: 1_000_000, seconds: 4.0 };
        assert_eq!(Throttle::Bytes.rate(&slow), 100_000_000);
        assert_eq!(Throttle::Keys.rate(&slow), 100_000);
        let quick = Moved { bytes: 3_000, keys: 30, seconds: 0.1 };
        assert_eq!((Throttle::Bytes.rate(&quick), Throttle::Keys.rate(&quick)), (1_000, 10));
        assert_eq!(Throttle::Keys.rate(&Moved::default()), 1);
    }

    #[test]
    fn the_worst_run_counts() {
        let run = |seconds| {
            let moved = Moved { bytes: 300, keys: 3, seconds };
            let throttle = Some(Throttle::Bytes.held(100, &moved));
            Measured { throttle, ..Measured::default() }
        };
        assert_eq!(range(&[run(3.0), run(2.0), run(4.0)]), Some((0.75, 1.5)));
        assert_eq!(range(&[Measured::default()]), None);
    }
}
