//! The data sets of the design's table: what real keyspaces look like to a copier.
//!
//! Seeded: the same keys and values in every run. Only the moment of an expiry depends on the clock.

mod load;
mod mixed;

use std::fmt;
use std::str::FromStr;

pub(super) use load::{Loaded, load};

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSet {
    /// Strings of random bytes.
    Strings {
        /// Bytes of each value.
        size: usize,
    },
    /// Strings of 1 kB that all expire, some hours ahead.
    Expiring,
    /// Strings, hashes, lists, sets, sorted sets and streams, about half of their bytes compressible.
    Mixed,
    /// Large strings, 20 MB each unless said otherwise.
    Large,
    /// One string of 400 MB unless said otherwise.
    Huge,
    /// Both: the forty, and one twenty times as large.
    Giant,
}

/// Which and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// How many keys; those of the large sets are fixed.
    pub keys: Option<u64>,
    /// How many bytes of values, where the number of keys is not given, and of the large sets.
    pub bytes: Option<u64>,
}

/// What the words `strings-1k` and `strings-expiring` mean.
const KILO: usize = 1_000;
/// Bytes that a key of the mixed set has on average.
const MIXED_SIZE: u64 = 1_000;
/// Forty of 20 MB, one of 400 MB.
const LARGE_KEYS: u64 = 40;
const LARGE_BYTES: u64 = 800_000_000;
const HUGE_BYTES: u64 = 400_000_000;
/// The servers take no value beyond 512 MiB (`proto-max-bulk-len`).
const LARGEST: u64 = 500_000_000;
/// The largest string of `strings-N`: a value of the pool is one slice of it.
const LARGEST_STRING: usize = 1 << 20;

impl DataSet {
    /// How many keys of it are loaded.
    pub(super) fn keys(self, amount: Amount) -> u64 {
        let by_size = |size: u64, otherwise: u64| {
            amount.keys.unwrap_or_else(|| {
                amount.bytes.map_or(otherwise, |bytes| (bytes / size.max(1)).max(1))
            })
        };
        match self {
            Self::Strings { size } if size < KILO => by_size(size as u64, 3_000_000),
            Self::Strings { size } => by_size(size as u64, 1_000_000),
            Self::Expiring => by_size(KILO as u64, 1_000_000),
            Self::Mixed => by_size(MIXED_SIZE, 1_000_000),
            Self::Large | Self::Huge | Self::Giant => self.large_sizes(amount).len() as u64,
        }
    }

    /// The size of each value of the large sets.
    fn large_sizes(self, amount: Amount) -> Vec<u64> {
        let forty = |bytes: u64| vec![(bytes / LARGE_KEYS).clamp(1, LARGEST); LARGE_KEYS as usize];
        match self {
            Self::Large => forty(amount.bytes.unwrap_or(LARGE_BYTES)),
            Self::Huge => vec![amount.bytes.unwrap_or(HUGE_BYTES).min(LARGEST)],
            Self::Giant => {
                let bytes = amount.bytes.unwrap_or(LARGE_BYTES + HUGE_BYTES);
                let mut sizes = forty(bytes / 3 * 2);
                sizes.push((bytes / 3).clamp(1, LARGEST));
                sizes
            }
            Self::Strings { .. } | Self::Expiring | Self::Mixed => Vec::new(),
        }
    }

    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Strings { size } => format!("strings of {size} random bytes"),
            Self::Expiring => format!("strings of {KILO} random bytes that all expire"),
            Self::Mixed => "strings, hashes, lists, sets, sorted sets and streams".into(),
            Self::Large => "forty large strings".into(),
            Self::Huge => "one huge string".into(),
            Self::Giant => "forty large strings and a huge one".into(),
        }
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strings { size: KILO } => out.write_str("strings-1k"),
            Self::Strings { size } => write!(out, "strings-{size}"),
            Self::Expiring => out.write_str("strings-expiring"),
            Self::Mixed => out.write_str("mixed"),
            Self::Large => out.write_str("large"),
            Self::Huge => out.write_str("huge"),
            Self::Giant => out.write_str("giant"),
        }
    }
}

impl FromStr for DataSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "strings-1k" => Ok(Self::Strings { size: KILO }),
            "strings-expiring" => Ok(Self::Expiring),
            "mixed" => Ok(Self::Mixed),
            "large" => Ok(Self::Large),
            "huge" => Ok(Self::Huge),
            "giant" => Ok(Self::Giant),
            _ => text
                .strip_prefix("strings-")
                .and_then(|size| size.parse().ok())
                .filter(|&size| size <= LARGEST_STRING)
                .map(|size| Self::Strings { size })
                .ok_or_else(|| {
                    format!(
                        "'{text}' is no data set; one of strings-1k, strings-100 (or another size \
                         up to {LARGEST_STRING}), strings-expiring, mixed, large, huge, giant"
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let names =
            ["strings-1k", "strings-0", "strings-expiring", "mixed", "large", "huge", "giant"];
        for name in names {
            assert_eq!(name.parse::<DataSet>().unwrap().to_string(), name);
        }
        for bad in ["", "strings-", "strings-x", "strings-9999999", "Mixed"] {
            assert!(bad.parse::<DataSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_follow_keys_first_and_bytes_second() {
        let amount = |keys, bytes| Amount { keys, bytes };
        let small = DataSet::Strings { size: 100 };
        assert_eq!(small.keys(amount(None, None)), 3_000_000);
        assert_eq!(small.keys(amount(None, Some(1_000))), 10);
        assert_eq!(small.keys(amount(Some(7), Some(1_000))), 7);
        assert_eq!(DataSet::Giant.keys(amount(Some(7), None)), 41);
        let sizes = DataSet::Giant.large_sizes(amount(None, None));
        let expected = [20_000_000, 400_000_000].map(Some);
        assert_eq!([sizes.first().copied(), sizes.last().copied()], expected);
        assert_eq!(DataSet::Large.large_sizes(amount(None, None)), [20_000_000; 40]);
        assert_eq!(DataSet::Huge.large_sizes(amount(None, Some(u64::MAX))), [LARGEST]);
    }
}
