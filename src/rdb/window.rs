//! A window that moves over a file: 64 KiB of it are in memory, and the checksum goes along.

use std::io::{ErrorKind, Read};

use super::RdbError;
use crate::payload::{Input, PayloadError, add_to_checksum};

/// What is in memory of a file at a time, in bytes: enough that a read is worth its system call.
const WINDOW: usize = 64 << 10;

/// A part of a file that is read front to back.
pub(super) struct Window<R> {
    from: R,
    bytes: Box<[u8]>,
    /// What has come and is not yet passed over.
    start: usize,
    end: usize,
    /// Where in the file `start` is.
    position: u64,
    /// Bytes of the part from `start` on.
    left: u64,
    /// Of everything before `summed`, if it is made.
    checksum: Option<u64>,
    summed: usize,
    /// What is read is kept here while somebody wants it, up to that many bytes.
    kept: Option<(Vec<u8>, usize)>,
}

impl<R: Read> Window<R> {
    /// The `length` bytes from `position` on, which is where `from` stands.
    pub(super) fn new(from: R, position: u64, length: u64, summing: bool) -> Self {
        Self {
            from,
            bytes: vec![0; WINDOW].into_boxed_slice(),
            start: 0,
            end: 0,
            position,
            left: length,
            checksum: summing.then_some(0),
            summed: 0,
            kept: None,
        }
    }

    /// Where in the file the next byte is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The checksum of everything that was passed over, if it is made.
    pub(super) fn checksum(&mut self) -> Option<u64> {
        self.sum_up(self.start);
        self.checksum
    }

    /// Keeps what is read from here on, behind `first`, as long as it is at most `most` bytes.
    pub(super) fn keep(&mut self, first: u8, most: usize) {
        self.kept = (most > 0).then(|| (vec![first], most));
    }

    /// What was kept; `None`: it was more than was wanted.
    pub(super) fn kept(&mut self) -> Option<Vec<u8>> {
        self.kept.take().map(|(bytes, _)| bytes)
    }

    fn sum_up(&mut self, until: usize) {
        if let Some(checksum) = &mut self.checksum {
            let passed = self.bytes.get(self.summed..until).unwrap_or_default();
            *checksum = add_to_checksum(*checksum, passed);
        }
        self.summed = until;
    }

    /// Some bytes of those that come next, at most so many.
    fn some(&mut self, most: u64, what: &'static str) -> Result<&[u8], RdbError> {
        if most > self.left {
            return Err(PayloadError::Truncated(what).into());
        }
        if self.start == self.end {
            self.sum_up(self.end);
            (self.start, self.end, self.summed) = (0, 0, 0);
            let room = usize::try_from(self.left).unwrap_or(WINDOW).min(WINDOW);
            let room = self.bytes.get_mut(..room).unwrap_or_default();
            self.end = loop {
                match self.from.read(room) {
                    Ok(0) => return Err(PayloadError::Truncated(what).into()),
                    Ok(read) => break read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            };
        }
        let count = usize::try_from(most).unwrap_or(WINDOW).min(self.end - self.start);
        let taken = self.start..self.start + count;
        self.start += count;
        self.position += count as u64;
        self.left -= count as u64;
        let taken = self.bytes.get(taken).unwrap_or_default();
        if let Some((kept, most)) = &mut self.kept {
            if kept.len() + count > *most {
                self.kept = None;
            } else {
                kept.extend_from_slice(taken);
            }
        }
        Ok(taken)
    }
}

impl<R: Read> Input for Window<R> {
    type Error = RdbError;

    fn left(&self) -> u64 {
        self.left
    }

    fn fill(&mut self, mut room: &mut [u8], what: &'static str) -> Result<(), RdbError> {
        while !room.is_empty() {
            let some = self.some(room.len() as u64, what)?;
            let (filled, rest) = room.split_at_mut(some.len());
            filled.copy_from_slice(some);
            room = rest;
        }
        Ok(())
    }

    fn pass(&mut self, mut count: u64, what: &'static str) -> Result<(), RdbError> {
        while count > 0 {
            count -= self.some(count, what)?.len() as u64;
        }
        Ok(())
    }
}
