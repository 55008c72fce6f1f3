//! What travels from source to target: entries in batches that share two slabs.

use bytes::Bytes;

use super::channel::Permit;
use super::keys::{joined, name_of};
use crate::payload::FOOTER_BYTES;
use crate::resp::{Span, Token};

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What DUMP answered: goes by RESTORE.
    Dump,
    /// The value of a string: goes by SET or MSET.
    Value,
}

impl Form {
    /// The command that reads a single key in this form.
    pub fn question(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Value => "GET",
        }
    }

    /// How many bytes at the end of what was read are the server's own: the same value has others on
    /// another server.
    pub fn tail(self) -> usize {
        match self {
            Self::Dump => FOOTER_BYTES,
            Self::Value => 0,
        }
    }

    /// What was read without that end.
    pub fn value_of(self, read: &[u8]) -> &[u8] {
        read.get(..read.len().saturating_sub(self.tail())).unwrap_or_default()
    }
}

/// One key with its payload.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The key as a bulk string in wire form, in [`Batch::keys`].
    pub key: Span,
    /// The payload as a bulk string in wire form, in [`Batch::payloads`].
    pub payload: Span,
    /// What the payload is.
    pub form: Form,
    /// The payload itself, in bytes.
    pub bytes: u32,
    /// When the key expires, in Unix milliseconds by the target's clock; 0: never.
    pub expiry: i64,
}

/// Entries that were read at once. Its permit, taken when it entered the channel, comes back when
/// the last holder drops it: after the target's ack.
#[derive(Debug, Default)]
pub struct Batch {
    /// The keys' bytes: copied, so that they do not pin what SCAN answered.
    pub keys: Vec<u8>,
    /// The payloads' bytes: a slice of the read buffer.
    pub payloads: Bytes,
    /// The entries, in the order they were read.
    pub entries: Vec<Entry>,
    /// An earlier attempt to write them may have been carried out.
    pub doubtful: bool,
    pub(super) permit: Option<Permit>,
}

impl Batch {
    /// Appends an entry whose payload, a bulk string, will lie in the slab to come.
    pub fn push(&mut self, key_wire: &[u8], payload: Token, form: Form, expiry: i64) {
        self.push_unnamed(payload, form, expiry);
        self.name_last(key_wire, &[Span::new(0, key_wire.len()).unwrap_or_default()]);
    }

    /// Likewise, an entry whose key [`Self::name_last`] tells.
    pub fn push_unnamed(&mut self, payload: Token, form: Form, expiry: i64) {
        let bytes = payload.body.end - payload.body.start;
        let key = Span::NONE;
        self.entries.push(Entry { key, payload: payload.wire, form, bytes, expiry });
    }

    /// Tells the keys of the last entries, in wire form. Those that lie together are copied at once.
    pub fn name_last(&mut self, slab: &[u8], wires: &[Span]) {
        let named = self.entries.len().saturating_sub(wires.len());
        let mut entries = self.entries.iter_mut().skip(named);
        for (piece, wires) in joined(slab, wires) {
            // Keys of a batch stay far below 4 GiB: a batch is one read buffer's worth of replies.
            let start = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            self.keys.extend_from_slice(piece);
            let mut key = Span { start, end: start };
            for (wire, entry) in wires.iter().zip(entries.by_ref()) {
                key = Span { start: key.end, end: key.end.saturating_add(wire.len() as u32) };
                entry.key = key;
            }
        }
    }

    /// The name of an entry's key.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        name_of(entry.key.of(&self.keys))
    }

    /// What it costs of a budget, in bytes.
    pub fn cost(&self) -> usize {
        self.keys.len() + self.payloads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Keys;
    use crate::resp::Kind;

    #[test]
    fn names_that_lie_together_or_apart_are_those_of_their_entries() {
        let wire = Span { start: 0, end: 1 };
        let payload = Token { kind: Kind::Bulk, wire, body: wire, number: 0 };
        let all = Keys::copied(["$1\r\na\r\n", "$2\r\nbb\r\n", "$1\r\nc\r\n", "$0\r\n\r\n"].iter());
        let mut some = all.clone();
        some.wires.remove(1);
        let mut batch = Batch::default();
        batch.push(b"$1\r\nz\r\n", payload, Form::Dump, 0);
        for keys in [&all, &some] {
            keys.wires.iter().for_each(|_| batch.push_unnamed(payload, Form::Value, 0));
            batch.name_last(&keys.slab, &keys.wires);
        }
        let names: Vec<&[u8]> = batch.entries.iter().map(|entry| batch.name(entry)).collect();
        assert_eq!(names, [&b"z"[..], b"a", b"bb", b"c", b"", b"a", b"c", b""]);
    }
}
