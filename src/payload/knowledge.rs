//! What a target takes: the RDB versions it accepts in a footer, and the type bytes it knows.

use super::encode::expiring_type;
use super::footer::FIRST_OF_VALKEY;
use super::kind::{self, FIRST_OF_ONE_FAMILY, Family};
use super::probe::ProbeOf;

/// The longest bulk string that a server takes unless told otherwise (`proto-max-bulk-len`).
pub const DEFAULT_LONGEST_BULK: u64 = 512 * 1024 * 1024;

/// Small numbers, below 128: RDB versions or type bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers(u128);

impl Numbers {
    /// With one more number; one of 128 or more is not kept.
    #[must_use]
    pub fn with(self, number: u16) -> Self {
        Self(self.0 | 1_u128.checked_shl(u32::from(number)).unwrap_or(0))
    }

    /// Whether the number is among them.
    pub fn contains(self, number: u16) -> bool {
        self.0.checked_shr(u32::from(number)).unwrap_or(0) & 1 == 1
    }

    /// The largest of them.
    pub fn highest(self) -> Option<u16> {
        // There are 128 bits: the number of the highest is small.
        self.0.checked_ilog2().and_then(|bit| u16::try_from(bit).ok())
    }
}

impl FromIterator<u16> for Numbers {
    fn from_iter<T: IntoIterator<Item = u16>>(numbers: T) -> Self {
        numbers.into_iter().fold(Self::default(), Self::with)
    }
}

/// What a target was found to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Whose meaning type bytes from 22 on have there; `None` where that is not known, and such
    /// types are then neither sent nor made.
    pub family: Option<Family>,
    /// The RDB versions that it accepts.
    pub versions: Numbers,
    /// The type bytes that it knows.
    pub types: Numbers,
    /// The longest bulk string that it takes, in bytes.
    pub longest_bulk: u64,
}

impl Knowledge {
    /// What a server takes whose own RDB version is this, with its default configuration. Checked
    /// against thirteen servers from Redis 3.2 to 8.6 and Valkey 8.1 to 9.1.
    pub fn of_version(family: Family, version: u16) -> Self {
        let since = |&(first, byte): &(u16, u8)| (version >= first).then_some(u16::from(byte));
        let own = match family {
            Family::Redis => &OF_REDIS[..],
            Family::Valkey => &OF_VALKEY,
        };
        let types = OF_BOTH.iter().chain(own).filter_map(since).collect();
        // Valkey 9 refuses what it calls foreign, and 0.
        let versions = match version {
            FIRST_OF_VALKEY.. => (1..=LAST_OF_BOTH).chain(FIRST_OF_VALKEY..=version).collect(),
            _ => (0..=version).collect(),
        };
        Self { family: Some(family), versions, types, longest_bulk: DEFAULT_LONGEST_BULK }
    }

    /// What a target takes that gave these answers to [`super::probes`]: `true` where RESTORE said
    /// OK.
    pub fn learned(
        family: Option<Family>,
        answers: impl IntoIterator<Item = (ProbeOf, bool)>,
    ) -> Self {
        let (mut versions, mut types) = (Numbers::default(), Numbers::default());
        for (of, taken) in answers {
            match of {
                _ if !taken => {}
                ProbeOf::Version(version) => versions = versions.with(version),
                ProbeOf::Type(byte) => types = types.with(u16::from(byte)),
            }
        }
        // Modules' values came with this type. Whether the module is there, the target says itself.
        if types.contains(u16::from(kind::ZSET_2)) {
            types = types.with(u16::from(kind::MODULE_2));
        }
        Self { family, versions, types, longest_bulk: DEFAULT_LONGEST_BULK }
    }

    /// Whether it accepts a footer of this version.
    pub fn accepts(&self, version: u16) -> bool {
        self.versions.contains(version)
    }

    /// Whether it knows this type byte, in its own family's meaning.
    pub fn knows(&self, byte: u8) -> bool {
        let meant = byte < FIRST_OF_ONE_FAMILY || self.family.is_some();
        meant && self.types.contains(u16::from(byte))
    }

    /// The latest expiry that it lets a hash's field have, in Unix milliseconds; `None`: fields do not expire there.
    pub fn latest_field_expiry(&self) -> Option<i64> {
        expiring_type(self).and_then(|(_, latest)| i64::try_from(latest).ok())
    }

    /// The version for a payload of this type that is made for it: the highest of those that both
    /// families write, or, for a type of one family, of those that only this family writes. A target
    /// that was told to accept any version is so never sent one that does not exist yet.
    pub fn version_for(&self, byte: u8) -> Option<u16> {
        let versions = match (byte, self.family) {
            (..FIRST_OF_ONE_FAMILY, _) => 0..=LAST_OF_BOTH,
            (_, Some(Family::Redis)) => LAST_OF_BOTH + 1..=FIRST_OF_VALKEY - 1,
            (_, Some(Family::Valkey)) => FIRST_OF_VALKEY..=FIRST_OF_VALKEY,
            (_, None) => return None,
        };
        versions.rev().find(|version| self.accepts(*version))
    }

    /// Whether a type byte means the same there as to the one who wrote this version.
    pub(crate) fn understands(&self, byte: u8, version: u16) -> bool {
        byte < FIRST_OF_ONE_FAMILY || self.is_of_writer(version)
    }

    /// Whether it is of the family of the one who wrote this version.
    pub(crate) fn is_of_writer(&self, version: u16) -> bool {
        let writer = Family::of_version(version);
        writer.is_some() && writer == self.family
    }
}

/// The last RDB version that both families have in common.
const LAST_OF_BOTH: u16 = 11;

/// From which RDB version on a type byte is known.
const OF_BOTH: [(u16, u8); 20] = [
    (0, kind::STRING),
    (0, kind::LIST),
    (0, kind::SET),
    (0, kind::ZSET),
    (0, kind::HASH),
    (0, kind::HASH_ZIPMAP),
    (0, kind::LIST_ZIPLIST),
    (0, kind::SET_INTSET),
    (0, kind::ZSET_ZIPLIST),
    (0, kind::HASH_ZIPLIST),
    (7, kind::LIST_QUICKLIST),
    (8, kind::ZSET_2),
    (8, kind::MODULE_2),
    (9, kind::STREAM),
    (10, kind::HASH_LISTPACK),
    (10, kind::ZSET_LISTPACK),
    (10, kind::LIST_QUICKLIST_2),
    (10, kind::STREAM_2),
    (11, kind::SET_LISTPACK),
    (11, kind::STREAM_3),
];

const OF_REDIS: [(u16, u8); 5] = [
    (12, kind::REDIS_HASH_METADATA_PRE_GA),
    (12, kind::REDIS_HASH_LISTPACK_EX_PRE_GA),
    (12, kind::REDIS_HASH_METADATA),
    (12, kind::REDIS_HASH_LISTPACK_EX),
    (13, kind::REDIS_STREAM_4),
];

const OF_VALKEY: [(u16, u8); 1] = [(FIRST_OF_VALKEY, kind::VALKEY_HASH_2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_they_are_given() {
        let numbers: Numbers = [0, 11, 80, 127, 128, 65_535].into_iter().collect();
        for (number, kept) in [(0, true), (1, false), (80, true), (127, true), (128, false)] {
            assert_eq!(numbers.contains(number), kept, "{number}");
        }
        assert!(!numbers.contains(65_535));
        assert_eq!(numbers.highest(), Some(127));
        assert_eq!(Numbers::default().highest(), None);
    }

    #[test]
    fn a_server_knows_the_types_of_its_version() {
        let redis62 = Knowledge::of_version(Family::Redis, 9);
        assert!(redis62.knows(15) && !redis62.knows(16) && redis62.accepts(0));
        let valkey9 = Knowledge::of_version(Family::Valkey, 80);
        assert!(valkey9.knows(22) && !valkey9.knows(24) && valkey9.accepts(80));
        assert!(!valkey9.accepts(0) && !valkey9.accepts(12) && !valkey9.accepts(81));
        assert!(valkey9.understands(22, 80) && !valkey9.understands(22, 12));
        assert!(valkey9.understands(21, 12));
    }

    #[test]
    fn payloads_get_the_newest_version_that_their_type_needs() {
        let version = |family, own, byte| Knowledge::of_version(family, own).version_for(byte);
        assert_eq!(version(Family::Redis, 9, 0), Some(9));
        assert_eq!(version(Family::Redis, 13, 0), Some(11));
        assert_eq!(version(Family::Redis, 13, 24), Some(13));
        assert_eq!(version(Family::Redis, 11, 24), None);
        assert_eq!(version(Family::Valkey, 80, 21), Some(11));
        assert_eq!(version(Family::Valkey, 80, 22), Some(80));
        // As Valkey's `rdb-version-check relaxed` answers the probes.
        let versions = (1..128).collect();
        let relaxed = Knowledge { versions, ..Knowledge::of_version(Family::Valkey, 80) };
        assert_eq!((relaxed.version_for(0), relaxed.version_for(22)), (Some(11), Some(80)));
        // As EloqKV is said to accept them.
        let versions = [0, 4, 10].into_iter().collect();
        let odd = Knowledge { versions, family: None, ..Knowledge::of_version(Family::Redis, 9) };
        assert_eq!((odd.version_for(4), odd.version_for(24)), (Some(10), None));
    }

    #[test]
    fn a_target_of_unknown_family_gets_only_what_both_know() {
        let answers = [(ProbeOf::Type(5), true), (ProbeOf::Type(22), true)];
        let learned = Knowledge::learned(None, answers);
        assert!(learned.knows(5) && learned.knows(7) && !learned.knows(22) && !learned.knows(4));
    }
}
