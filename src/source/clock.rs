//! When a key expires, told in the target's time.

use crate::command::keyspace::ExpiryCommand;

/// Between two looks at the source's clock around some expiries no more milliseconds may have passed,
/// or they are asked for again: the source may have served somebody else for long in between.
pub const CLOCKS_APART_MS: i64 = 20;

/// Turns what a server says of an expiry into Unix milliseconds by the target's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryClock {
    /// How the server is asked.
    pub command: ExpiryCommand,
    /// How far the target's clock is ahead of the server's, in milliseconds; 0 where they agree, so
    /// that an expiry stays the same number.
    pub ahead_ms: i64,
    /// Whether the user may ask several things in one transaction.
    pub together: bool,
}

/// What a server answered about an expiry. An answer that is not certain never becomes one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The key is gone (-2).
    Gone,
    /// Unix milliseconds by the target's clock; 0: never (-1).
    At(i64),
}

impl ExpiryClock {
    /// Reads an answer; `now_ms` is the server's clock when it was given (only for
    /// [`ExpiryCommand::Remaining`]).
    pub fn read(self, answer: i64, now_ms: i64) -> Told {
        match answer {
            -1 => Told::At(0),
            // 0 remaining means "under a millisecond", never "for ever"; the past is as good.
            0.. => {
                let by_server = match self.command {
                    ExpiryCommand::Absolute => answer,
                    ExpiryCommand::Remaining => now_ms.saturating_add(answer),
                };
                Told::At(by_server.saturating_add(self.ahead_ms).max(1))
            }
            _ => Told::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_a_millisecond_is_never_for_ever() {
        let clock = |command, ahead_ms| ExpiryClock { command, ahead_ms, together: true };
        let remaining = clock(ExpiryCommand::Remaining, 0);
        assert_eq!(remaining.read(0, 5_000), Told::At(5_000));
        assert_eq!(remaining.read(-1, 5_000), Told::At(0));
        assert_eq!(remaining.read(-2, 5_000), Told::Gone);
        assert_eq!(remaining.read(-3, 5_000), Told::Gone, "no server says so");
        let absolute = clock(ExpiryCommand::Absolute, -10);
        assert_eq!(absolute.read(5_000, 0), Told::At(4_990));
        assert_eq!(absolute.read(3, 0), Told::At(1));
        assert_eq!(absolute.read(i64::MAX, 0), Told::At(i64::MAX - 10));
    }
}
