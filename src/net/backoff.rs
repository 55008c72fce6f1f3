//! Delays between tries of something that passes by itself.

use std::time::Duration;

/// The first delay: a busy script or a failover rarely ends sooner.
const FIRST: Duration = Duration::from_millis(50);
/// The longest delay: an operator who mended the cause should not wait for us.
const LONGEST: Duration = Duration::from_secs(2);

/// Doubling delays, each shortened at random by up to a half so that lanes do not march in step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        self.tries += 1;
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// How often it was asked for.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound() {
        let mut backoff = Backoff::default();
        for _ in 0..64 {
            let delay = backoff.next_delay();
            assert!(delay >= FIRST / 2 && delay <= LONGEST, "{delay:?}");
        }
        assert!(backoff.next_delay() >= LONGEST / 2);
    }
}
