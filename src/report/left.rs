//! What a run that is given up leaves of a database: which keys have no end, and how far names came.
//!
//! Kept only where `--failures` wants every key named, so that it can be said at the end which of them
//! really differ.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes of names that are kept of the keys given up of one database; keys beyond that count
/// as failed at once. What is on its way in a run is bounded by `--memory`, and is far less. The names
/// that nobody asked for are those of a page of SCAN and of the queue behind it.
const MOST_BYTES: usize = 4 << 20;

/// What is left of a database.
#[derive(Debug, Default)]
pub struct Left {
    /// Keys that were taken up, and are counted as scanned, but have no answer; and why.
    pub given_up: Vec<(Vec<u8>, Arc<str>)>,
    /// Names that nobody has asked the source for.
    pub unread: Vec<Vec<u8>>,
    /// What was not named yet.
    pub ahead: Ahead,
    bytes: usize,
}

/// Where the names of keys go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ahead {
    /// None was named yet.
    #[default]
    All,
    /// At this cursor of the scan.
    Cursor(Vec<u8>),
    /// After so many letters of a file of dead letters.
    Letters(u64),
    /// There are no more.
    Nothing,
}

/// The same, shared by the tasks of a database.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Left>);

impl Shared {
    /// Nothing is left of what was before; names go on from there.
    pub(super) fn begin(&self, ahead: Ahead) {
        *self.held() = Left { ahead, ..Left::default() };
    }

    /// Takes a key up that is given up; `false`: there is no room for it.
    pub(super) fn give_up(&self, name: &[u8], why: &str) -> bool {
        let mut left = self.held();
        let bytes = left.bytes + name.len();
        if bytes > MOST_BYTES {
            return false;
        }
        left.bytes = bytes;
        // A connection that is lost gives many keys up for one reason.
        let why = match left.given_up.last() {
            Some((_, last)) if **last == *why => last.clone(),
            _ => why.into(),
        };
        left.given_up.push((name.to_vec(), why));
        true
    }

    /// Takes up a name that nobody has asked for.
    pub(super) fn leave(&self, name: &[u8]) {
        self.held().unread.push(name.to_vec());
    }

    /// Names go on from there.
    pub(super) fn reach(&self, ahead: Ahead) {
        self.held().ahead = ahead;
    }

    pub(super) fn take(&self) -> Left {
        std::mem::take(&mut self.held())
    }

    fn held(&self) -> MutexGuard<'_, Left> {
        // Names stay usable when a task that held them panicked: they are only ever added to.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_taken_once() {
        let shared = Shared::default();
        let long = vec![b'x'; MOST_BYTES / 2 + 1];
        assert!(shared.give_up(&long, "why"));
        assert!(!shared.give_up(&long, "why"));
        shared.leave(b"unread");
        shared.reach(Ahead::Cursor(b"7".to_vec()));
        let left = shared.take();
        assert_eq!((left.given_up.len(), left.unread.len()), (1, 1));
        assert_eq!(left.ahead, Ahead::Cursor(b"7".to_vec()));
        assert_eq!(shared.take().ahead, Ahead::All);
        assert!(shared.give_up(&long, "why"));
        shared.begin(Ahead::Nothing);
        assert!(shared.take().given_up.is_empty());
    }
}
