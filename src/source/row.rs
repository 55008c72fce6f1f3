//! The keys of one fetch connection: where requests are, where replies are.
//!
//! Replies come in the order of the requests, so two positions in a row of chunks are all the
//! bookkeeping there is.

use std::collections::VecDeque;

use crate::flow::{Form, Keys};
use crate::resp::Span;

/// How a key's value is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By DUMP: any type.
    Dump,
    /// By DUMP, one at a time: these were asked for before, in vain.
    Alone,
    /// By MGET: strings; other types answer nil and are dumped then.
    Value,
}

impl Way {
    /// What an answer is.
    pub(super) fn form(self) -> Form {
        match self {
            Self::Dump | Self::Alone => Form::Dump,
            Self::Value => Form::Value,
        }
    }
}

/// Keys in the order they were taken; the front is the one replies are at.
#[derive(Debug, Default)]
pub(super) struct Row {
    chunks: VecDeque<(Keys, Way)>,
    /// Place in the front chunk that the next value belongs to.
    answered: usize,
    /// Chunk, and place in it, that will be asked for next.
    requested: (usize, usize),
    /// The longest name of late, in bytes, at most: the average of a chunk.
    name_bytes: usize,
}

impl Row {
    /// Appends keys.
    pub(super) fn push(&mut self, keys: Keys, way: Way) {
        if !keys.wires.is_empty() {
            self.name_bytes = (keys.bytes() / keys.wires.len()).max(self.name_bytes / 2);
            self.chunks.push_back((keys, way));
        }
    }

    /// How many names of late come to so many bytes: one at least.
    pub(super) fn names_in(&self, bytes: usize) -> usize {
        (bytes / self.name_bytes.max(1)).max(1)
    }

    /// Whether every key was asked for.
    pub(super) fn is_all_asked(&mut self) -> bool {
        while let Some((keys, _)) = self.chunks.get(self.requested.0) {
            if self.requested.1 < keys.wires.len() {
                return false;
            }
            self.requested = (self.requested.0 + 1, 0);
        }
        true
    }

    /// Takes keys that are asked for together, from one chunk, at most `most` for its way; `None`:
    /// every key was asked for.
    pub(super) fn take(&mut self, most: impl Fn(Way) -> usize) -> Option<(Way, &Keys, &[Span])> {
        if self.is_all_asked() {
            return None;
        }
        let (chunk, place) = self.requested;
        let (keys, way) = self.chunks.get(chunk)?;
        let rest = keys.wires.get(place..)?;
        let taken = rest.get(..most(*way)).unwrap_or(rest);
        self.requested.1 += taken.len();
        Some((*way, keys, taken))
    }

    /// The key that the next value belongs to, in wire form.
    pub(super) fn awaited(&self) -> &[u8] {
        self.chunks.front().and_then(|(keys, _)| keys.wire(self.answered)).unwrap_or_default()
    }

    /// That key and those behind it in its chunk: the slab, and each in wire form.
    pub(super) fn awaited_run(&self) -> (&[u8], &[Span]) {
        let front = self.chunks.front();
        let run =
            front.and_then(|(keys, _)| Some((&keys.slab[..], keys.wires.get(self.answered..)?)));
        run.unwrap_or_default()
    }

    /// Moves on behind so many keys of one chunk, which have their values.
    pub(super) fn step(&mut self, keys: usize) {
        self.answered += keys;
        if self.chunks.front().is_some_and(|(keys, _)| self.answered == keys.wires.len()) {
            self.chunks.pop_front();
            self.answered = 0;
            self.requested = match self.requested {
                // All of the front was asked for, nothing behind it yet.
                (0, _) => (0, 0),
                (chunk, place) => (chunk - 1, place),
            };
        }
    }

    /// Takes out every key that was not asked for, or was and has no value.
    pub(super) fn take_rest(&mut self) -> Vec<Keys> {
        let mut chunks: Vec<Keys> = self.chunks.drain(..).map(|(keys, _)| keys).collect();
        if let Some(first) = chunks.first_mut() {
            first.wires.drain(..self.answered);
        }
        *self = Self::default();
        chunks
    }

    /// Goes back to the first key without a value: it will be asked for again.
    pub(super) fn rewind(&mut self) {
        self.requested = (0, self.answered);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn keys(names: &str) -> Keys {
        let slab = Bytes::copy_from_slice(names.as_bytes());
        let wires = (0..slab.len()).filter_map(|at| Span::new(at, at + 1)).collect();
        Keys { slab, wires, room: None }
    }

    fn taken(row: &mut Row, most: usize) -> String {
        let Some((way, keys, wires)) = row.take(|_| most) else { return "-".into() };
        let names = wires.iter().flat_map(|wire| wire.of(&keys.slab)).map(|&byte| byte as char);
        format!("{way:?} {}", names.collect::<String>())
    }

    #[test]
    fn requests_run_ahead_of_replies_and_go_back_to_them() {
        let mut row = Row::default();
        row.push(keys("abc"), Way::Value);
        row.push(keys("de"), Way::Dump);
        assert_eq!(taken(&mut row, 2), "Value ab");
        assert_eq!(taken(&mut row, 9), "Value c");
        assert_eq!(taken(&mut row, 1), "Dump d");
        for awaited in ["a", "b", "c"] {
            assert_eq!(row.awaited(), awaited.as_bytes());
            row.step(1);
        }
        row.rewind();
        assert_eq!(taken(&mut row, 9), "Dump de");
        assert_eq!(taken(&mut row, 9), "-");
        let (slab, run) = row.awaited_run();
        assert_eq!(run.iter().map(|wire| wire.of(slab)).collect::<Vec<_>>(), [b"d", b"e"]);
        row.step(2);
        assert!(row.awaited_run().1.is_empty());
        assert!(row.is_all_asked());
        row.push(keys("fgh"), Way::Dump);
        row.push(keys("i"), Way::Dump);
        assert_eq!(taken(&mut row, 2), "Dump fg");
        row.step(1);
        let rest: Vec<usize> = row.take_rest().iter().map(|keys| keys.wires.len()).collect();
        assert_eq!((rest, row.is_all_asked()), (vec![2, 1], true));
    }
}
