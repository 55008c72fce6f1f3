//! The sentences about a verification: what was compared, for each database, and what was found.

use std::fmt::Write as _;

use super::json::{Outcome, Report};
use super::verified::{Mode, Proven, Verified};
use crate::units;

impl Report {
    /// Whether it ended without a key that was selected.
    pub fn selected_nothing(&self) -> bool {
        let ended = matches!(self.outcome, Outcome::Complete | Outcome::DryRun);
        ended && self.keys.scanned == self.keys.filtered && self.verified.agrees()
    }

    /// Says so where nothing was selected: nothing is proven then, and a run that was to fail has not done
    /// what it was for.
    pub fn tell_if_nothing(&mut self, fail_if_empty: bool) {
        if !self.selected_nothing() {
            return;
        }
        tracing::warn!("nothing was selected: {}", self.why_nothing());
        self.nothing_selected = true;
        self.verified = Verified::none();
        if fail_if_empty {
            self.outcome = Outcome::Incomplete;
        }
    }

    /// What was looked at where nothing was selected, and what to check.
    pub fn why_nothing(&self) -> String {
        let numbers: Vec<String> =
            self.databases.iter().map(|(source, ..)| source.to_string()).collect();
        let databases = match numbers.as_slice() {
            [] => String::new(),
            [one] => format!(" in database {one}"),
            _ => format!(" in databases {}", numbers.join(", ")),
        };
        match self.keys.filtered {
            0 => format!(
                "the source holds no keys{databases}; check the URL, its database number and --db"
            ),
            filtered => format!(
                "none of {}{databases} matches; check --match, --exclude and --type",
                units::keys(filtered)
            ),
        }
    }
}

/// Says what was verified.
pub(super) fn verdict(text: &mut String, report: &Report) {
    let found = &report.verified;
    if report.nothing_selected {
        let _ = writeln!(text, "Nothing was selected: {}", report.why_nothing());
        return;
    }
    match (found.mode, found.agrees()) {
        (Mode::None, _) | (Mode::OneWay, true) => {}
        (_, true) => agreement(text, report),
        (mode, false) if found.differing() == 0 => {
            let _ = writeln!(
                text,
                "NOT PROVEN ({}): {} could not be compared; no difference among the others",
                mode.word(),
                units::keys(found.uncompared)
            );
        }
        (_, false) => disagreement(text, found),
    }
    let gone: u64 = found.databases.iter().map(|database| database.gone_from_source).sum();
    if gone > 0 {
        let _ = writeln!(
            text,
            "{} of the target: deleted, renamed or expired on the source during the copy",
            units::keys(gone)
        );
    }
}

fn agreement(text: &mut String, report: &Report) {
    let found = &report.verified;
    let all_seen = report.outcome != Outcome::Interrupted && report.keys.failed == 0;
    let compares = matches!(found.mode, Mode::Full | Mode::Sample);
    if compares && !all_seen {
        let _ = writeln!(text, "NOT PROVEN: no difference among the keys that could be compared");
        return;
    }
    if report.keys.failed > 0 {
        // What failed may be there by name, with another value.
        let failed = units::keys(report.keys.failed);
        let _ = writeln!(text, "NOT PROVEN: {failed} failed; of the others no name is missing");
        return;
    }
    let mode = found.mode.word();
    let sentence = |database: &Proven| compared(database, report);
    let Some(first) = found.databases.first() else { return };
    if found.databases.iter().all(|database| sentence(database) == sentence(first)) {
        let _ = writeln!(text, "Verified ({mode}): {}", sentence(first));
        return;
    }
    let _ = writeln!(text, "Verified ({mode}), database by database:");
    for database in &found.databases {
        let name = match database.source_db == database.target_db {
            true => database.source_db.to_string(),
            false => format!("{} -> {}", database.source_db, database.target_db),
        };
        let _ = writeln!(text, "  {name} ({}): {}", database.mode.word(), sentence(database));
    }
}

/// What was compared in a database that agrees.
fn compared(database: &Proven, report: &Report) -> String {
    match (database.mode, database.both_ways) {
        (Mode::Full, true) => "every key, value and expiry agrees, both ways".into(),
        (Mode::Full, false) => {
            "the target holds every key with its value and expiry; other keys of the target were \
             not looked at"
                .into()
        }
        (Mode::Sample, _) => {
            "the keys that were looked at agree; this is no proof for the others".into()
        }
        (Mode::Count, _) => {
            "both sides hold the same number of keys, and neither was changed by other clients; \
             values were not compared"
                .into()
        }
        (Mode::ReadBack, _) => {
            "the file was read back and is whole; it was not compared with the source".into()
        }
        (Mode::Names, both_ways) => match (database.by_value, both_ways) {
            (Some(copied), _) => format!(
                "the target holds every key; {} copied have their value and expiry there, the others \
                 were compared by name only",
                units::keys(copied)
            ),
            (None, true) if database.gone_from_source == 0 => {
                "both sides hold the same keys by name; values were not compared".into()
            }
            (None, false) if report.source.endpoint.starts_with("file:") => {
                "every name of the file is on the target; values were not compared".into()
            }
            (None, _) => {
                "every name of the source is on the target; values were not compared".into()
            }
        },
        (Mode::None | Mode::OneWay, _) => String::new(),
    }
}

fn disagreement(text: &mut String, found: &Verified) {
    let [missing, extra] = [found.missing, found.extra].map(units::count);
    let [different, expiry] = [found.different, found.expiry].map(units::count);
    let mode = found.mode.word();
    let _ = match found.mode {
        Mode::OneWay => writeln!(
            text,
            "{missing} missing on the target, {different} different, {expiry} with another expiry"
        ),
        Mode::Count | Mode::Names if found.different + found.expiry == 0 => writeln!(
            text,
            "VERIFICATION FAILED ({mode}): {missing} missing, {extra} extra on the target"
        ),
        _ => writeln!(
            text,
            "VERIFICATION FAILED ({mode}): {missing} missing, {extra} extra on the target, \
             {different} different, {expiry} with another expiry"
        ),
    };
    if found.uncompared > 0 {
        let _ = writeln!(text, "  {} could not be compared", units::keys(found.uncompared));
    }
    if let Some(cause) = &found.cause {
        let _ = writeln!(text, "  {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Stats;
    use crate::report::json::Peer;

    fn said(databases: Vec<Proven>) -> String {
        let mut report = Report::new("copy", Peer::default(), Peer::default(), &Stats::default());
        report.verified = Verified::of(Mode::Names, databases);
        let mut text = String::new();
        verdict(&mut text, &report);
        text
    }

    #[test]
    fn values_are_claimed_only_where_all_of_them_were_compared() {
        let one = |mode, both_ways| Proven::new(0, 0, mode, both_ways);
        assert!(said(vec![one(Mode::Full, true)]).contains("(full): every key, value and expiry"));
        for (mode, both_ways) in [
            (Mode::Full, false),
            (Mode::Count, true),
            (Mode::Names, true),
            (Mode::Names, false),
            (Mode::Sample, true),
            (Mode::ReadBack, false),
        ] {
            let text = said(vec![one(mode, both_ways)]);
            assert!(text.contains(&format!("({})", mode.word())), "{text}");
            assert!(!text.contains("every key, value and expiry"), "{text}");
        }
        let mixed = said(vec![one(Mode::Full, true), Proven::new(1, 2, Mode::Names, false)]);
        assert!(mixed.starts_with("Verified (names), database by database:"), "{mixed}");
        assert!(mixed.contains("0 (full)") && mixed.contains("1 -> 2 (names)"), "{mixed}");
    }
}
