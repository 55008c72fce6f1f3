//! What has to hold after a run that deletes, however hostile it was.
//!
//! **The rule.** Every key of the source is, at the end, on the source as it was, or on the target as it was
//! (value and expiry). A key on neither side is excused in two cases only, both of them acts that take from
//! the target what it held:
//!
//! - *Taken*: before the act the key had left the source, and the target held it. Nobody can bring it back;
//!   whoever deletes has to have stopped by then, and the run must not say that it is there.
//! - *In doubt*: it was deleted after the act by a transaction that was on its way, allowed by what was true
//!   before. Those have to be named by the report, in `deleted_in_doubt`.
//!
//! A run that is killed writes no report: at that moment nothing may be on neither side, since nothing was
//! taken from the target yet. What the act takes then is known from a look at both sides between the two, and
//! the run that goes on may not end with 0 over it.

use std::collections::BTreeSet;
use std::fmt;

use super::act::Witness;
use super::data::{DATABASES, inventory};
use super::plan::{Act, Job, Plan};
use crate::support::inventory::{Inventory, Key};
use crate::support::keyferry::Run;
use crate::support::server::Server;

/// What was found, in numbers.
pub(super) struct Found {
    pub(super) deleted: usize,
    pub(super) taken: usize,
    /// Of those taken, how many the report doesn't name among the doubtful.
    pub(super) taken_unnamed: usize,
    pub(super) in_doubt: usize,
    /// Keys on neither side.
    pub(super) lost: BTreeSet<Key>,
}

impl fmt::Display for Found {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deleted, taken, taken_unnamed, in_doubt, lost } = self;
        let lost = lost.len();
        write!(out, "{deleted} deleted, {lost} on neither side, {taken} of them taken ")?;
        write!(out, "({taken_unnamed} of these not named), {in_doubt} in doubt")
    }
}

/// Panics unless it holds, with the target that there is at the end.
#[track_caller]
pub(super) fn check(
    plan: &Plan,
    run: &Run,
    before: &Inventory,
    [source, target]: [&Server; 2],
    witness: Option<&Witness>,
) -> Found {
    let (left, held) = (inventory(source), inventory(target));
    let names = Inventory::names_on(source, &DATABASES);
    let deleted = before.keys().filter(|key| !names.contains(*key)).count();
    let lost: BTreeSet<Key> = before
        .keys()
        .filter(|key| before.lacks(key, &left).is_some() && before.lacks(key, &held).is_some())
        .cloned()
        .collect();
    let taken: BTreeSet<Key> = taken(plan, before, witness, run).into_iter().collect();
    let in_doubt = doubtful(run);
    let excused =
        |key: &Key| plan.act.destroys() && (taken.contains(key) || in_doubt.contains(key));
    let unexcused: Vec<String> = lost
        .iter()
        .filter(|key| !excused(key))
        .map(|key| lacks(before, key, &left, &held))
        .collect();
    let count = unexcused.len();
    let some = unexcused.get(..5).unwrap_or(&unexcused);
    assert!(count == 0, "{count} keys are on neither side: {some:?}{}", run.frame());
    let named_and_there = in_doubt.iter().find(|key| names.contains(*key));
    assert!(named_and_there.is_none(), "{named_and_there:?} was not deleted{}", run.frame());
    check_end(plan, run, before, [&left, &held], lost.len());
    if plan.act != Act::KilledAndFlushed && run.code() != Some(4) {
        let told = usize::try_from(run.count("deleted_from_source")).expect("small");
        // Whether a transaction was carried out whose reply was cut off need not be known.
        let fits = told == deleted || plan.act == Act::Cuts && told < deleted;
        assert!(fits, "{told} are said to be deleted, {deleted} are{}", run.frame());
    }
    Found {
        deleted,
        taken: taken.intersection(&lost).count(),
        taken_unnamed: taken.intersection(&lost).filter(|key| !in_doubt.contains(*key)).count(),
        in_doubt: in_doubt.len(),
        lost,
    }
}

/// The keys that the target was shown to hold, and that had left the source, when the act came.
#[track_caller]
fn taken(plan: &Plan, before: &Inventory, witness: Option<&Witness>, run: &Run) -> Vec<Key> {
    let Some(Witness { gone, target }) = witness else { return Vec::new() };
    let unproven: Vec<&Key> =
        gone.iter().filter(|key| before.lacks(key, target).is_some()).collect();
    let some = unproven.get(..5).unwrap_or(&unproven);
    assert!(
        unproven.is_empty(),
        "{} keys had left the source before {:?}, and the target did not hold them: {some:?}{}",
        unproven.len(),
        plan.act,
        run.frame()
    );
    gone.clone()
}

fn lacks(before: &Inventory, key: &Key, left: &Inventory, held: &Inventory) -> String {
    let on = |side| before.lacks(key, side).unwrap_or_default();
    let name = key.1.escape_ascii();
    format!("db {} {name} on the source {}, on the target {}", key.0, on(left), on(held))
}

/// The keys that the report lists as deleted since the last moment that was certain.
fn doubtful(run: &Run) -> BTreeSet<Key> {
    let report = if run.code().is_some() { run.report() } else { return BTreeSet::new() };
    let list = report["deleted_in_doubt"].as_array().cloned().unwrap_or_default();
    let key = |one: &serde_json::Value| -> Key {
        let db = one["db"].as_u64().and_then(|db| u32::try_from(db).ok()).expect("a database");
        (db, one["key"].as_str().expect("a key").as_bytes().to_vec())
    };
    list.iter().map(key).collect()
}

/// The exit code and what is said.
#[track_caller]
fn check_end(plan: &Plan, run: &Run, before: &Inventory, sides: [&Inventory; 2], lost: usize) {
    let [left, held] = sides;
    if plan.act.is_refused() {
        run.assert_code(&[4]);
        assert_eq!(left.len(), before.len(), "the source was written to{}", run.frame());
        if plan.act == Act::EvictsUnasked {
            assert_eq!(held.len(), 0, "the target was written to{}", run.frame());
        }
        return;
    }
    run.assert_code(&[0, 1]);
    if plan.act == Act::Evicts {
        run.assert_code(&[1]);
    }
    let moved = before.keys().filter(|key| before.lacks(key, held).is_none()).count();
    let all = before.len();
    if run.code() == Some(0) {
        assert_eq!((left.len(), moved), (0, all), "exit code 0: left and moved{}", run.frame());
    }
    let praised = run.stdout.to_lowercase().contains("every key");
    let what = if plan.job == Job::Move { "moved" } else { "proven" };
    assert!(!(praised && (lost > 0 || moved < all)), "{what} {moved} of {all}{}", run.frame());
}
