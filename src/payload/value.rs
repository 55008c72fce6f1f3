//! A value as what it means, apart from how a server keeps it.

use super::kind::Kind;
use super::stream::{Entry, StreamState};

/// A whole value in memory. The order of a set's members, a sorted set's members and a hash's
/// fields is that of the payload and means nothing; [`super::digest`] compares values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bytes; also bitmaps and HyperLogLogs.
    String(Vec<u8>),
    /// Items, the leftmost first.
    List(Vec<Vec<u8>>),
    /// Members.
    Set(Vec<Vec<u8>>),
    /// Members with scores; also geographical indexes.
    SortedSet(Vec<Scored>),
    /// Fields with values.
    Hash(Vec<Field>),
    /// Entries and groups.
    Stream(Stream),
}

/// A member of a sorted set.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Its name.
    pub member: Vec<u8>,
    /// Its score: any number but NaN, which servers refuse or die of.
    pub score: f64,
}

/// A field of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// When it expires by itself: milliseconds since 1970. `None`: with the hash only.
    pub expires: Option<u64>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The entries that were not deleted, least id first.
    pub entries: Vec<Entry>,
    /// Everything else.
    pub state: StreamState,
}

impl Value {
    /// Which kind of value it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::Set(_) => Kind::Set,
            Self::SortedSet(_) => Kind::SortedSet,
            Self::Hash(_) => Kind::Hash,
            Self::Stream(_) => Kind::Stream,
        }
    }

    /// Moves all times in it by so many milliseconds, to a server whose clock is so far ahead.
    pub fn shift(&mut self, ahead_ms: i64) {
        // What lies before 1970 is as good as its first millisecond: long ago.
        let moved = |at: i64| at.saturating_add(ahead_ms).max(1);
        match self {
            Self::Hash(fields) => fields
                .iter_mut()
                .filter_map(|field| field.expires.as_mut())
                .for_each(|expires| *expires = expires.saturating_add_signed(ahead_ms).max(1)),
            Self::Stream(stream) => stream.state.groups.iter_mut().for_each(|group| {
                group.pending.iter_mut().for_each(|entry| entry.delivered = moved(entry.delivered));
                for consumer in &mut group.consumers {
                    consumer.seen = moved(consumer.seen);
                    let active = consumer.active.as_mut().filter(|active| **active >= 0);
                    active.into_iter().for_each(|active| *active = moved(*active));
                }
            }),
            Self::String(_) | Self::List(_) | Self::Set(_) | Self::SortedSet(_) => {}
        }
    }

    /// How many elements it has; a string has one.
    pub fn len(&self) -> usize {
        match self {
            Self::String(_) => 1,
            Self::List(items) | Self::Set(items) => items.len(),
            Self::SortedSet(members) => members.len(),
            Self::Hash(fields) => fields.len(),
            Self::Stream(stream) => stream.entries.len(),
        }
    }

    /// Whether it has no element. Only a stream may be so on a server.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
