//! RDB files, as servers write and load them: read record by record, checked, written.
//!
//! ```text
//!  magic | AUX … | FUNCTION2 … | per database: SELECTDB RESIZEDB key … | EOF | CRC-64
//!  key = [expiry] [idle] [frequency] type name value
//! ```
//!
//! `type value` and a footer are what DUMP answers, byte for byte, so a file feeds the same road as a
//! server. A value's end is found by walking it, in a window of a file: however long it is, 64 KiB of
//! it are in memory. Nothing that a file says of itself is believed: lengths are held against what is
//! left of it.
//!
//! Layout: `rdb.c` and `rdb.h` of Redis and Valkey. No file is opened here, only `Read` and `Write`.

mod check;
mod foreign;
mod records;
mod window;
mod write;

pub use check::{MOST_SECTIONS, Section, Summary, check, check_each};
pub use foreign::Foreign;
pub use records::{Key, Record, Records};
pub use write::{Mark, Writer, function_dump};

use std::fmt;

use thiserror::Error;

use crate::payload::{Family, PayloadError};

/// Before a key: its expiry in seconds.
const EXPIRES_SECONDS: u8 = 253;
/// Before a key: its expiry in milliseconds.
const EXPIRES_MS: u8 = 252;
/// Before a key: how long nobody has asked for it, where that is kept.
const IDLE: u8 = 248;
/// Before a key: how often it is asked for, where that is kept.
const FREQUENCY: u8 = 249;
/// Redis 8.6, before a key: what modules keep beside it. Valkey 9: slots that were being imported.
const KEY_METADATA_OR_SLOT_IMPORT: u8 = 243;
/// Redis 7.4 and later, in clusters: how many keys a slot holds.
const SLOT_INFO: u8 = 244;
/// A library of functions.
const FUNCTION: u8 = 245;
/// A library of functions as the release candidates of Redis 7.0 wrote it.
const FUNCTION_PRE_GA: u8 = 246;
/// Redis Enterprise, in front of a key: when it was used last.
const ENTERPRISE_LRU: u8 = 107;
/// Redis Enterprise: the slot of what follows.
const ENTERPRISE_SLOT: u8 = 121;
/// What a module keeps beside keys.
const MODULE_AUX: u8 = 247;
/// A name and what it says of the file.
const AUX: u8 = 250;
/// How many keys of a database follow, and how many of them expire.
const RESIZE_DATABASE: u8 = 251;
/// The database of the keys that follow.
const SELECT_DATABASE: u8 = 254;
/// The end, and a checksum behind it.
const END: u8 = 255;

/// How long the magic is.
const MAGIC_BYTES: usize = 9;
/// The first version whose files end with a checksum.
const FIRST_CHECKED: u16 = 5;
/// The newest versions of both families that are known here.
const NEWEST_OF_REDIS: u16 = 16;
const NEWEST_OF_VALKEY: u16 = 81;
/// The last version that Redis may use for its own; see `payload::footer`.
const LAST_OF_REDIS: u16 = 79;

/// The RDB version of a file: which types it may hold, and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(u16);

impl Version {
    /// Reads the nine bytes a file begins with: `REDIS0011`, `VALKEY080`.
    ///
    /// # Errors
    /// They are those of another file, or name a version that there is not.
    pub fn parse(magic: &[u8; MAGIC_BYTES]) -> Result<Self, RdbError> {
        let digits = magic.strip_prefix(b"VALKEY").or_else(|| magic.strip_prefix(b"REDIS"));
        let number = digits.and_then(|digits| {
            digits.iter().try_fold(0_u16, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
            })
        });
        let number = number.ok_or_else(|| RdbError::NotRdb(Foreign::of(magic)))?;
        let version = Self(number);
        // The families share the numbers: a server refuses those of the other.
        if number == 0 || version.magic().as_bytes() != magic {
            return Err(RdbError::NoVersion(String::from_utf8_lossy(magic).into_owned()));
        }
        Ok(version)
    }

    /// The version with this number, as footers of payloads have it.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number, as footers of payloads have it.
    pub fn number(self) -> u16 {
        self.0
    }

    /// What a file of this version begins with.
    pub fn magic(self) -> String {
        match self.0 {
            ..=LAST_OF_REDIS => format!("REDIS{:04}", self.0),
            _ => format!("VALKEY{:03}", self.0),
        }
    }

    /// Returns true for a version newer than those whose types are known here.
    fn is_newer_than_known(self) -> bool {
        let newest = if self.is_valkey() { NEWEST_OF_VALKEY } else { NEWEST_OF_REDIS };
        self.0 > newest
    }

    fn is_valkey(self) -> bool {
        Family::of_version(self.0) == Some(Family::Valkey)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "rdb {}", self.0)
    }
}

/// Why a file cannot be read as an RDB file.
#[derive(Debug, Error)]
pub enum RdbError {
    /// The file itself cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It begins with something else.
    #[error("{0}")]
    NotRdb(Foreign),
    /// It names a version that no server writes.
    #[error("it begins with {0}, an RDB version that no server writes or loads")]
    NoVersion(String),
    /// It breaks off, or something in it contradicts the format.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where that was found.
        at: u64,
        /// What is wrong there.
        why: PayloadError,
    },
    /// It holds a record that is not known here.
    #[error("it holds {what} at byte {at}")]
    Unknown {
        /// Where it begins.
        at: u64,
        /// What it is.
        what: String,
    },
    /// Its bytes are not those that its checksum was made of.
    #[error("its checksum is wrong")]
    Checksum,
    /// Something follows its end.
    #[error("{0} bytes follow its end")]
    Trailing(u64),
    /// Commands follow its end: it is an append-only file.
    #[error(
        "it is an append-only file: {0} bytes of commands, which are newer, follow the RDB file that it begins with"
    )]
    CommandsFollow(u64),
}

impl From<PayloadError> for RdbError {
    fn from(why: PayloadError) -> Self {
        Self::Damaged { at: 0, why }
    }
}

impl RdbError {
    /// Says where it was found, unless that is known.
    fn found_at(self, place: u64) -> Self {
        match self {
            Self::Damaged { at: 0, why } => Self::Damaged { at: place, why },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_write_their_version_in_nine_bytes() {
        for (magic, number) in [(b"REDIS0009", 9), (b"REDIS0012", 12), (b"VALKEY080", 80)] {
            let version = Version::parse(magic).unwrap();
            assert_eq!((version.number(), version.magic().as_bytes()), (number, &magic[..]));
        }
        for magic in [b"REDIS0080", b"REDIS0099", b"VALKEY079", b"REDIS0000"] {
            let refused = Version::parse(magic).unwrap_err().to_string();
            assert!(refused.contains(&*String::from_utf8_lossy(magic)), "{refused}");
        }
        for other in [b"REDIS 011", b"redis0011", b"REDIS00xx"] {
            let refused = Version::parse(other);
            assert!(matches!(refused, Err(RdbError::NotRdb(_))), "{}", other.escape_ascii());
        }
    }
}
