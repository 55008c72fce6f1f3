//! SCAN may name a key twice when its table shrinks; where a second copy would be counted wrongly
//! (`skip`, `fail`, `--delete-source`), the second naming is dropped.
//!
//! Buckets that a shrink merges are neighbours in SCAN's order, so only the recent past can repeat
//! itself; the memory is bounded to two generations.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Keys in one generation: two of them are 4 MiB, and many times what one SCAN call answers.
const GENERATION: usize = 64 << 10;

/// The keys named lately, as two independent hashes each: a false "seen" would lose a key, at 128
/// bits it does not happen.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hashers: (RandomState, RandomState),
    young: HashSet<(u64, u64)>,
    old: HashSet<(u64, u64)>,
}

impl Recent {
    /// Notes a key; `false` if it was named lately.
    pub(super) fn is_new(&mut self, key: &[u8]) -> bool {
        let mark = (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key));
        if self.old.contains(&mark) || !self.young.insert(mark) {
            return false;
        }
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_past_is_remembered_and_bounded() {
        let mut recent = Recent::default();
        for round in 0..3 * GENERATION {
            assert!(recent.is_new(&round.to_le_bytes()));
            assert!(!recent.is_new(&round.saturating_sub(GENERATION - 1).to_le_bytes()));
        }
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
    }
}
