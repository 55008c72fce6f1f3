//! The counters of a run and its databases, and what is named beside them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::counts::{BYTES, COUNTS, Count, Counts, Kept};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::differences::Differences;
use super::latency::{Latency, Stage};
use super::own::OwnNames;
use crate::units::printable;

/// Failed keys, and keys copied in part, that a report names; all are counted.
const FAILURES_NAMED: usize = 1_000;

/// The counters of one database; tasks add to them once a batch, not once a key.
#[derive(Debug)]
pub struct DatabaseStats {
    /// Its number on the source.
    pub source_db: u32,
    /// Its number on the target.
    pub target_db: u32,
    /// Keys it held when the run began.
    pub expected: u64,
    counters: [AtomicU64; COUNTS],
    bytes: AtomicU64,
    /// Keys that were not copied, where that matters later.
    own: Option<Mutex<OwnNames>>,
}

impl DatabaseStats {
    /// Counts a key that kept the target's own value, or got members beside its own.
    pub fn keep_own(&self, count: Count, name: &[u8]) {
        if let Some(own) = &self.own {
            held(own).add(name);
        }
        self.add(count, 1);
    }

    /// Whether a key kept the target's own value.
    pub fn is_own(&self, name: &[u8]) -> bool {
        self.own.as_ref().is_some_and(|own| held(own).has(name))
    }

    /// How many keys did.
    pub fn own(&self) -> u64 {
        let counts = self.counts();
        counts.skipped + counts.merged + counts.failed
    }

    /// Whether it is known which keys did, those of an earlier run included.
    pub fn knows_own(&self) -> bool {
        let known = self.own.as_ref().and_then(|own| held(own).known());
        self.own() == known.unwrap_or(0)
    }

    /// Counts `keys` more. Whoever sees the sum also sees what was done before it was added to: a
    /// run that was told to stop, say.
    pub fn add(&self, count: Count, keys: u64) {
        self.counters[count as usize].fetch_add(keys, Ordering::Release);
    }

    /// The counters to be kept.
    pub fn keep(&self) -> Kept {
        let of = |count: Count| self.counters[count as usize].load(Ordering::Acquire);
        let counts = Count::NAMED.iter().map(|&(count, name)| (name.to_owned(), of(count)));
        counts.filter(|(_, sum)| *sum > 0).chain([(BYTES.to_owned(), self.bytes())]).collect()
    }

    /// Adds what an earlier run had counted.
    pub fn restore(&self, kept: &Kept) {
        let of = |name: &str| kept.get(name).copied().unwrap_or_default();
        Count::NAMED.iter().for_each(|&(count, name)| self.add(count, of(name)));
        self.add_bytes(of(BYTES));
    }

    /// Takes failed keys out of the counts: they are copied, or looked at, again.
    fn forget_failures(&self) {
        let failed = self.counters[Count::Failed as usize].swap(0, Ordering::AcqRel);
        self.counters[Count::Scanned as usize].fetch_sub(failed, Ordering::AcqRel);
    }

    /// Takes copied keys out of the counts: what they were written to is not there any more.
    pub fn forget_copied(&self) {
        let copied = self.counters[Count::Copied as usize].swap(0, Ordering::AcqRel);
        self.counters[Count::Scanned as usize].fetch_sub(copied, Ordering::AcqRel);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Counts payload bytes that the target acknowledged.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Payload bytes that the target acknowledged.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The counters now.
    pub fn counts(&self) -> Counts {
        let of = |count: Count| self.counters[count as usize].load(Ordering::Acquire);
        Counts {
            scanned: of(Count::Scanned),
            copied: of(Count::Copied),
            replaced: of(Count::Replaced),
            by_commands: of(Count::ByCommands),
            by_footer: of(Count::ByFooter),
            reencoded: of(Count::Reencoded),
            lessened: of(Count::Lessened),
            lost_field_expiries: of(Count::LostFieldExpiries),
            skipped: of(Count::Skipped),
            merged: of(Count::Merged),
            filtered: of(Count::Filtered),
            expired: of(Count::Expired),
            failed: of(Count::Failed),
            deleted_from_source: of(Count::DeletedFromSource),
            kept_on_source: of(Count::KeptOnSource),
            compared: of(Count::Compared),
        }
    }
}

/// A key that was not copied, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The source database.
    pub db: u32,
    /// The key, escaped and cut.
    pub key: String,
    /// The reason.
    pub error: String,
}

/// A key that was copied, but not all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The source database.
    pub db: u32,
    /// The key, escaped and cut.
    pub key: String,
    /// What of it is not on the target.
    pub lost: String,
}

/// A key that was deleted from the source, and that the target may have lost since it was last seen
/// intact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InDoubt {
    /// The source database.
    pub db: u32,
    /// The key, escaped.
    pub key: String,
}

/// All counters of a run.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    databases: Mutex<Vec<Arc<DatabaseStats>>>,
    failures: Mutex<Vec<Failure>>,
    losses: Mutex<Vec<Loss>>,
    in_doubt: Mutex<Vec<InDoubt>>,
    latency: Mutex<Latency>,
    differences: Differences,
    dead_letters: DeadLetters,
    remembers_own: AtomicBool,
    written: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            databases: Mutex::default(),
            failures: Mutex::default(),
            losses: Mutex::default(),
            in_doubt: Mutex::default(),
            latency: Mutex::default(),
            differences: Differences::default(),
            dead_letters: DeadLetters::default(),
            remembers_own: AtomicBool::new(false),
            written: AtomicU64::new(0),
        }
    }
}

impl Stats {
    /// Counters of a run whose differences and failed keys are told to these.
    pub fn telling(differences: Differences, dead_letters: DeadLetters) -> Self {
        Self { differences, dead_letters, ..Self::default() }
    }

    /// Counts commands that wrote keys and that the target acknowledged.
    pub fn add_written(&self, commands: u64) {
        self.written.fetch_add(commands, Ordering::Relaxed);
    }

    /// How many commands wrote keys and were acknowledged, at least: values that go in pieces or are merged
    /// take more.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// From now on, databases remember which keys kept the target's own value.
    pub fn remember_own(&self) {
        self.remembers_own.store(true, Ordering::Relaxed);
    }

    /// The counters of a source database that goes into a target database.
    pub fn of_route(&self, source_db: u32, target_db: u32) -> Option<Arc<DatabaseStats>> {
        let place = (source_db, target_db);
        held(&self.databases).iter().find(|of| (of.source_db, of.target_db) == place).cloned()
    }

    /// The keys that were not copied.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// What a comparison finds.
    pub fn differences(&self) -> &Differences {
        &self.differences
    }

    /// Adds a database that will be worked on.
    pub fn database(&self, source_db: u32, target_db: u32, expected: u64) -> Arc<DatabaseStats> {
        let stats = Arc::new(DatabaseStats {
            source_db,
            target_db,
            expected,
            counters: Default::default(),
            bytes: AtomicU64::new(0),
            own: self.remembers_own.load(Ordering::Relaxed).then(Mutex::default),
        });
        held(&self.databases).push(stats.clone());
        stats
    }

    /// The databases, in the order they were added.
    pub fn databases(&self) -> Vec<Arc<DatabaseStats>> {
        held(&self.databases).clone()
    }

    /// Counts a key as failed, names it, and writes it to the dead letters.
    pub fn fail(&self, database: &DatabaseStats, name: &[u8], error: &str) {
        let (db, target_db) = (database.source_db, database.target_db);
        self.dead_letters.tell(|| DeadLetter::new(db, target_db, name, error));
        let mut failures = held(&self.failures);
        if failures.len() < FAILURES_NAMED {
            failures.push(Failure { db, key: printable(name), error: error.to_owned() });
        }
        // Last: a count that is kept for a later run has its letter and its name.
        database.keep_own(Count::Failed, name);
    }

    /// Counts a key as failed of whose name only the beginning is known: no letter can name it.
    pub fn fail_unnamed(&self, database: &DatabaseStats, beginning: &[u8], error: &str) {
        self.dead_letters.lack();
        let mut failures = held(&self.failures);
        if failures.len() < FAILURES_NAMED {
            let key = format!("{}…", printable(beginning));
            failures.push(Failure { db: database.source_db, key, error: error.to_owned() });
        }
        database.add(Count::Failed, 1);
    }

    /// Counts a key as copied in part and names it.
    pub fn lose(&self, database: &DatabaseStats, name: &[u8], lost: String) {
        database.add(Count::Lessened, 1);
        let mut losses = held(&self.losses);
        if losses.len() < FAILURES_NAMED {
            losses.push(Loss { db: database.source_db, key: printable(name), lost });
        }
    }

    /// The keys copied in part that are named.
    pub fn losses(&self) -> Vec<Loss> {
        held(&self.losses).clone()
    }

    /// Names a key that was deleted from the source and may be lost on the target, also in the dead
    /// letters. Whoever tells these keeps them few.
    pub fn doubt(&self, (db, target_db): (u32, u32), name: &[u8], why: &str) {
        self.dead_letters.tell(|| DeadLetter::new(db, target_db, name, why));
        held(&self.in_doubt).push(InDoubt { db, key: name.escape_ascii().to_string() });
    }

    /// The keys that were deleted and may be lost, all of them.
    pub fn in_doubt(&self) -> Vec<InDoubt> {
        held(&self.in_doubt).clone()
    }

    /// The failed keys that are named.
    pub fn failures(&self) -> Vec<Failure> {
        held(&self.failures).clone()
    }

    /// Takes all failed keys back, in the counts and in the dead letters: each is copied, or looked
    /// at, again.
    ///
    /// # Errors
    /// The dead letters cannot be written.
    pub fn forget_failures(&self) -> io::Result<()> {
        if self.totals().0.failed == 0 {
            return Ok(());
        }
        held(&self.databases).iter().for_each(|database| database.forget_failures());
        held(&self.failures).clear();
        self.dead_letters.clear()
    }

    /// Names keys that failed in an earlier run; they are counted already.
    pub fn name_failures(&self, named: impl IntoIterator<Item = Failure>) {
        let mut failures = held(&self.failures);
        let room = FAILURES_NAMED.saturating_sub(failures.len());
        failures.extend(named.into_iter().take(room));
    }

    /// The sums over all databases.
    pub fn totals(&self) -> (Counts, u64) {
        let mut counts = Counts::default();
        let mut bytes = 0;
        for database in held(&self.databases).iter() {
            counts.add(&database.counts());
            bytes += database.bytes();
        }
        (counts, bytes)
    }

    /// Keys that all databases held when the run began.
    pub fn expected(&self) -> u64 {
        held(&self.databases).iter().map(|database| database.expected).sum()
    }

    /// Merges what one task measured.
    pub fn add_latency(&self, stage: Stage, measured: &Latency) {
        held(&self.latency).merge(stage, measured);
    }

    /// All that was measured.
    pub fn latency(&self) -> Latency {
        held(&self.latency).clone()
    }

    /// When the run began.
    pub fn started(&self) -> Instant {
        self.started
    }
}

/// Counters stay usable when a task that held them panicked: they are only ever added to.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up_and_names_are_bounded() {
        let stats = Stats::default();
        let one = stats.database(0, 0, 5);
        let other = stats.database(1, 3, 7);
        one.add(Count::Scanned, 3);
        one.add(Count::Copied, 2);
        other.add(Count::Scanned, 2_000);
        for number in 0..2_000 {
            stats.fail(&other, number.to_string().as_bytes(), "why");
        }
        one.add(Count::Expired, 1);
        one.add_bytes(10);
        let again = Stats::default().database(1, 3, 7);
        again.restore(&other.keep());
        assert_eq!((again.counts(), again.keep()), (other.counts(), other.keep()));
        let (counts, bytes) = stats.totals();
        assert_eq!((counts.scanned, counts.settled(), bytes), (2_003, 2_003, 10));
        assert_eq!(stats.failures().len(), FAILURES_NAMED);
        assert_eq!(stats.expected(), 12);
    }
}
