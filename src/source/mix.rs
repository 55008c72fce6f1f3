//! How many of the keys are strings: whether asking for values first is worth it.

use super::row::Way;

/// Below this share of strings, in 1/256, asking by MGET first costs more than it saves: a nil is a
/// tenth of what a DUMP costs, a string by value saves two thirds of one.
const FEW_STRINGS: usize = 32;
/// Where strings are few, every this many chunks one is asked for by MGET, to see whether that changed.
const SAMPLE_EVERY: u32 = 16;

/// The share of strings seen lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mix {
    /// In 1/256.
    strings: usize,
    chunks: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { strings: 256, chunks: 0 }
    }
}

impl Mix {
    /// How the next chunk of keys is asked for, where values may be asked for at all.
    pub(super) fn next_way(&mut self) -> Way {
        self.chunks = self.chunks.wrapping_add(1);
        let worth_it = self.strings >= FEW_STRINGS || self.chunks.is_multiple_of(SAMPLE_EVERY);
        if worth_it { Way::Value } else { Way::Dump }
    }

    /// Learns how many of the keys of an MGET were strings.
    pub(super) fn learn(&mut self, strings: usize, keys: usize) {
        self.strings = (3 * self.strings + 256 * strings / keys.max(1)) / 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_are_rare_are_dumped_and_looked_for_now_and_then() {
        let mut mix = Mix::default();
        (0..20).for_each(|_| mix.learn(0, 64));
        let ways: Vec<Way> = (0..64).map(|_| mix.next_way()).collect();
        assert_eq!(ways.iter().filter(|&&way| way == Way::Value).count(), 4);
        (0..4).for_each(|_| mix.learn(64, 64));
        assert_eq!(mix.next_way(), Way::Value);
    }
}
