//! Is what a run says true? Compared with what is really on both servers.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::plan::{Plan, Side, Upheaval};
use crate::faults::{Key, letters};
use crate::support::compare::{Difference, What, compare};
use crate::support::dataset::SAME_NUMBERS;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::moments::is_moving;
use crate::support::server::Server;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Both sides are equal.
    Equal,
    /// With an error, and the names of exactly the keys that differ.
    Named,
    /// A server went away for good: with what can be known then.
    Gone,
    /// A server had never answered: nothing was copied, nothing is named.
    Unmet,
}

/// Panics if it is not true, of a source that held so many keys in the beginning, and where both servers
/// may have `greeted`; answers how the run ended, and that in a few words.
#[track_caller]
pub(crate) fn check(
    plan: &Plan,
    run: &Run,
    source: &Server,
    target: &Server,
    failures: &Path,
    (keys, greeted): (usize, bool),
) -> (End, String) {
    let mut found = compare(source, target, &SAME_NUMBERS);
    // Clients have written to them after they were copied.
    found.retain(|d| d.what == What::Missing || !is_moving(&d.key));
    let report = run.report();
    // A run that never began has no list.
    let unbegun = run.code() != Some(0) && run.count("scanned") == 0;
    let letters = if unbegun && !failures.exists() { Vec::new() } else { letters(failures) };
    assert_eq!(letters.len() as u64, run.count("failed"), "{}", run.frame());
    if run.code() == Some(0) {
        assert_eq!(run.outcome(), "complete", "{}", run.frame());
        assert_none("complete, but", &found, run);
        return (End::Equal, format!("complete, {} copied", run.count("copied")));
    }
    run.assert_code(&[1, 3]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    // A key is there as it should be, or it is not there: never half, never another value.
    let wrong = found.iter().filter(|d| d.what != What::Missing && !is_left_behind(d, run, target));
    assert_none("not whole:", wrong, run);
    let named: BTreeSet<&Key> = letters.iter().map(|(key, _)| key).collect();
    let lacking: BTreeSet<Key> = found
        .iter()
        .filter(|difference| difference.what == What::Missing)
        .map(|difference| (difference.pair.0, difference.key.clone()))
        .collect();
    let unnamed: Vec<&Difference> = found
        .iter()
        .filter(|d| d.what == What::Missing && !named.contains(&(d.pair.0, d.key.clone())))
        .collect();
    let unmet = !has_met(report);
    // Who has answered once is waited for.
    assert!(!unmet || plan.deadly.is_some() || !greeted, "ended too soon{}", run.frame());
    let end = match plan.deadly {
        _ if unmet => End::Unmet,
        Some(_) => End::Gone,
        None => End::Named,
    };
    if let Some(error) = report["error"].as_str() {
        // The cause, and not a connection that was about to be made again.
        let may_end = plan.upheaval == Upheaval::OutOfMemory && error.contains("OOM");
        assert!(may_end || end != End::Named, "given up: {error}{}", run.frame());
    }
    let complete = report["dead_letters_complete"] == true;
    assert!(complete || end != End::Named, "not all are named{}", run.frame());
    // A target that was restarted and is gone then may have lost what it had acknowledged.
    let lost = plan.deadly == Some(Side::Target) && plan.upheaval == Upheaval::Restart;
    if complete {
        assert_none("not named:", unnamed.iter().copied(), run);
    } else if !lost && plan.upheaval != Upheaval::Restart {
        let unseen = (keys as u64).saturating_sub(run.count("scanned"));
        assert!(
            unnamed.len() as u64 <= unseen,
            "{} of {keys} keys differ and are not named, but only {unseen} were not read{}",
            unnamed.len(),
            run.frame()
        );
    }
    // Only of a server that is gone nobody knows whether it carried out what it did not answer.
    let there = letters.iter().filter(|(key, _)| !lacking.contains(key) && !is_moving(&key.1));
    for (key, why) in there {
        let expired = !source.client(key.0).exists(&key.1);
        let unread = why.contains("before this key was copied");
        // What a pass before had written to a target that was restarted in between may be there.
        let unanswered = plan.deadly.is_some() && (!unread || plan.upheaval == Upheaval::Restart);
        let what = format!("{:?} is there, and was named: {why}", key.1.escape_ascii().to_string());
        assert!(expired || unanswered, "{what}{}", run.frame());
    }
    then_the_same_again(source, target, plan, run);
    let copied = run.count("copied");
    let (missing, named) = (lacking.len(), named.len());
    let there = letters.iter().filter(|(key, _)| !lacking.contains(key)).count();
    let told = format!(
        "incomplete, {copied} copied, {missing} missing, {named} named, {there} of them are there or \
         have expired, {} not named; gone for good: {:?}, both met: {}, {:?}, says complete: {complete}",
        unnamed.len(),
        plan.deadly,
        has_met(report),
        plan.upheaval,
    );
    (end, told)
}

/// Whether both servers had said what they are.
fn has_met(report: &Value) -> bool {
    ["source", "target"].iter().all(|side| report[side]["server"] != "")
}

/// A temporary key that could not be removed any more: it is told, has an expiry, and is removed here.
fn is_left_behind(extra: &Difference, run: &Run, target: &Server) -> bool {
    const HOUR: i64 = 3_600_000;
    if extra.what != What::Extra || !extra.key.starts_with(b"keyferry:tmp:") {
        return false;
    }
    let mut client = target.client(extra.pair.1);
    let left: i64 = client.call(redis::cmd("PTTL").arg(&extra.key));
    client.run(redis::cmd("DEL").arg(&extra.key));
    run.stderr.contains("may stay on the target for an hour") && (1..=HOUR).contains(&left)
}

/// Once the trouble is over, the advice that every error gives helps.
#[track_caller]
fn then_the_same_again(source: &Server, target: &Server, plan: &Plan, before: &Run) {
    if plan.upheaval == Upheaval::OutOfMemory {
        target.client(0).run(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    }
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--if-exists", "replace", "--lossy"])
        .run();
    run.assert_code(&[0]);
    assert_none("the second time:", &compare(source, target, &SAME_NUMBERS), before);
}

#[track_caller]
fn assert_none<'a>(what: &str, found: impl IntoIterator<Item = &'a Difference>, run: &Run) {
    let lines: Vec<String> = found.into_iter().map(Difference::to_string).collect();
    let shown = lines.get(..10).unwrap_or(&lines).join("\n  ");
    assert!(lines.is_empty(), "{what} {} keys differ:\n  {shown}{}", lines.len(), run.frame());
}
