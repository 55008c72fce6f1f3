//! Streams: entries in nodes of a few kilobytes, and groups of consumers with what is pending.
//!
//! Layout: `rdbSaveObject` in Redis's `rdb.c`, `t_stream.c`. Newer types add fields, the nodes stay:
//!
//! | type | since | adds |
//! | --- | --- | --- |
//! | 15 | 5.0 | nodes, length, last id; groups with last id, pending entries, consumers |
//! | 19 | 7.0 | first id, largest deleted id, entries added; entries read by each group |
//! | 21 | 7.2 | when a consumer was active last |
//! | 26 | Redis 8.6 | what producers sent lately, so as to take it only once |

mod nodes;
mod read;
mod write;

pub(crate) use read::{skip, visit};
pub(crate) use write::write;

use std::fmt;

/// The id of a stream's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds since 1970, as a rule.
    pub ms: u64,
    /// Distinguishes entries of the same millisecond.
    pub seq: u64,
}

impl StreamId {
    /// As it stands in nodes' names and among pending entries: big endian, so that bytes sort as ids.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let [ms @ .., _, _, _, _, _, _, _, _] = bytes;
        let [_, _, _, _, _, _, _, _, seq @ ..] = bytes;
        Self { ms: u64::from_be_bytes(ms), seq: u64::from_be_bytes(seq) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.ms, self.seq)
    }
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: StreamId,
    /// Its fields and values in order; a name may stand there twice.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a stream is beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// The largest id it ever had.
    pub last_id: StreamId,
    /// Counters that servers before 7.0 do not keep.
    pub counters: Option<Counters>,
    /// The groups of consumers.
    pub groups: Vec<Group>,
    /// What producers sent lately (Redis 8.6 and later).
    pub idempotency: Option<Idempotency>,
}

/// What a stream counts since 7.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The largest id that was deleted.
    pub max_deleted: StreamId,
    /// How many entries it ever had.
    pub added: u64,
}

/// Consumers that share the reading of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Vec<u8>,
    /// The largest id that was delivered to it.
    pub last_id: StreamId,
    /// How many entries it has read; −1 where the server does not know, `None` before 7.0.
    pub entries_read: Option<i64>,
    /// Its consumers.
    pub consumers: Vec<Consumer>,
    /// What was delivered and not acknowledged, least id first.
    pub pending: Vec<Pending>,
}

/// One that reads for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Vec<u8>,
    /// When it last asked for something: milliseconds since 1970.
    pub seen: i64,
    /// When it last got something; −1 for never, `None` before 7.2.
    pub active: Option<i64>,
}

/// A delivery that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The entry, which may be deleted by now.
    pub id: StreamId,
    /// Whose it is: the place in [`Group::consumers`].
    pub consumer: usize,
    /// When it was last delivered: milliseconds since 1970.
    pub delivered: i64,
    /// How often it was delivered.
    pub count: u64,
}

/// What lets a producer send again without a duplicate (Redis 8.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Idempotency {
    /// How long an id is remembered, in seconds.
    pub duration: u64,
    /// How many ids are remembered for each producer.
    pub max_entries: u64,
    /// Those who sent.
    pub producers: Vec<Producer>,
    /// How many ids were ever taken.
    pub added: u64,
    /// How many were refused because they were known.
    pub duplicates: u64,
}

/// One who sends to a stream with ids of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    /// Its name.
    pub name: Vec<u8>,
    /// What it sent lately: its id for it, and the entry it became.
    pub sent: Vec<(Vec<u8>, StreamId)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_sorts_as_its_bytes() {
        let ids = [(0, 0), (0, 1), (1, 0), (1, u64::MAX), (u64::MAX, 0)];
        let ids = ids.map(|(ms, seq)| StreamId { ms, seq });
        assert!(ids.is_sorted());
        assert!(ids.map(StreamId::to_bytes).is_sorted());
        assert_eq!(ids.map(|id| StreamId::from_bytes(id.to_bytes())), ids);
        assert_eq!(ids[3].to_string(), "1-18446744073709551615");
    }
}
