//! The account book of one database, as its tasks write to it.

use std::sync::Arc;

use super::counts::{Count, Counts, Kept};
use super::latency::{Latency, Stage};
use super::left::{Ahead, Left, Shared};
use super::stats::{DatabaseStats, Stats};

/// The counters that one task writes to: those of its database, and the run's list of failures.
#[derive(Clone, Debug)]
pub struct Ledger {
    stats: Arc<Stats>,
    database: Arc<DatabaseStats>,
    left: Option<Arc<Shared>>,
}

impl Ledger {
    /// The counters of one database of a run.
    pub fn new(stats: Arc<Stats>, database: Arc<DatabaseStats>) -> Self {
        Self { stats, database, left: None }
    }

    /// Likewise; where there is a file for dead letters, it is kept what a run leaves that is given
    /// up: whoever made this takes it, with [`Self::take_left`].
    pub fn keeping_left(stats: Arc<Stats>, database: Arc<DatabaseStats>) -> Self {
        let left = stats.dead_letters().are_kept().then(Arc::default);
        Self { stats, database, left }
    }

    /// Counts `keys` more.
    pub fn add(&self, count: Count, keys: u64) {
        if keys > 0 {
            self.database.add(count, keys);
        }
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        self.database.counts()
    }

    /// Counts payload bytes that the target acknowledged.
    pub fn add_bytes(&self, bytes: u64) {
        self.database.add_bytes(bytes);
    }

    /// Counts commands that wrote keys and that the target acknowledged.
    pub fn add_written(&self, commands: u64) {
        self.stats.add_written(commands);
    }

    /// Counts a key as failed and names it.
    pub fn fail(&self, name: &[u8], error: &str) {
        self.stats.fail(&self.database, name, error);
    }

    /// Counts a key as failed of whose name only the beginning is known.
    pub fn fail_unnamed(&self, beginning: &[u8], error: &str) {
        self.stats.fail_unnamed(&self.database, beginning, error);
    }

    /// Counts a key that kept the target's own value, or got members beside its own.
    pub fn keep_own(&self, count: Count, name: &[u8]) {
        self.database.keep_own(count, name);
    }

    /// The run ends before this key has its answer, which may have been lost on its way. It is counted
    /// as failed, now or once it was looked at again.
    pub fn give_up(&self, name: &[u8], why: &str) {
        if !self.left.as_ref().is_some_and(|left| left.give_up(name, why)) {
            self.fail(name, why);
        }
    }

    /// The run ends before anybody asked for this key, which is in no count.
    pub fn leave(&self, name: &[u8]) {
        if let Some(left) = &self.left {
            left.leave(name);
        }
    }

    /// How far names have come that somebody took.
    pub fn reach(&self, ahead: impl FnOnce() -> Ahead) {
        if let Some(left) = &self.left {
            left.reach(ahead());
        }
    }

    /// All begins there: nothing is left.
    pub fn begin(&self, ahead: Ahead) {
        if let Some(left) = &self.left {
            left.begin(ahead);
        }
    }

    /// What is left, if that is kept.
    pub fn take_left(&self) -> Option<Left> {
        self.left.as_ref().map(|left| left.take())
    }

    /// Counts a key as copied in part and names it.
    pub fn lose(&self, name: &[u8], lost: String) {
        self.stats.lose(&self.database, name, lost);
    }

    /// Merges what a task measured.
    pub fn add_latency(&self, stage: Stage, measured: &Latency) {
        self.stats.add_latency(stage, measured);
    }

    /// The counters, to be kept.
    pub fn keep(&self) -> Kept {
        self.database.keep()
    }

    /// Adds what an earlier run had counted of the database.
    pub fn restore(&self, kept: &Kept) {
        self.database.restore(kept);
    }
}
