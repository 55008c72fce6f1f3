//! Which keys of a database kept the target's own value: skipped, merged or failed ones. Only hashes of
//! their names are held.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

/// Names that are remembered: some 5 MiB. Where there are more, it is not known whose value a key has.
const MOST: usize = 1 << 18;

/// The remembered names.
#[derive(Debug, Default)]
pub(super) struct OwnNames {
    hashes: HashSet<u64>,
    hasher: RandomState,
    /// All of them, with those that are too many.
    count: u64,
}

impl OwnNames {
    pub(super) fn add(&mut self, name: &[u8]) {
        self.count += 1;
        if self.hashes.len() < MOST {
            self.hashes.insert(self.hasher.hash_one(name));
        }
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.hashes.contains(&self.hasher.hash_one(name))
    }

    /// How many there were, if all of them are known.
    pub(super) fn known(&self) -> Option<u64> {
        (self.count == self.hashes.len() as u64).then_some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_remembered_is_not_called_known() {
        let mut own = OwnNames::default();
        own.add(b"a");
        assert!(own.has(b"a") && !own.has(b"b"));
        assert_eq!(own.known(), Some(1));
        (0..MOST).for_each(|number| own.add(&number.to_le_bytes()));
        assert_eq!(own.known(), None);
    }
}
