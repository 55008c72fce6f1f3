//! The runs whose replies are replaced: each way of reading, writing, comparing and deleting.

use std::path::Path;

use crate::support::keyferry::Keyferry;

/// One command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flow {
    Copy,
    CopyDump,
    Move,
    Skip,
    Fail,
    Merge,
    Full,
    Functions,
    State,
    Pieces,
    VerifyEqual,
    VerifyMissing,
    VerifyExtra,
    VerifyValue,
    VerifyExpiry,
    CleanupEqual,
    CleanupDiffering,
    Backup,
    BackupDump,
    Plan,
}

impl Flow {
    /// All there are.
    pub(super) const ALL: [Self; 20] = [
        Self::Copy,
        Self::CopyDump,
        Self::Move,
        Self::Skip,
        Self::Fail,
        Self::Merge,
        Self::Full,
        Self::Functions,
        Self::State,
        Self::Pieces,
        Self::VerifyEqual,
        Self::VerifyMissing,
        Self::VerifyExtra,
        Self::VerifyValue,
        Self::VerifyExpiry,
        Self::CleanupEqual,
        Self::CleanupDiffering,
        Self::Backup,
        Self::BackupDump,
        Self::Plan,
    ];

    /// Does the target hold what the source holds, before differences are planted?
    pub(super) fn starts_equal(self) -> bool {
        self.only_compares() || self.cleans_up()
    }

    fn only_compares(self) -> bool {
        use Flow::{VerifyEqual, VerifyExpiry, VerifyExtra, VerifyMissing, VerifyValue};
        [VerifyEqual, VerifyMissing, VerifyExtra, VerifyValue, VerifyExpiry].contains(&self)
    }

    fn cleans_up(self) -> bool {
        matches!(self, Self::CleanupEqual | Self::CleanupDiffering)
    }

    pub(super) fn saves(self) -> bool {
        matches!(self, Self::Backup | Self::BackupDump)
    }

    /// May it delete keys of the source?
    pub(super) fn deletes(self) -> bool {
        self == Self::Move || self.cleans_up()
    }

    /// May it write to the target?
    pub(super) fn writes(self) -> bool {
        !self.starts_equal() && !self.saves() && self != Self::Plan
    }

    /// The command line, with short limits; `place` is a folder for files.
    pub(super) fn command(self, source: &str, target: &str, place: &Path) -> Keyferry {
        let command = match self {
            Self::Plan => Keyferry::plan(source, target),
            _ if self.only_compares() => Keyferry::verify(source, target),
            _ if self.cleans_up() => Keyferry::cleanup(source, target).arg("--force"),
            _ if self.saves() => {
                Keyferry::new().arg("backup").arg(source).arg(place.join("saved.rdb")).with_report()
            }
            _ => Keyferry::copy(source, target),
        };
        let options: &[&str] = match self {
            Self::CopyDump | Self::BackupDump => &["--fetch", "dump"],
            Self::Move => &["--delete-source"],
            Self::Skip => &["--if-exists", "skip"],
            Self::Fail => &["--if-exists", "fail"],
            Self::Merge => &["--if-exists", "merge"],
            Self::Full => &["--verify", "full"],
            Self::Functions => &["--with-functions"],
            _ => &[],
        };
        let command = if self == Self::State {
            command.arg("--state").arg(place.join("state.json"))
        } else {
            command
        };
        let limits = ["--retry-budget", "3s", "--reply-timeout", "3s", "--connect-timeout", "3s"];
        command.args(options).args(["--connections", "2"]).args(limits)
    }
}
