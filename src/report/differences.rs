//! What a comparison found: counted, the first ones named, all of them written where asked for.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::lines::Lines;
use crate::files::Output;

/// Differences that a report and a summary name; all are counted.
const NAMED: usize = 20;
/// Kinds of differences.
const KINDS: usize = DifferenceKind::Uncompared as usize + 1;
/// How much of a key they show, in characters of its escaped form.
const SHOWN: usize = 64;

/// In what way a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// The source holds it, the target does not.
    Missing,
    /// The target holds it, the source does not.
    Extra,
    /// Type or value differ.
    Different,
    /// The value is the same, but it expires at another time.
    Expiry,
    /// It could not be deleted from the source, or not be compared before.
    Kept,
    /// A copy could not look at it on both sides: neither proven nor different.
    Uncompared,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The source database.
    pub db: u32,
    /// The target database.
    pub target_db: u32,
    /// The key, escaped.
    pub key: String,
    /// In what way.
    pub kind: DifferenceKind,
    /// The same for people, without any value.
    pub what: String,
}

/// All differences of a run.
#[derive(Debug, Default)]
pub struct Differences {
    counts: [AtomicU64; KINDS],
    /// By source and target database.
    of_databases: Mutex<BTreeMap<(u32, u32), [u64; KINDS]>>,
    named: Mutex<Vec<Difference>>,
    lines: Lines,
}

impl Differences {
    /// Differences that are written to this file as well, a JSON object a line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn into_file(path: &Path) -> io::Result<Self> {
        Ok(Self { lines: Lines::of(Output::begin(path)?)?, ..Self::default() })
    }

    /// One more.
    pub fn tell(&self, difference: Difference) {
        self.add((difference.db, difference.target_db), difference.kind, 1);
        self.lines.write_with(|| &difference);
        let mut named = held(&self.named);
        if named.len() < NAMED {
            let key = match difference.key.get(..SHOWN) {
                Some(shown) if shown.len() < difference.key.len() => format!("{shown}…"),
                _ => difference.key,
            };
            named.push(Difference { key, ..difference });
        }
    }

    /// Counts some of a source and target database, without naming them.
    pub fn add(&self, place: (u32, u32), kind: DifferenceKind, number: u64) {
        self.counts[kind as usize].fetch_add(number, Ordering::Relaxed);
        held(&self.of_databases).entry(place).or_default()[kind as usize] += number;
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: DifferenceKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// How many there are of a kind in a source and target database.
    pub fn count_in(&self, place: (u32, u32), kind: DifferenceKind) -> u64 {
        held(&self.of_databases).get(&place).map_or(0, |counts| counts[kind as usize])
    }

    /// The first ones.
    pub fn named(&self) -> Vec<Difference> {
        held(&self.named).clone()
    }

    /// Ends the file; if the differences are not `wanted`, it is as it was before.
    ///
    /// # Errors
    /// The first thing that went wrong with the file.
    pub fn finish(&self, wanted: bool) -> io::Result<()> {
        self.lines.finish(wanted)
    }
}

/// Lists stay usable when a task that held them panicked: they are only ever added to.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_written_and_the_first_are_named() {
        let path = std::env::temp_dir().join(format!("differences-{}", std::process::id()));
        let differences = Differences::into_file(&path).unwrap();
        for number in 0..50 {
            differences.tell(Difference {
                db: 1,
                target_db: 0,
                key: format!("{number}{}", "x".repeat(90)),
                kind: DifferenceKind::Expiry,
                what: "why".into(),
            });
        }
        differences.finish(true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count(), 50);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["kind"], "expiry");
        assert_eq!(line["key"].as_str().map(str::len), Some(91));
        assert_eq!(differences.count(DifferenceKind::Expiry), 50);
        assert_eq!(differences.count(DifferenceKind::Missing), 0);
        assert_eq!(differences.count_in((1, 0), DifferenceKind::Expiry), 50);
        assert_eq!(differences.count_in((0, 0), DifferenceKind::Expiry), 0);
        let named = differences.named();
        assert_eq!(named.len(), NAMED);
        assert!(named[0].key.ends_with("x…") && named[0].key.len() < 91);
    }
}
