//! The summary that a person reads at the end.

use std::fmt::Write as _;
use std::time::Duration;

use super::json::{Outcome, Report};
use super::verdict::verdict;
use super::way_on::way_on;
use super::{Counts, Difference, Failure, preview};
use crate::units;

/// Failed keys that the summary names; the report names more.
const FAILURES_SHOWN: usize = 10;

/// The command of a report that compares and copies nothing.
const VERIFY: &str = "verify";
/// The command of a report that compares and deletes.
const CLEANUP: &str = "cleanup";

/// The summary of a run, several lines, each ended.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", headline(report));
    let _ = writeln!(text, "  from {}", peer(&report.source.endpoint, &report.source.server));
    let _ = writeln!(text, "  to   {}", peer(&report.target.endpoint, &report.target.server));
    if let Some(found) = &report.preflight {
        preview::preview(&mut text, found);
        return text;
    }
    databases(&mut text, report);
    failures(&mut text, &report.failures, report.keys.failed);
    losses(&mut text, report);
    if report.keys.kept_on_source > 0 {
        let kept = report.keys.kept_on_source;
        let stay = if kept == 1 { "stays" } else { "stay" };
        let why = "not the same on both sides, or not compared";
        let _ = writeln!(text, "{} {stay} on the source: {why}", units::keys(kept));
    }
    in_doubt(&mut text, report);
    match report.moved {
        true => moved(&mut text, report),
        false => verdict(&mut text, report),
    }
    differences(&mut text, report);
    if let Some(way_on) = way_on(report) {
        let _ = writeln!(text, "{way_on}");
    }
    text
}

fn headline(report: &Report) -> String {
    if let Some(found) = &report.preflight {
        return format!("Plan of a copy: {}", preview::verdict(found));
    }
    let keys = &report.keys;
    let compares = report.command == VERIFY;
    let backup = report.command == "backup";
    if report.dry_run && report.outcome != Outcome::Refused {
        return dry_headline(report);
    }
    let (verb, worked) = match () {
        () if compares => ("compared", keys.compared),
        () if backup => ("saved", keys.copied),
        () if report.command == CLEANUP => ("deleted", keys.deleted_from_source),
        () => ("copied", keys.copied),
    };
    let seconds = report.seconds.max(0.001);
    let took = units::duration(Duration::from_secs_f64(report.seconds.max(0.0)));
    let moved = format!(
        "{}, {} in {took} ({} keys/s, {}/s)",
        units::keys(worked),
        units::bytes(report.bytes),
        units::count((worked as f64 / seconds) as u64),
        units::bytes((report.bytes as f64 / seconds) as u64),
    );
    match report.outcome {
        // A backup is whole or not there.
        Outcome::Interrupted if backup => "INTERRUPTED: no file is left".to_owned(),
        Outcome::Incomplete if backup && report.error.is_some() => {
            "FAILED: no file is left".to_owned()
        }
        Outcome::Complete => format!("Done: {verb} {moved}"),
        Outcome::Incomplete if compares && !report.verified.agrees() => {
            format!("THE SIDES DIFFER: {verb} {moved}")
        }
        Outcome::Incomplete => format!("INCOMPLETE: {verb} {moved}"),
        Outcome::Interrupted => format!("INTERRUPTED: {verb} {moved}"),
        Outcome::Refused => "REFUSED: nothing was written".to_owned(),
        Outcome::DryRun => "Dry run: nothing was written".to_owned(),
    }
}

/// What a dry run would have done, as far as it came.
fn dry_headline(report: &Report) -> String {
    let keys = &report.keys;
    let would = match report.command {
        CLEANUP => {
            let equal = units::keys(keys.compared.saturating_sub(keys.kept_on_source));
            format!("would delete {equal}; nothing was deleted")
        }
        "backup" => format!("would save about {}; nothing was written", units::keys(keys.copied)),
        _ => format!("would copy {}; nothing was written", units::keys(keys.copied)),
    };
    match report.outcome {
        Outcome::Interrupted => format!("INTERRUPTED: {would}"),
        Outcome::Incomplete => format!("INCOMPLETE: {would}"),
        _ => format!("Dry run: {would}"),
    }
}

fn peer(endpoint: &str, server: &str) -> String {
    if server.is_empty() { endpoint.to_owned() } else { format!("{endpoint} ({server})") }
}

type Column = (&'static str, fn(&Counts) -> u64);

/// Columns that would show only zeros are left out.
fn databases(text: &mut String, report: &Report) {
    const COLUMNS: [Column; 10] = [
        ("scanned", |c| c.scanned),
        ("copied", |c| c.copied),
        ("compared", |c| c.compared),
        ("skipped", |c| c.skipped),
        ("merged", |c| c.merged),
        ("filtered", |c| c.filtered),
        ("gone", |c| c.expired),
        ("failed", |c| c.failed),
        ("deleted", |c| c.deleted_from_source),
        ("kept", |c| c.kept_on_source),
    ];
    if report.databases.is_empty() {
        return;
    }
    let worked = match report.command {
        VERIFY | CLEANUP => "compared",
        _ => "copied",
    };
    let always = ["scanned", worked];
    let columns: Vec<&Column> =
        COLUMNS.iter().filter(|(name, of)| always.contains(name) || of(&report.keys) > 0).collect();
    let _ = write!(text, "\n  {:>9}", "database");
    for (name, _) in &columns {
        let _ = write!(text, " {name:>13}");
    }
    let _ = writeln!(text, " {:>12}", "bytes");
    for (source, target, counts, bytes) in &report.databases {
        let name =
            if source == target { source.to_string() } else { format!("{source} -> {target}") };
        row(text, &name, &columns, counts, *bytes);
    }
    if report.databases.len() > 1 {
        row(text, "all", &columns, &report.keys, report.bytes);
    }
    text.push('\n');
}

fn row(text: &mut String, name: &str, columns: &[&Column], counts: &Counts, bytes: u64) {
    let _ = write!(text, "  {name:>9}");
    for (_, of) in columns {
        let _ = write!(text, " {:>13}", units::count(of(counts)));
    }
    let _ = writeln!(text, " {:>12}", units::bytes(bytes));
}

fn failures(text: &mut String, failures: &[Failure], failed: u64) {
    if failed == 0 {
        return;
    }
    let _ = writeln!(text, "{} failed:", units::keys(failed));
    for failure in failures.iter().take(FAILURES_SHOWN) {
        let _ = writeln!(text, "  db {} \"{}\": {}", failure.db, failure.key, failure.error);
    }
    and_more(text, failed);
}

fn losses(text: &mut String, report: &Report) {
    let keys = report.keys.lessened;
    if keys == 0 {
        return;
    }
    let _ = writeln!(text, "{} lost what the target has no room for:", units::keys(keys));
    for loss in report.losses.iter().take(FAILURES_SHOWN) {
        let _ = writeln!(text, "  db {} \"{}\": {}", loss.db, loss.key, loss.lost);
    }
    and_more(text, keys);
}

/// How many are not shown.
fn and_more(text: &mut String, all: u64) {
    if all > FAILURES_SHOWN as u64 {
        let more = units::count(all - FAILURES_SHOWN as u64);
        let _ = writeln!(text, "  … and {more} more (--report FILE names up to 1,000)");
    }
}

/// Every key that may be on neither side. They are few, and this may be the only place that names them.
fn in_doubt(text: &mut String, report: &Report) {
    if report.in_doubt.is_empty() {
        return;
    }
    let were = if report.in_doubt.len() == 1 { "was" } else { "were" };
    let _ = writeln!(
        text,
        "{} {were} deleted from the source and may be lost on the target:",
        units::keys(report.in_doubt.len() as u64)
    );
    for key in &report.in_doubt {
        let _ = writeln!(text, "  db {} \"{}\"", key.db, key.key);
    }
}

/// What was shown of the keys that a move deleted.
fn moved(text: &mut String, report: &Report) {
    if report.verified.mode == super::Mode::None {
        return;
    }
    let deleted = report.keys.deleted_from_source;
    // Where others failed or stay, that is no verdict on the move.
    let verdict = match report.keys.failed + report.keys.kept_on_source {
        0 => format!("Verified ({}): ", report.verified.mode.word()),
        _ => String::new(),
    };
    let _ = match deleted {
        0 => writeln!(text, "No key was deleted from the source"),
        _ => writeln!(
            text,
            "{verdict}{} the {} deleted from the source, each had the same value and expiry on \
             both sides at the moment it was deleted",
            if verdict.is_empty() { "Of" } else { "of" },
            units::keys(deleted),
        ),
    };
}

fn differences(text: &mut String, report: &Report) {
    for difference in &report.differences {
        let Difference { db, target_db, key, what, .. } = difference;
        let place = if db == target_db { db.to_string() } else { format!("{db} -> {target_db}") };
        let _ = writeln!(text, "  db {place} \"{key}\": {what}");
    }
    let found = &report.verified;
    let found = found.differing() + found.uncompared;
    let all = if report.moved { report.keys.kept_on_source } else { found };
    let more = all.saturating_sub(report.differences.len() as u64);
    if more > 0 && !report.differences.is_empty() {
        let more = units::count(more);
        let _ = writeln!(text, "  … and {more} more (--differences FILE names all of them)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::Peer;
    use crate::report::{Count, Stats};

    #[test]
    fn only_what_happened_takes_a_column() {
        let stats = Stats::default();
        let database = stats.database(1, 0, 3);
        database.add(Count::Scanned, 1_300);
        database.add(Count::Copied, 1_299);
        stats.fail(&database, b"a\0", "ERR Bad data format");
        let mut report = Report::new("copy", Peer::default(), Peer::default(), &stats);
        report.outcome = Outcome::Incomplete;
        let text = summary(&report);
        assert!(text.contains("1 -> 0") && text.contains("1,300"), "{text}");
        assert!(text.contains("failed") && !text.contains("skipped"), "{text}");
        assert!(text.contains("db 1 \"a\\x00\": ERR Bad data format"), "{text}");
        assert!(text.starts_with("INCOMPLETE"), "{text}");
    }
}
