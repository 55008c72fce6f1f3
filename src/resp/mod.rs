//! The wire: RESP2 replies decoded in place, commands encoded from templates.
//!
//! Pure: no I/O, no clock, no task. The decoder hands out *spans* of the read buffer, so a bulk
//! string of a reply can be laid into a command without being taken apart (its bytes are the same
//! in both). Whatever a peer can make grow is bounded by [`Limits`]; peer bytes never panic.

pub mod decode;
pub mod encode;
mod header;
pub mod value;

pub use decode::{Decoder, Reply};
pub use encode::Output;
pub use value::Value;

/// What one node of a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `+OK`
    Simple,
    /// `-ERR …`
    Error,
    /// `:5`
    Integer,
    /// `$5 …`
    Bulk,
    /// `$-1` or `*-1`
    Null,
    /// `*3 …`
    Array,
}

/// A range of bytes in the buffer that was decoded. 32 bits: [`Limits::reply`] keeps it below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// No bytes.
    pub const NONE: Self = Self { start: 0, end: 0 };

    /// The span between two offsets; `None` past 4 GiB.
    pub fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }

    /// How many bytes it holds.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The bytes of `buffer` it stands for; empty if the buffer is another one and too short.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.range()).unwrap_or_default()
    }

    /// As a range of offsets.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One node of a reply, in wire order: an array comes before its elements.
#[derive(Clone, Copy, Debug)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Header, body and line ends: what a command can reuse. Of an array: its header only.
    pub wire: Span,
    /// The text of a simple string or error, the content of a bulk string; else empty.
    pub body: Span,
    /// The value of an integer, the length of an array; else 0.
    pub number: i64,
}

/// What a peer may send at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nesting of arrays. Redis' own deepest replies (XINFO, COMMAND DOCS) stay below 10.
    pub depth: usize,
    /// A simple string or an error, in bytes. Servers cut theirs at a few hundred.
    pub line: usize,
    /// One bulk string, in bytes. 512 MiB is the servers' `proto-max-bulk-len`; a DUMP of a value of
    /// that size is a little longer.
    pub bulk: usize,
    /// One whole reply, in bytes.
    pub reply: usize,
    /// Nodes in one reply: 4 Mi tokens of 32 bytes are 128 MiB.
    pub tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 32,
            line: 64 << 10,
            bulk: (512 << 20) + (1 << 20),
            reply: 2 << 30,
            tokens: 4 << 20,
        }
    }
}

/// The peer's bytes are no RESP2, or go past a limit. The text says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtocolError(pub String);
