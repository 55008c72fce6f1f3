//! The picture: a horizontal bar for each contestant, readable on light and dark backgrounds.
//!
//! No background of its own; the text follows the reader's colour scheme, and both colours stand out
//! from white and from black where a viewer knows no schemes.

use std::fmt::Write as _;

use super::outcome::{DataOutcome, Outcome};

const WIDTH: usize = 760;
/// Where the bars begin, and how long the longest is; behind it stands its value.
const LEFT: usize = 140;
const LONGEST: f64 = 380.0;
const ROW: usize = 24;
const BAR: usize = 15;
const TITLE: usize = 34;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#57606a}\
.title{font-weight:600}.own{fill:#1f883d}.other{fill:#8c959f}\
@media(prefers-color-scheme:dark){text{fill:#c9d1d9}.own{fill:#3fb950}.other{fill:#6e7681}}";

/// Seconds of each contestant, medians; shorter is better.
pub fn svg(outcome: &Outcome) -> String {
    let rows: usize = outcome.data.iter().map(|data| ran(data).count()).sum();
    let height = outcome.data.len() * TITLE + rows * ROW + ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Seconds that each contestant took\">\n<style>{STYLE}</style>\n"
    );
    let mut y = 0;
    for data in &outcome.data {
        let title = format!(
            "{}: {} keys, {:.2} GB: seconds, shorter is better",
            data.data,
            crate::units::count(data.loaded.keys),
            data.loaded.bytes as f64 / 1e9
        );
        text(&mut out, 0, y + TITLE - 12, "title", &title);
        y += TITLE;
        let slowest = ran(data).map(|(_, seconds)| seconds).fold(f64::MIN_POSITIVE, f64::max);
        for (name, seconds) in ran(data) {
            bar(&mut out, data, name, (seconds, seconds / slowest), y);
            y += ROW;
        }
    }
    let machine = &outcome.machine;
    let footer = format!(
        "{} to {}, {} cores, {}, {} interleaved rounds, medians, {}",
        outcome.source,
        outcome.target,
        machine.cores,
        machine.cpu,
        outcome.rounds,
        outcome.began.get(..10).unwrap_or_default(),
    );
    text(&mut out, 0, y + BAR, "", &footer);
    out.push_str("</svg>\n");
    out
}

/// Names and medians of those that took part.
fn ran(data: &DataOutcome) -> impl Iterator<Item = (&str, f64)> {
    let for_speed = data.rows.iter().filter(|row| !row.has_client());
    for_speed.filter_map(|row| Some((row.name.as_str(), row.median()?.seconds)))
}

fn bar(out: &mut String, data: &DataOutcome, name: &str, (seconds, share): (f64, f64), y: usize) {
    let own = data.row(name).is_some_and(|row| row.how.starts_with("keyferry copy"));
    let length = (share * LONGEST).max(1.0);
    text(out, 0, y + BAR - 3, "", name);
    let _ = writeln!(
        out,
        "<rect class=\"{}\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"{BAR}\" rx=\"2\"/>",
        if own { "own" } else { "other" },
    );
    let mut value = format!("{seconds:.2} s");
    if let Some(times) = data.times_guide(name) {
        let _ = write!(value, ", {times:.1}× the guide");
    }
    text(out, LEFT + length as usize + 8, y + BAR - 3, "", &value);
}

fn text(out: &mut String, x: usize, y: usize, class: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(out, "<text{class} x=\"{x}\" y=\"{y}\">{content}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::tests::example;

    #[test]
    fn every_contestant_has_a_bar_and_its_value() {
        let mut outcome = example();
        outcome.machine.cpu = "A & B <x>".into();
        let picture = svg(&outcome);
        assert_eq!(picture.matches("<rect").count(), 2);
        assert!(
            picture.contains("2.00 s, 6.0× the guide") || picture.contains("6.1×"),
            "{picture}"
        );
        assert!(picture.contains("A &amp; B &lt;x&gt;"), "{picture}");
        assert!(picture.trim_end().ends_with("</svg>"));
    }
}
