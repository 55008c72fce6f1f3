//! Random numbers that are the same in every run, unless a seed is given.

/// The seed of a run: `PROPERTIES_SEED=N cargo test --test properties` tries another one.
pub(crate) fn seed() -> u64 {
    std::env::var("PROPERTIES_SEED").map_or(1, |text| {
        text.parse().unwrap_or_else(|_| panic!("PROPERTIES_SEED={text} is no number"))
    })
}

/// SplitMix64: a few instructions for each number, and every seed is a good one.
pub(crate) struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let below = self.number() % end as u64;
        // It is smaller than a usize.
        below as usize
    }

    /// One of the choices.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Appends that many random bytes.
    pub(crate) fn bytes(&mut self, count: usize, into: &mut Vec<u8>) {
        let end = into.len() + count;
        while into.len() < end {
            let left = end - into.len();
            into.extend_from_slice(&self.number().to_le_bytes()[..left.min(8)]);
        }
    }
}
