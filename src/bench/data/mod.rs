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
    Giant,
    /// All at once: strings of 1 kB, the forty, and the one.
    Together,
}

/// Which and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// How many keys; those of the large values are fixed.
    pub keys: Option<u64>,
    /// How many bytes of values, where the number of keys is not given, and of the large values.
    pub bytes: Option<u64>,
}

/// What the words `strings-1k` and `strings-expiring` mean.
const KILO: usize = 1_000;
/// Bytes that a key of the mixed set has on average.
const MIXED_SIZE: u64 = 1_000;
/// Forty of 20 MB, one of 400 MB.
const LARGE_KEYS: u64 = 40;
const LARGE_BYTES: u64 = 800_000_000;
const GIANT_BYTES: u64 = 400_000_000;
/// What `together` holds beside them: a million of 1 kB.
const TOGETHER_STRINGS: u64 = 1_000_000;
const TOGETHER_BYTES: u64 = TOGETHER_STRINGS * KILO as u64 + LARGE_BYTES + GIANT_BYTES;
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
            Self::Large | Self::Giant => self.large_sizes(amount).len() as u64,
            Self::Together => self.strings(amount) + self.large_sizes(amount).len() as u64,
        }
    }

    /// How many strings of 1 kB lie between the large values.
    fn strings(self, amount: Amount) -> u64 {
        let by_bytes = |bytes| share(bytes, TOGETHER_STRINGS).max(1);
        match self {
            Self::Together => {
                amount.keys.unwrap_or_else(|| amount.bytes.map_or(TOGETHER_STRINGS, by_bytes))
            }
            _ => 0,
        }
    }

    /// Whether its values are large enough for the source to hold much at once.
    pub(super) fn has_large_values(self) -> bool {
        matches!(self, Self::Large | Self::Giant | Self::Together)
    }

    /// The size of each value of the large sets.
    fn large_sizes(self, amount: Amount) -> Vec<u64> {
        let forty = |bytes: u64| vec![(bytes / LARGE_KEYS).clamp(1, LARGEST); LARGE_KEYS as usize];
        match self {
            Self::Large => forty(amount.bytes.unwrap_or(LARGE_BYTES)),
            Self::Giant => vec![amount.bytes.unwrap_or(GIANT_BYTES).min(LARGEST)],
            Self::Together => {
                let bytes = amount.bytes.unwrap_or(TOGETHER_BYTES);
                let mut sizes = forty(share(bytes, LARGE_BYTES));
                sizes.push(share(bytes, GIANT_BYTES).clamp(1, LARGEST));
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
            Self::Mixed => "strings, hashes, lists, sets, sorted sets and streams, half of their \
                            bytes text that compresses"
                .into(),
            Self::Large => "forty large strings of random bytes".into(),
            Self::Giant => "one giant string of random bytes".into(),
            Self::Together => {
                format!("strings of {KILO} random bytes, forty large ones and a giant one")
            }
        }
    }
}

/// What `part` of all the bytes of `together` becomes when there are `bytes` in all.
fn share(bytes: u64, part: u64) -> u64 {
    (bytes as f64 * (part as f64 / TOGETHER_BYTES as f64)) as u64
}

impl fmt::Display for DataSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strings { size: KILO } => out.write_str("strings-1k"),
            Self::Strings { size } => write!(out, "strings-{size}"),
            Self::Expiring => out.write_str("strings-expiring"),
            Self::Mixed => out.write_str("mixed"),
            Self::Large => out.write_str("large"),
            Self::Giant => out.write_str("giant"),
            Self::Together => out.write_str("together"),
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
            "giant" => Ok(Self::Giant),
            "together" => Ok(Self::Together),
            _ => text
                .strip_prefix("strings-")
                .and_then(|size| size.parse().ok())
                .filter(|&size| size <= LARGEST_STRING)
                .map(|size| Self::Strings { size })
                .ok_or_else(|| {
                    format!(
                        "write one of strings-1k, strings-100 (or another size up to {LARGEST_STRING}), \
                         strings-expiring, mixed, large, giant, together"
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
            ["strings-1k", "strings-0", "strings-expiring", "mixed", "large", "giant", "together"];
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
        assert_eq!(DataSet::Large.large_sizes(amount(None, None)), [20_000_000; 40]);
        assert_eq!(DataSet::Giant.large_sizes(amount(None, None)), [400_000_000]);
        assert_eq!(DataSet::Giant.large_sizes(amount(None, Some(u64::MAX))), [LARGEST]);
    }

    #[test]
    fn together_is_all_of_it_and_shrinks_evenly() {
        let amount = |keys, bytes| Amount { keys, bytes };
        assert_eq!(DataSet::Together.keys(amount(None, None)), 1_000_041);
        assert_eq!(DataSet::Together.keys(amount(Some(7), None)), 48);
        assert_eq!(DataSet::Together.keys(amount(None, Some(22_000_000))), 10_041);
        let ends = |amount| {
            let sizes = DataSet::Together.large_sizes(amount);
            (sizes.len(), sizes.first().copied(), sizes.last().copied())
        };
        assert_eq!(ends(amount(None, None)), (41, Some(20_000_000), Some(400_000_000)));
        let small = ends(amount(None, Some(22_000_000)));
        assert_eq!(small, (41, Some(200_000), Some(4_000_000)));
    }
}
