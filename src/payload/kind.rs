//! The type byte a value begins with, and whose meaning it has.
//!
//! Up to 21 a type byte means the same to every server. From 22 on Redis and Valkey gave the same
//! numbers to different layouts, and a server takes the other's bytes for its own without an error.
//! So the writer's family belongs to the type; the footer's version tells it.

use super::footer::{self, FIRST_OF_VALKEY};
use super::{PayloadError, Result};

/// From this type byte on, Redis and Valkey differ.
pub(crate) const FIRST_OF_ONE_FAMILY: u8 = 22;

/// Redis's first RDB version after the two went apart; up to the one before they are the same.
const FIRST_OF_REDIS: u16 = 12;

/// In front of the type byte: the key has metadata of modules (Redis 8.6 and later).
pub(crate) const KEY_METADATA: u8 = 0xf3;

pub(crate) const STRING: u8 = 0;
pub(crate) const LIST: u8 = 1;
pub(crate) const SET: u8 = 2;
pub(crate) const ZSET: u8 = 3;
pub(crate) const HASH: u8 = 4;
pub(crate) const ZSET_2: u8 = 5;
pub(crate) const MODULE_PRE_GA: u8 = 6;
pub(crate) const MODULE_2: u8 = 7;
pub(crate) const HASH_ZIPMAP: u8 = 9;
pub(crate) const LIST_ZIPLIST: u8 = 10;
pub(crate) const SET_INTSET: u8 = 11;
pub(crate) const ZSET_ZIPLIST: u8 = 12;
pub(crate) const HASH_ZIPLIST: u8 = 13;
pub(crate) const LIST_QUICKLIST: u8 = 14;
pub(crate) const STREAM: u8 = 15;
pub(crate) const HASH_LISTPACK: u8 = 16;
pub(crate) const ZSET_LISTPACK: u8 = 17;
pub(crate) const LIST_QUICKLIST_2: u8 = 18;
pub(crate) const STREAM_2: u8 = 19;
pub(crate) const SET_LISTPACK: u8 = 20;
pub(crate) const STREAM_3: u8 = 21;
/// Valkey 9: every field with an expiry of its own.
pub(crate) const VALKEY_HASH_2: u8 = 22;
/// Release candidates of Redis 7.4.
pub(crate) const REDIS_HASH_METADATA_PRE_GA: u8 = 22;
/// Release candidates of Redis 7.4.
pub(crate) const REDIS_HASH_LISTPACK_EX_PRE_GA: u8 = 23;
pub(crate) const REDIS_HASH_METADATA: u8 = 24;
pub(crate) const REDIS_HASH_LISTPACK_EX: u8 = 25;
/// Redis 8.6: a stream that knows what its producers sent.
pub(crate) const REDIS_STREAM_4: u8 = 26;

/// The type byte that a server whose RDB version this is gives to a large value of a type, as TYPE names it: one
/// whose elements have no times of their own. `None`: a module's.
pub fn large_type(name: &str, version: u16) -> Option<u8> {
    let of_valkey = version >= FIRST_OF_VALKEY;
    Some(match (name, version) {
        ("string", _) => STRING,
        ("list", ..10) => LIST_QUICKLIST,
        ("list", _) => LIST_QUICKLIST_2,
        ("set", _) => SET,
        ("zset", _) => ZSET_2,
        ("hash", _) => HASH,
        ("stream", ..10) => STREAM,
        ("stream", 10) => STREAM_2,
        ("stream", ..13) => STREAM_3,
        ("stream", _) if of_valkey => STREAM_3,
        ("stream", _) => REDIS_STREAM_4,
        _ => return None,
    })
}

/// Whether a type byte is the same to Redis and to Valkey.
pub fn means_the_same_to_all(byte: u8) -> bool {
    byte < FIRST_OF_ONE_FAMILY
}

/// Whether values of this type may hold times of their own: expiries of fields, deliveries to consumers.
pub fn holds_times(byte: u8) -> bool {
    byte >= FIRST_OF_ONE_FAMILY || matches!(byte, STREAM | STREAM_2 | STREAM_3)
}

/// Whose numbers the type bytes from 22 on are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

impl Family {
    /// The family of the server that wrote this RDB version; `None` for versions from before there
    /// were two (up to 11), whose types mean the same to both.
    pub fn of_version(version: u16) -> Option<Self> {
        match version {
            FIRST_OF_VALKEY.. => Some(Self::Valkey),
            FIRST_OF_REDIS.. => Some(Self::Redis),
            _ => None,
        }
    }
}

/// What TYPE calls a value of this type byte, whoever wrote it; of a module's value only that it is one.
pub fn type_name(byte: u8) -> &'static str {
    match byte {
        STRING => "string",
        LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => "list",
        SET | SET_INTSET | SET_LISTPACK => "set",
        ZSET | ZSET_2 | ZSET_ZIPLIST | ZSET_LISTPACK => "zset",
        STREAM | STREAM_2 | STREAM_3 | REDIS_STREAM_4 => "stream",
        MODULE_PRE_GA | MODULE_2 => "module",
        HASH | HASH_ZIPMAP | HASH_ZIPLIST | HASH_LISTPACK | FIRST_OF_ONE_FAMILY..=25 => "hash",
        _ => "value of an unknown type",
    }
}

/// What a value is to those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    String,
    /// Items in order.
    List,
    /// Members without order.
    Set,
    /// Members with scores.
    SortedSet,
    /// Fields with values, some of which may expire.
    Hash,
    /// Entries with groups of readers.
    Stream,
    /// What a module made.
    Module,
}

/// A type byte that is known here, in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) byte: u8,
    pub(crate) kind: Kind,
    /// `None` where both mean the same.
    pub(crate) family: Option<Family>,
}

impl Type {
    /// # Errors
    /// The byte is no type that is known here, or nobody's whose payloads have this version.
    pub(crate) fn of(byte: u8, version: u16) -> Result<Self> {
        let kind = match byte {
            STRING => Kind::String,
            LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => Kind::List,
            SET | SET_INTSET | SET_LISTPACK => Kind::Set,
            ZSET | ZSET_2 | ZSET_ZIPLIST | ZSET_LISTPACK => Kind::SortedSet,
            HASH | HASH_ZIPMAP | HASH_ZIPLIST | HASH_LISTPACK => Kind::Hash,
            STREAM | STREAM_2 | STREAM_3 => Kind::Stream,
            MODULE_PRE_GA | MODULE_2 => Kind::Module,
            FIRST_OF_ONE_FAMILY.. => return Self::of_one_family(byte, version),
            _ => return Err(PayloadError::UnknownType(byte)),
        };
        Ok(Self { byte, kind, family: None })
    }

    fn of_one_family(byte: u8, version: u16) -> Result<Self> {
        let family = Family::of_version(version);
        let kind = match (family, byte) {
            (Some(Family::Valkey), VALKEY_HASH_2) => Kind::Hash,
            (Some(Family::Redis), REDIS_HASH_METADATA_PRE_GA..=REDIS_HASH_LISTPACK_EX) => {
                Kind::Hash
            }
            (Some(Family::Redis), REDIS_STREAM_4) => Kind::Stream,
            _ => return Err(PayloadError::UnknownType(byte)),
        };
        Ok(Self { byte, kind, family })
    }
}

impl Kind {
    /// What a payload holds, by its first byte and its version.
    ///
    /// # Errors
    /// It has no footer, or a type that is not known here.
    pub fn of(payload: &[u8]) -> Result<Self> {
        let (body, footer) = footer::split(payload)?;
        let byte = body.first().copied().unwrap_or(KEY_METADATA);
        Type::of(byte, footer.version).map(|found| found.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_byte_is_another_type_in_the_other_family() {
        assert_eq!(Type::of(22, 80).unwrap().family, Some(Family::Valkey));
        assert_eq!(Type::of(22, 12).unwrap().family, Some(Family::Redis));
        assert_eq!(Type::of(13, 80).unwrap().family, None);
        for (byte, version) in
            [(22, 11), (23, 80), (24, 80), (26, 81), (25, 9), (27, 14), (64, 9), (8, 6)]
        {
            let refused = Type::of(byte, version);
            assert_eq!(refused, Err(PayloadError::UnknownType(byte)), "{byte} of {version}");
        }
    }
}
