//! Payloads of a file laid together as they would lie in a read buffer, for an ordinary lane.

use crate::flow::{Batch, Form, wire_of};
use crate::payload::{FOOTER_BYTES, footer};
use crate::rdb::{Key, Version};
use crate::resp::{self, Span, Token};

/// What is sent together: enough to be worth a write, few enough that several lanes share it.
pub(super) const BATCH_BYTES: usize = 64 << 10;
/// Keys that are sent together.
pub(super) const BATCH_KEYS: usize = 128;

/// What is laid together until it is sent.
#[derive(Default)]
pub(super) struct Laid {
    pub(super) batch: Batch,
    pub(super) payloads: Vec<u8>,
}

impl Laid {
    /// Whether it is enough to be sent.
    pub(super) fn is_full(&self) -> bool {
        self.payloads.len() >= BATCH_BYTES || self.batch.entries.len() >= BATCH_KEYS
    }

    /// Lays a payload as DUMP would have answered it.
    /// Lays one key's payload behind the others.
    pub(super) fn push(&mut self, key: &Key, body: &[u8], version: Version) {
        let start = self.payloads.len();
        let length = body.len() + FOOTER_BYTES;
        self.payloads.extend_from_slice(format!("${length}\r\n").as_bytes());
        let begin = self.payloads.len();
        self.payloads.extend_from_slice(body);
        self.payloads.extend_from_slice(&footer::made(body, version.number()).to_bytes());
        let end = self.payloads.len();
        self.payloads.extend_from_slice(b"\r\n");
        // A batch is one small part of the memory that a run may take.
        let span = |from, to| Span::new(from, to).unwrap_or_default();
        let payload = Token {
            kind: resp::Kind::Bulk,
            wire: span(start, self.payloads.len()),
            body: span(begin, end),
            number: 0,
        };
        self.batch.push(&wire_of(&key.name), payload, Form::Dump, key.expiry.unwrap_or(0));
    }
}
