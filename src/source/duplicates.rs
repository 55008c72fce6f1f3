//! SCAN may name a key twice when its table shrinks; the second naming is dropped where it would be taken
//! for another client's key on the target, or be counted wrongly.
//!
//! Buckets that a shrink merges are neighbours in SCAN's order, so only the recent past can repeat
//! itself: the memory is bounded, and older names make room for newer ones.

/// Names in one set of the memory.
const WAYS: usize = 4;
/// Names that are remembered, as a multiple of COUNT: what a shrink repeats lies within a page or two.
const PAGES: usize = 10;
/// The fewest sets: 128 KiB.
const LEAST_SETS: usize = 4 << 10;

/// The keys named lately, as a keyed hash each: a false "seen" would lose a key. Two names have the same 64
/// bits once in 10^19, and nobody can choose them so without the seeds.
#[derive(Debug)]
pub(super) struct Recent {
    seeds: [u64; 2],
    /// The latest of each set first; 0: none yet.
    sets: Vec<[u64; WAYS]>,
}

impl Recent {
    /// A memory for pages of at most so many names.
    pub(super) fn for_pages(largest_count: u32) -> Self {
        let sets = largest_count as usize * PAGES / WAYS;
        let sets = sets.next_power_of_two().max(LEAST_SETS);
        Self { seeds: [fastrand::u64(..), fastrand::u64(..) | 1], sets: vec![[0; WAYS]; sets] }
    }

    /// Notes a key; `false` if it was named lately.
    pub(super) fn is_new(&mut self, key: &[u8]) -> bool {
        let mark = self.mark(key).max(1);
        // The set by other bits than those that are mixed least.
        let place = (mark >> 32) as usize & (self.sets.len() - 1);
        let Some(set) = self.sets.get_mut(place) else { return true };
        let [latest, second, third, oldest] = *set;
        if (latest == mark) | (second == mark) | (third == mark) | (oldest == mark) {
            return false;
        }
        *set = [mark, latest, second, third];
        true
    }

    /// Folded multiplications, eight bytes at a time; the last eight may be in part the ones before.
    fn mark(&self, key: &[u8]) -> u64 {
        let [mut state, factor] = self.seeds;
        let last = key.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut short = [0; 8];
            short.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
            short
        });
        for word in key.as_chunks::<8>().0 {
            state = folded(state ^ u64::from_le_bytes(*word), factor);
        }
        state = folded(state ^ u64::from_le_bytes(last), factor);
        folded(state ^ key.len() as u64, factor)
    }
}

fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recent_past_is_remembered() {
        let mut recent = Recent::for_pages(12_000);
        // As many as two of the largest pages, apart by one.
        for round in 0..200_000_u64 {
            assert!(recent.is_new(format!("key:{round}").as_bytes()));
            if let Some(before) = round.checked_sub(500) {
                assert!(!recent.is_new(format!("key:{before}").as_bytes()));
            }
        }
    }

    #[test]
    fn names_that_are_much_alike_are_told_apart() {
        let mut recent = Recent::for_pages(1);
        for length in 0..64 {
            assert!(recent.is_new(&vec![0; length]), "{length} zeroes");
        }
        for bit in 0..64_u64 {
            assert!(recent.is_new(&(1_u64 << bit).to_le_bytes()), "bit {bit}");
        }
    }
}
