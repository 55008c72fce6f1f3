//! Keys that only the source holds when both sides are compared, kept aside for who copies them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Keys that are kept aside, and the bytes of their names: what is beyond is told as missing.
const MOST: (usize, usize) = (32 << 10, 4 << 20);

/// Missing keys, in wire form, by source and target database.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    keys: BTreeMap<(u32, u32), Vec<Vec<u8>>>,
    sizes: (usize, usize),
}

impl Late {
    /// Keeps a key; `false`: there are too many.
    pub fn hold(&self, place: (u32, u32), key: &[u8]) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (keys, bytes) = (held.sizes.0 + 1, held.sizes.1 + key.len());
        if keys > MOST.0 || bytes > MOST.1 {
            return false;
        }
        held.sizes = (keys, bytes);
        held.keys.entry(place).or_default().push(key.to_vec());
        true
    }

    /// All of them, which are not held any more.
    pub fn take(&self) -> BTreeMap<(u32, u32), Vec<Vec<u8>>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *held).keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_no_more() {
        let late = Late::default();
        assert!((0..MOST.0).all(|_| late.hold((0, 1), b"k")));
        assert!(!late.hold((0, 1), b"k"));
        assert_eq!(late.take()[&(0, 1)].len(), MOST.0);
        assert!(late.take().is_empty() && late.hold((0, 1), b"k"));
    }
}
