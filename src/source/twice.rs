//! Keys that an RDB file holds twice in one database: the last of them counts, as it would if the keys
//! were set one after the other.
//!
//! No server writes such a file, and none loads it. It is found by 8 bytes for each name, for a part of
//! the names at a time; what looks equal is then looked at again, by 16 bytes for each name.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

/// Names whose hashes are held at once: 32 MiB of them, before anything else takes memory.
const MOST_NAMES: usize = 4 << 20;
/// Names that may be there twice: some 20 MiB. More is not a file of keys.
pub const MOST_TWICE: usize = 256 << 10;

/// A name as two independent hashes: a false "equal" would leave a key out, at 128 bits it does not
/// happen.
type Mark = (u64, u64);

/// Looks for names that come twice, in as many readings as that takes.
#[derive(Debug, Default)]
pub struct Search {
    hashers: (RandomState, RandomState),
    /// Names were taken up by the first reading.
    names: u64,
    /// Which part of the names is looked at, of how many.
    part: (u64, u64),
    hashes: Vec<u64>,
    /// Hashes that came twice.
    suspects: Vec<u64>,
}

/// Names that are there twice, and where in the file each stands last.
#[derive(Debug, Default)]
pub struct Twice {
    hashers: (RandomState, RandomState),
    last: HashMap<Mark, u64>,
    /// Keys that a later one of their name takes the place of.
    pub replaced: u64,
}

/// What is still to be done.
pub enum Next {
    /// Another reading, of another part of the names.
    Again(Search),
    /// A reading by this, which looks closely.
    Close(Close),
    /// Nothing: no name is there twice.
    Nothing,
}

/// Looks at the names that seemed to come twice.
#[derive(Debug)]
pub struct Close {
    search: Search,
    seen: HashMap<Mark, (u32, u64)>,
}

impl Search {
    /// Takes up a key's name.
    pub fn take(&mut self, database: u32, name: &[u8]) {
        let (part, parts) = self.part;
        self.names += u64::from(part == 0);
        let hash = self.hashers.0.hash_one((database, name));
        // Before the number of names is known, so many fit.
        if (parts == 0 && self.hashes.len() < MOST_NAMES) || (parts > 0 && hash % parts == part) {
            self.hashes.push(hash);
        }
    }

    /// All names were read.
    pub fn next(mut self) -> Next {
        let all = usize::try_from(self.names).unwrap_or(usize::MAX);
        if self.part.1 == 0 && all > MOST_NAMES {
            // Parts are about equal; a little room keeps their differences.
            self.part = (0, all.div_ceil(MOST_NAMES - MOST_NAMES / 16) as u64);
            self.hashes.clear();
            self.names = 0;
            return Next::Again(self);
        }
        self.hashes.sort_unstable();
        let mut last = None;
        for &hash in &self.hashes {
            if last.replace(hash) == Some(hash) && self.suspects.last() != Some(&hash) {
                self.suspects.push(hash);
            }
        }
        self.hashes = Vec::new();
        self.part.0 += 1;
        if self.part.0 < self.part.1 {
            return Next::Again(self);
        }
        if self.suspects.is_empty() {
            return Next::Nothing;
        }
        self.suspects.sort_unstable();
        Next::Close(Close { search: self, seen: HashMap::new() })
    }
}

impl Close {
    /// Takes up a key's name, and where it stands; `false`: too many are there twice.
    pub fn take(&mut self, database: u32, name: &[u8], at: u64) -> bool {
        let hash = self.search.hashers.0.hash_one((database, name));
        if self.search.suspects.binary_search(&hash).is_ok() {
            let mark = (hash, self.search.hashers.1.hash_one((database, name)));
            let seen = self.seen.entry(mark).or_insert((0, at));
            *seen = (seen.0 + 1, at);
        }
        self.seen.len() <= MOST_TWICE
    }

    /// All names were read.
    pub fn end(self) -> Twice {
        let mut replaced = 0;
        let mut last = HashMap::new();
        for (mark, (times, at)) in self.seen {
            if times > 1 {
                replaced += u64::from(times - 1);
                last.insert(mark, at);
            }
        }
        Twice { hashers: self.search.hashers, last, replaced }
    }
}

impl Twice {
    /// Whether another key of this name stands behind the one at this place.
    pub fn is_replaced(&self, database: u32, name: &[u8], at: u64) -> bool {
        if self.last.is_empty() {
            return false;
        }
        let key = (database, name);
        let mark = (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key));
        self.last.get(&mark).is_some_and(|&last| last != at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found among these names, and after how many readings.
    fn found(names: &[(u32, String)]) -> (Twice, u32) {
        let (mut search, mut readings) = (Search::default(), 0);
        loop {
            readings += 1;
            names.iter().for_each(|(database, name)| search.take(*database, name.as_bytes()));
            match search.next() {
                Next::Again(again) => search = again,
                Next::Nothing => return (Twice::default(), readings),
                Next::Close(mut close) => {
                    for (at, (database, name)) in names.iter().enumerate() {
                        assert!(close.take(*database, name.as_bytes(), at as u64));
                    }
                    return (close.end(), readings + 1);
                }
            }
        }
    }

    #[test]
    fn the_last_of_a_name_counts_and_only_in_its_database() {
        let name = |text: &str| text.to_owned();
        let names =
            [(0, name("a")), (0, name("b")), (1, name("a")), (0, name("a")), (0, name("a"))];
        let (twice, readings) = found(&names);
        assert_eq!((twice.replaced, readings), (2, 2));
        let replaced =
            |at: usize| twice.is_replaced(names[at].0, names[at].1.as_bytes(), at as u64);
        assert_eq!([0, 1, 2, 3, 4].map(replaced), [true, false, false, true, false]);
        let (none, readings) = found(&names[..3]);
        assert_eq!((none.replaced, readings), (0, 1));
    }

    #[test]
    fn more_names_than_fit_take_more_readings() {
        let mut names: Vec<_> = (0..MOST_NAMES + 10).map(|at| (0, at.to_string())).collect();
        names.push((0, "7".to_owned()));
        let (twice, readings) = found(&names);
        assert_eq!((twice.replaced, readings), (1, 4));
        assert!(twice.is_replaced(0, b"7", 7));
    }
}
