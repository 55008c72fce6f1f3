//! What to type after a run that was stopped: never what would destroy what its options were to keep.

use super::json::{Outcome, Report};

/// Where a scan that was stopped is gone on with.
const BY_STATE: &str = "with --state FILE a run goes on where it was stopped";

/// What to type after a run that can be gone on with, or that was interrupted.
pub fn way_on(report: &Report) -> Option<String> {
    if let Some(checkpoint) = &report.checkpoint {
        return Some(format!("The same command goes on from here: {checkpoint}"));
    }
    if report.outcome != Outcome::Interrupted {
        return None;
    }
    let text = match report.command {
        "cleanup" if !report.dry_run => "The same command deletes the rest",
        "copy" if has_written(report) => after_copy(report.if_exists),
        _ => return Some("The same command begins again".to_owned()),
    };
    // A copy of a file, or of the keys that failed, keeps no state.
    let keeps_state = report.command == "copy" && report.may_keep_state;
    Some(if keeps_state { format!("{text}; {BY_STATE}") } else { text.to_owned() })
}

/// What was cut off by a run that was stopped at once.
pub fn cut_off(report: &Report) -> &'static str {
    match report.command {
        "copy" if has_written(report) => "stopped at once; keys in flight may have arrived",
        "cleanup" if !report.dry_run && report.keys.scanned > 0 => {
            "stopped at once; keys in flight may have been deleted"
        }
        _ => "stopped at once",
    }
}

/// Whether a copy has written keys, or may have: what is in flight is in no count but `scanned`.
fn has_written(report: &Report) -> bool {
    let keys = &report.keys;
    let settled = keys.settled() == keys.scanned;
    !report.dry_run && (keys.copied + keys.merged + keys.failed > 0 || !settled)
}

/// How a copy goes on, by what it was to do with keys that the target holds.
fn after_copy(if_exists: &str) -> &'static str {
    match if_exists {
        "replace" => {
            "The same command goes on: it copies all keys again, those that have arrived, too"
        }
        "skip" => "The same command goes on: keys that have arrived stay and count as skipped",
        "merge" => {
            "The same command goes on: keys that have arrived stay, and collections get the members that they lack"
        }
        "fail" => {
            "The same command goes on, but keys that have arrived count as failed, since they exist then; under \
             the policy skip they count as skipped"
        }
        _ => "To go on, add --if-exists replace (or skip) to the same command",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::Peer;
    use crate::report::{Count, Stats};

    fn stopped(command: &'static str, count: Count, keys: u64) -> Report {
        let stats = Stats::default();
        let database = stats.database(0, 0, 0);
        database.add(Count::Scanned, keys);
        database.add(count, keys);
        let mut report = Report::new(command, Peer::default(), Peer::default(), &stats);
        report.outcome = Outcome::Interrupted;
        report
    }

    #[test]
    fn replace_is_advised_only_to_who_has_named_no_policy() {
        for policy in ["", "replace", "skip", "merge", "fail"] {
            let mut report = stopped("copy", Count::Copied, 1);
            report.if_exists = policy;
            let text = way_on(&report).unwrap();
            assert_eq!(text.contains("--if-exists replace"), policy.is_empty(), "{text}");
            assert_eq!(text.contains("The same command goes on"), !policy.is_empty(), "{text}");
            report.dry_run = true;
            assert_eq!(way_on(&report).unwrap(), "The same command begins again");
            let mut report = stopped("copy", Count::Filtered, 1);
            report.if_exists = policy;
            assert_eq!(way_on(&report).unwrap(), "The same command begins again");
            assert_eq!(cut_off(&report), "stopped at once");
        }
        let in_flight = stopped("copy", Count::Replaced, 1);
        assert!(cut_off(&in_flight).contains("may have arrived"));
    }
}
