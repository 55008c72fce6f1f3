//! What a verification looked at and found, for each database and in all.

use serde::Serialize;

use super::{DifferenceKind, Stats};

/// What was compared. In the order of what it proves: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing.
    None,
    /// A backup: the file was read back, and not compared with the source.
    ReadBack,
    /// A clean-up: the keys of the source, each before it was deleted.
    OneWay,
    /// Some keys of each side, by value and expiry.
    Sample,
    /// How many keys both servers hold, where neither was changed by other clients.
    Count,
    /// The name of every key.
    Names,
    /// Value and expiry of every key.
    Full,
}

impl Mode {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ReadBack => "read-back",
            Self::OneWay => "one-way",
            Self::Sample => "sample",
            Self::Count => "count",
            Self::Names => "names",
            Self::Full => "full",
        }
    }
}

/// What a verification of one database looked at and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// Its number on the source.
    #[serde(skip)]
    pub source_db: u32,
    /// Its number on the target.
    #[serde(skip)]
    pub target_db: u32,
    /// What was compared of every key.
    pub mode: Mode,
    /// Whether keys that only the target holds were looked for.
    pub both_ways: bool,
    /// Keys of the source that the target lacks.
    pub missing: u64,
    /// Keys of the target that the source lacks.
    pub extra: u64,
    /// Keys whose values differ.
    pub different: u64,
    /// Keys whose expiries differ.
    pub expiry: u64,
    /// Keys that could not be looked at on both sides.
    #[serde(skip_serializing_if = "is_zero")]
    pub uncompared: u64,
    /// Keys that were compared by value and expiry, where others were compared by name only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_value: Option<u64>,
    /// Keys of the target that the source no longer holds: deleted, renamed or expired there.
    #[serde(skip_serializing_if = "is_zero")]
    pub gone_from_source: u64,
}

impl Proven {
    /// Nothing found yet.
    pub fn new(source_db: u32, target_db: u32, mode: Mode, both_ways: bool) -> Self {
        Self {
            source_db,
            target_db,
            mode,
            both_ways,
            missing: 0,
            extra: 0,
            different: 0,
            expiry: 0,
            uncompared: 0,
            by_value: None,
            gone_from_source: 0,
        }
    }

    /// Takes what a comparison told of this database.
    pub fn with_differences(mut self, stats: &Stats) -> Self {
        let place = (self.source_db, self.target_db);
        let count = |kind| stats.differences().count_in(place, kind);
        self.missing = count(DifferenceKind::Missing);
        self.extra = count(DifferenceKind::Extra);
        self.different = count(DifferenceKind::Different);
        self.expiry = count(DifferenceKind::Expiry);
        self.uncompared = count(DifferenceKind::Uncompared);
        self
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the verification of a run looked at and found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The least that was compared of any database.
    pub mode: Mode,
    /// Keys of the source that the target lacks.
    pub missing: u64,
    /// Keys of the target that the source lacks.
    pub extra: u64,
    /// Keys whose values differ.
    pub different: u64,
    /// Keys whose expiries differ.
    pub expiry: u64,
    /// Keys that could not be looked at on both sides.
    #[serde(skip_serializing_if = "is_zero")]
    pub uncompared: u64,
    /// Why keys are missing or too many, as far as the servers report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The databases (in the report under `dbs`).
    #[serde(skip)]
    pub databases: Vec<Proven>,
}

impl Verified {
    /// Nothing looked at.
    pub fn none() -> Self {
        Self::of(Mode::None, Vec::new())
    }

    /// What was found in these databases, at least in this mode where there are none.
    pub fn of(mode: Mode, databases: Vec<Proven>) -> Self {
        let sum = |of: fn(&Proven) -> u64| databases.iter().map(of).sum();
        Self {
            mode: databases.iter().map(|database| database.mode).min().unwrap_or(mode),
            missing: sum(|database| database.missing),
            extra: sum(|database| database.extra),
            different: sum(|database| database.different),
            expiry: sum(|database| database.expiry),
            uncompared: sum(|database| database.uncompared),
            cause: None,
            databases,
        }
    }

    /// Whether all that differs is keys that the target lacks.
    pub fn only_misses(&self) -> bool {
        self.extra + self.different + self.expiry == 0
    }

    /// How many keys differ.
    pub fn differing(&self) -> u64 {
        self.missing + self.extra + self.different + self.expiry
    }

    /// Whether both sides agree, and every key could be looked at that was to be.
    pub fn agrees(&self) -> bool {
        self.differing() + self.uncompared == 0
    }
}
