//! What a person reads of a look ahead: what would be copied and how, then what was found, the
//! blockers last, where a terminal ends.

use std::fmt::Write as _;
use std::time::Duration;

use super::findings::{Finding, Severity};
use super::preflight::Preflight;
use crate::units;

/// Databases that are shown one by one; the sum is of all.
const DATABASES_SHOWN: usize = 16;

/// The text of a look ahead, several lines, each ended.
pub(super) fn preview(text: &mut String, found: &Preflight) {
    databases(text, found);
    types(text, found);
    biggest(text, found);
    estimate(text, found);
    for severity in [Severity::Note, Severity::Warning, Severity::Blocker] {
        let of_kind = found.findings.iter().filter(|finding| finding.severity == severity);
        for finding in of_kind {
            tell(text, finding);
        }
    }
    let _ = writeln!(text, "{}", verdict(found));
}

/// The line that says it all.
pub(super) fn verdict(found: &Preflight) -> String {
    let number = |severity, word: &str| match found.count(severity) {
        1 => format!("1 {word}"),
        count => format!("{} {word}s", units::count(count as u64)),
    };
    let warnings = number(Severity::Warning, "warning");
    match found.count(Severity::Blocker) {
        0 if found.count(Severity::Warning) == 0 => {
            "Nothing stands in the way; nothing was written".to_owned()
        }
        0 => format!("No blockers, but {warnings}; nothing was written"),
        _ => {
            let blockers = number(Severity::Blocker, "blocker");
            format!("NOT READY: {blockers}, {warnings}; nothing was written")
        }
    }
}

fn databases(text: &mut String, found: &Preflight) {
    if found.databases.is_empty() {
        // With a blocker it may not have been looked at.
        if found.count(Severity::Blocker) == 0 {
            let _ = writeln!(text, "\n  The source holds no keys that are meant.");
        }
        return;
    }
    let _ = writeln!(
        text,
        "\n  {:>9} {:>13} {:>13} {:>15}",
        "database", "keys", "with expiry", "on the target"
    );
    let mut row = |name: &str, numbers: [u64; 3]| {
        let [keys, expires, held] = numbers.map(units::count);
        let _ = writeln!(text, "  {name:>9} {keys:>13} {expires:>13} {held:>15}");
    };
    for of in found.databases.iter().take(DATABASES_SHOWN) {
        let name = match of.source == of.target {
            true => of.source.to_string(),
            false => format!("{} -> {}", of.source, of.target),
        };
        row(&name, [of.keys, of.expires, of.held]);
    }
    if found.databases.len() > 1 {
        let mut sums = [0_u64; 3];
        for of in &found.databases {
            for (sum, number) in sums.iter_mut().zip([of.keys, of.expires, of.held]) {
                *sum = sum.saturating_add(number);
            }
        }
        row("all", sums);
    }
}

/// Where these figures come from.
fn basis(found: &Preflight) -> String {
    let sampled = units::count(found.sampled);
    match found.whole {
        true if found.sampled == 1 => "of the only key".to_owned(),
        true => format!("of all {sampled} keys"),
        false => format!("from a sample of {sampled} keys"),
    }
}

fn types(text: &mut String, found: &Preflight) {
    if found.types.is_empty() {
        return;
    }
    let all: u64 = found.types.iter().map(|of| of.keys).sum();
    let width = found.types.iter().map(|of| of.name.len()).max().unwrap_or(0).max(9);
    let _ = writeln!(text, "\n  How they would go, {}:", basis(found));
    let _ =
        writeln!(text, "  {:>width$} {:>13} {:>7} {:>12}  way", "type", "keys", "share", "memory");
    for of in &found.types {
        let share = of.keys as f64 * 100.0 / all.max(1) as f64;
        let memory = of.memory.map_or_else(|| "-".to_owned(), units::bytes);
        let keys = units::count(of.keys);
        let way = of.way.describe();
        let _ =
            writeln!(text, "  {:>width$} {keys:>13} {share:>6.1}% {memory:>12}  {way}", of.name);
    }
}

fn biggest(text: &mut String, found: &Preflight) {
    if found.biggest.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n  The biggest {}:", basis(found));
    for key in &found.biggest {
        let bytes = units::bytes(key.bytes);
        let _ = writeln!(text, "  {bytes:>12}  {:<7} db {} \"{}\"", key.kind, key.db, key.key);
    }
}

fn estimate(text: &mut String, found: &Preflight) {
    let of = &found.estimate;
    if of.keys > 0 {
        let mut parts = vec![format!("{} keys", units::count(of.keys))];
        parts.extend(of.memory.map(|bytes| format!("{} of memory", units::bytes(bytes))));
        parts.extend(of.payload.map(|bytes| format!("{} to move", units::bytes(bytes))));
        let _ = writeln!(text, "\n  Estimated: {}", parts.join(", "));
        if let Some(seconds) = of.seconds {
            let time = match seconds {
                ..1.0 => "under a second".to_owned(),
                _ => units::duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
            };
            let _ = writeln!(
                text,
                "  Estimated time: {time} at the pace at which the sample was read; a slow target, \
                 the network and other load add to it"
            );
        }
    }
    text.push('\n');
}

fn tell(text: &mut String, finding: &Finding) {
    let word = match finding.severity {
        Severity::Blocker => "BLOCKER",
        Severity::Warning => "Warning",
        Severity::Note => "Note",
    };
    let side = finding.side.map(|side| format!("{side}: ")).unwrap_or_default();
    let _ = writeln!(text, "{word:<7} [{}] {side}{}", finding.code, finding.cause);
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(text, "        -> {remedy}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blockers_stand_last_and_each_has_its_remedy() {
        let found = Preflight {
            findings: vec![
                Finding::blocker("target-not-empty", "it is not empty", "say --if-exists")
                    .on("target"),
                Finding::note("clients", "3 other clients").on("source"),
            ],
            ..Preflight::default()
        };
        let mut text = String::new();
        preview(&mut text, &found);
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(lines[0], "NOT READY: 1 blocker, 0 warnings; nothing was written");
        assert_eq!(lines[1], "        -> say --if-exists");
        assert_eq!(lines[2], "BLOCKER [target-not-empty] target: it is not empty");
        assert_eq!(lines[3], "Note    [clients] source: 3 other clients");
    }
}
