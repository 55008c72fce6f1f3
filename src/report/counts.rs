//! What can be counted of a key, and the sums of that: each key ends in exactly one of them.

use std::collections::BTreeMap;

use serde::Serialize;

/// What can be counted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Seen by SCAN and taken up.
    Scanned,
    /// Acknowledged by the target.
    Copied,
    /// Of these, in the place of another value that the target held.
    Replaced,
    /// Of these, sent by commands instead of RESTORE.
    ByCommands,
    /// Left alone because the target holds it.
    Skipped,
    /// Members were added to what the target holds.
    Merged,
    /// Not meant by the filters.
    Filtered,
    /// Gone before it could be read.
    Expired,
    /// Not copied, with a reason.
    Failed,
    /// Deleted from the source after the copy, or by a clean-up.
    DeletedFromSource,
    /// Not deleted from the source, because it changed after the copy, or differs from the target.
    KeptOnSource,
    /// Of the copied, with another footer.
    ByFooter,
    /// Of the copied, encoded anew.
    Reencoded,
    /// Of the copied, less than they were: the target has no room for all of them.
    Lessened,
    /// Fields of hashes that will not expire on the target.
    LostFieldExpiries,
    /// Held against the target by a verification or a clean-up, which count nothing as copied.
    Compared,
}

/// How many there are.
pub(super) const COUNTS: usize = Count::Compared as usize + 1;

impl Count {
    /// Each with the name that it is kept by.
    pub(super) const NAMED: [(Self, &'static str); COUNTS] = [
        (Self::Scanned, "scanned"),
        (Self::Copied, "copied"),
        (Self::Replaced, "replaced"),
        (Self::ByCommands, "by_commands"),
        (Self::Skipped, "skipped"),
        (Self::Merged, "merged"),
        (Self::Filtered, "filtered"),
        (Self::Expired, "expired"),
        (Self::Failed, FAILED),
        (Self::DeletedFromSource, DELETED_FROM_SOURCE),
        (Self::KeptOnSource, KEPT_ON_SOURCE),
        (Self::ByFooter, "by_footer"),
        (Self::Reencoded, "reencoded"),
        (Self::Lessened, "lessened"),
        (Self::LostFieldExpiries, "lost_field_expiries"),
        (Self::Compared, "compared"),
    ];
}

/// The name of the failed keys among kept counters.
pub const FAILED: &str = "failed";
/// The name of the keys that stay on the source among kept counters.
pub const DELETED_FROM_SOURCE: &str = "deleted_from_source";
/// Likewise.
pub const KEPT_ON_SOURCE: &str = "kept_on_source";
/// The name of the sum of payload bytes among kept counters.
pub(super) const BYTES: &str = "bytes";

/// The counters of a database by their names, as they are kept between runs.
pub type Kept = BTreeMap<String, u64>;

/// The sums of a run or a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Keys seen: the sum of the next six, and of those that were compared.
    pub scanned: u64,
    /// Acknowledged by the target.
    pub copied: u64,
    /// Of these, in the place of another value that the target held although it was empty when the copy
    /// began: this copy may have written it earlier.
    pub replaced: u64,
    /// Of these, sent by commands instead of RESTORE (in the report under `ways`).
    #[serde(skip)]
    pub by_commands: u64,
    /// Of these, with another footer than the source wrote (likewise).
    #[serde(skip)]
    pub by_footer: u64,
    /// Of these, encoded anew for the target (likewise).
    #[serde(skip)]
    pub reencoded: u64,
    /// Of these, less than they were (in the report under `losses`).
    #[serde(skip)]
    pub lessened: u64,
    /// Fields of hashes that will not expire on the target (likewise).
    #[serde(skip)]
    pub lost_field_expiries: u64,
    /// Left alone because the target holds them.
    pub skipped: u64,
    /// Got members they lacked.
    pub merged: u64,
    /// Not meant by the filters.
    pub filtered: u64,
    /// Gone before they could be read.
    pub expired: u64,
    /// Not copied.
    pub failed: u64,
    /// Deleted from the source after the copy, or by a clean-up.
    pub deleted_from_source: u64,
    /// Not deleted from the source, because they changed after the copy, or differ from the target.
    pub kept_on_source: u64,
    /// Held against the target by a verification or a clean-up, which count nothing as copied.
    pub compared: u64,
}

impl Counts {
    /// Keys that ended in one of the counts.
    pub fn settled(&self) -> u64 {
        let written = self.copied + self.skipped + self.merged;
        written + self.compared + self.filtered + self.expired + self.failed
    }

    /// Of the copied keys, those whose payload went as it came.
    pub fn verbatim(&self) -> u64 {
        self.copied.saturating_sub(self.by_commands + self.by_footer + self.reencoded)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.scanned += other.scanned;
        self.copied += other.copied;
        self.replaced += other.replaced;
        self.by_commands += other.by_commands;
        self.by_footer += other.by_footer;
        self.reencoded += other.reencoded;
        self.lessened += other.lessened;
        self.lost_field_expiries += other.lost_field_expiries;
        self.skipped += other.skipped;
        self.merged += other.merged;
        self.filtered += other.filtered;
        self.expired += other.expired;
        self.failed += other.failed;
        self.deleted_from_source += other.deleted_from_source;
        self.kept_on_source += other.kept_on_source;
        self.compared += other.compared;
    }
}
