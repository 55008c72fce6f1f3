//! A SCAN that never ends, of keys or of the members of one: its cursors come back in a circle, and its
//! pages name the same each time.
//!
//! Servers' cursors only go on, whatever becomes of their tables in the meantime. Other servers may use
//! one cursor again and get on all the same, so a circle counts only if each round names exactly what
//! the round before did. (Brent's algorithm: one cursor is remembered, a later one each time that twice
//! as many have passed.)

use std::hash::{BuildHasher as _, RandomState};

use crate::error::{Error, Kind};
use crate::net::Connection;

/// So many equal rounds are a circle: whoever writes cannot make them, round by round the same.
const ROUNDS: u32 = 2;
/// Likewise where the rounds name no keys, as a server may answer some empty pages in a row.
const EMPTY_ROUNDS: u32 = 10_000;

/// Watches the pages of one scan.
#[derive(Debug, Default)]
pub(crate) struct Circles {
    hasher: RandomState,
    /// A cursor from before, and how many pages came since.
    mark: Vec<u8>,
    pages: u64,
    /// The mark moves after so many pages.
    most: u64,
    /// What was named since, once the mark came back: the sum of the names' hashes, and their number.
    named: Option<(u64, u64)>,
    /// What the last round named, and how many there were of it.
    round: Option<(u64, u64)>,
    rounds: u32,
}

impl Circles {
    /// Takes up a name of the page at hand.
    pub(crate) fn name(&mut self, name: &[u8]) {
        if let Some(named) = &mut self.named {
            named.0 = named.0.wrapping_add(self.hasher.hash_one(name));
            named.1 += 1;
        }
    }

    /// Ends a page; `true`: the scan goes round in a circle.
    pub(crate) fn close(&mut self, next: &[u8]) -> bool {
        self.pages += 1;
        if next == self.mark {
            self.pages = 0;
            let Some(named) = self.named.replace((0, 0)) else { return false };
            let same = self.round.replace(named) == Some(named);
            self.rounds = if same { self.rounds + 1 } else { 0 };
            return self.rounds >= if named.1 > 0 { ROUNDS } else { EMPTY_ROUNDS };
        }
        if self.pages > self.most {
            self.most = 2 * self.most + 1;
            self.mark = next.to_vec();
            (self.pages, self.named, self.round, self.rounds) = (0, None, None, 0);
        }
        false
    }
}

/// What is said of a scan that goes round in a circle.
pub(crate) fn endless(connection: &Connection, command: &[u8]) -> Error {
    let command = String::from_utf8_lossy(command);
    let text =
        format!("{command} never ends: the same cursors and the same names come again and again");
    let error = connection.place(Error::new(Kind::Server, text));
    error.advise(format!(
        "see whether a proxy in front of it answers {command}, and connect to the server itself"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many pages a scan is called endless that names these keys under these cursors.
    fn ends(page: impl Fn(u64) -> (u64, Vec<String>), pages: u64) -> Option<u64> {
        let mut circles = Circles::default();
        (0..pages).find(|&number| {
            let (cursor, names) = page(number);
            names.iter().for_each(|name| circles.name(name.as_bytes()));
            circles.close(cursor.to_string().as_bytes())
        })
    }

    #[test]
    fn a_circle_is_found_wherever_it_begins() {
        for (before, length) in [(0, 1), (0, 7), (5, 1), (1_000, 3), (100, 513)] {
            let page = |number: u64| {
                let cursor = if number < before { number } else { before + number % length };
                (cursor + 1, vec![format!("key {cursor}")])
            };
            let found = ends(page, 1_000_000);
            assert!(found.is_some_and(|pages| pages < 20 * (before + length)), "{found:?}");
        }
        assert!(ends(|_| (1, Vec::new()), 1_000_000).is_some(), "no keys at all");
    }

    #[test]
    fn what_gets_on_is_no_circle() {
        assert_eq!(ends(|number| (number + 1, vec!["the same".to_owned()]), 100_000), None);
        // A server with one cursor for all, and one with two.
        assert_eq!(ends(|number| (1, vec![number.to_string()]), 100_000), None);
        assert_eq!(ends(|number| (1 + number % 2, vec![number.to_string()]), 100_000), None);
        let empty = |number: u64| match number % 100 {
            0 => (1, vec![number.to_string()]),
            _ => (1, Vec::new()),
        };
        assert_eq!(ends(empty, 100_000), None);
    }
}
