//! When a key expires, told in the target's time.

use crate::command::keyspace::ExpiryCommand;

/// Between two looks at the source's clock around some expiries no more milliseconds may have passed,
/// or they are asked for again: the source may have served somebody else for long in between.
pub const CLOCKS_APART_MS: i64 = 20;

/// Turns what the source says of an expiry into Unix milliseconds by the target's clock.
#[derive(Clone, Copy, Debug)]
pub struct ExpiryClock {
    /// How the source is asked.
    pub command: ExpiryCommand,
    /// How far the target's clock is ahead of the source's, in milliseconds; 0 where they agree, so
    /// that an expiry stays the same number.
    pub ahead_ms: i64,
}

/// What a source answered about an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The key is gone (-2).
    Gone,
    /// The source did not tell; without its expiry a key could become immortal.
    Unknown,
    /// Unix milliseconds by the target's clock; 0: never (-1).
    At(i64),
}

impl ExpiryClock {
    /// The expiry that an answer tells, by the target's clock; `None`: the key is gone, or lasts.
    pub fn expiry(self, answer: i64, now_ms: i64) -> Option<i64> {
        match self.read(answer, now_ms) {
            Expiry::At(at) if at > 0 => Some(at),
            _ => None,
        }
    }

    /// Reads an answer; `now_ms` is the source's clock when it was given (only for
    /// [`ExpiryCommand::Remaining`]).
    pub(super) fn read(self, answer: i64, now_ms: i64) -> Expiry {
        match answer {
            -2 => Expiry::Gone,
            // 0 remaining means "under a millisecond", never "for ever"; the past is as good.
            0.. => {
                let by_source = match self.command {
                    ExpiryCommand::Absolute => answer,
                    ExpiryCommand::Remaining => now_ms.saturating_add(answer),
                };
                Expiry::At(by_source.saturating_add(self.ahead_ms).max(1))
            }
            _ => Expiry::At(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_a_millisecond_is_never_for_ever() {
        let remaining = ExpiryClock { command: ExpiryCommand::Remaining, ahead_ms: 0 };
        assert_eq!(remaining.read(0, 5_000), Expiry::At(5_000));
        assert_eq!(remaining.read(-1, 5_000), Expiry::At(0));
        assert_eq!(remaining.read(-2, 5_000), Expiry::Gone);
        let absolute = ExpiryClock { command: ExpiryCommand::Absolute, ahead_ms: -10 };
        assert_eq!(absolute.read(5_000, 0), Expiry::At(4_990));
        assert_eq!(absolute.read(3, 0), Expiry::At(1));
        assert_eq!(absolute.read(i64::MAX, 0), Expiry::At(i64::MAX - 10));
    }
}
