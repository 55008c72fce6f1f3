//! What goes out: command templates laid together from constants and wire spans.
//!
//! Small pieces are copied into one growing buffer, pieces of [`Output::chain_from`] bytes or more
//! are chained as they are and leave in the same vectored write. [`Output`] is a [`Buf`], so
//! `poll_write_buf` and `write_all_buf` send it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Copying is cheaper than an iovec of its own below this, in bytes (see `benches/encode.rs`).
pub const CHAIN_FROM: usize = 16 << 10;

/// Commands on their way to a server.
#[derive(Debug)]
pub struct Output {
    /// Whole pieces that leave before `tail`.
    chain: VecDeque<Bytes>,
    chained: usize,
    /// The piece that still grows.
    tail: BytesMut,
    chain_from: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self::new(CHAIN_FROM)
    }
}

impl Output {
    /// Copies pieces below `chain_from` bytes and chains the others; `usize::MAX` copies all (TLS
    /// copies anyhow, and likes long contiguous runs).
    pub fn new(chain_from: usize) -> Self {
        Self { chain: VecDeque::new(), chained: 0, tail: BytesMut::new(), chain_from }
    }

    /// Pieces of this many bytes or more are chained, not copied.
    pub fn chain_from(&self) -> usize {
        self.chain_from
    }

    /// Bytes that wait to be sent.
    pub fn len(&self) -> usize {
        self.chained + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes by copying them.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// Appends a range of a slab: copied if small, else chained (the slab lives until it is sent).
    pub fn lay(&mut self, slab: &Bytes, range: std::ops::Range<usize>) {
        let Some(bytes) = slab.get(range.clone()) else { return };
        if bytes.is_empty() {
            // In the chain it would look like the end: a `Buf` with bytes left shows some of them.
            return;
        }
        if bytes.len() < self.chain_from {
            return self.copy(bytes);
        }
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.chained += tail.len();
            self.chain.push_back(tail);
        }
        self.chained += bytes.len();
        self.chain.push_back(slab.slice(range));
    }

    /// Appends one bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.copy(bytes);
        self.copy(b"\r\n");
    }

    /// Appends a number as a bulk string.
    pub fn number(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// Appends one command from its arguments.
    pub fn command(&mut self, arguments: &[&[u8]]) {
        self.header(b'*', arguments.len());
        for argument in arguments {
            self.bulk(argument);
        }
    }

    /// Appends the header of a command of `arguments` arguments.
    pub fn begin(&mut self, arguments: usize) {
        self.header(b'*', arguments);
    }

    /// Appends the header of a bulk string of `length` bytes, which the caller appends, and the line
    /// end behind them.
    pub fn begin_bulk(&mut self, length: usize) {
        self.header(b'$', length);
    }

    fn header(&mut self, mark: u8, length: usize) {
        let mut digits = itoa::Buffer::new();
        self.copy(&[mark]);
        self.copy(digits.format(length).as_bytes());
        self.copy(b"\r\n");
    }
}

impl Buf for Output {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.chain.front().map_or(&self.tail, |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.chain.iter().map(|piece| &piece[..]).chain([&self.tail[..]]);
        let mut filled = 0;
        for (slot, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(front) = self.chain.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                self.chained -= sent;
                return;
            }
            sent -= front.len();
            self.chained -= front.len();
            self.chain.pop_front();
        }
        self.tail.advance(sent);
        if self.tail.is_empty() {
            // Nothing refers to the buffer any more: its whole room is free again.
            self.tail.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mut output: Output, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while output.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 3];
            let filled = output.chunks_vectored(&mut slices);
            let joined: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
            let count = step.min(joined.len());
            bytes.extend_from_slice(&joined[..count]);
            output.advance(count);
        }
        bytes
    }

    #[test]
    fn copied_and_chained_pieces_leave_in_order() {
        for step in [1, 3, 7, 100] {
            let slab = Bytes::from_static(b"0123456789abcdef");
            let mut output = Output::new(8);
            output.command(&[b"GET", b""]);
            output.lay(&slab, 0..4);
            output.lay(&slab, 4..16);
            output.lay(&slab, 0..8);
            output.number(-5);
            output.lay(&slab, 8..99);
            let expected = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n0123456789abcdef01234567$2\r\n-5\r\n";
            assert_eq!(output.len(), expected.len());
            assert_eq!(sent(output, step), expected);
        }
    }
}
