//! Progress on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Stats;
use crate::units;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar that is redrawn.
    Bar,
    /// A line every [`LINE_EVERY`].
    Plain,
    /// Nothing.
    None,
}

/// How often a line is written where no bar can be.
pub const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often the bar moves.
const DRAW_EVERY: Duration = Duration::from_millis(200);

impl Style {
    /// A bar on a terminal, lines elsewhere.
    pub fn automatic() -> Self {
        if std::io::stderr().is_terminal() { Self::Bar } else { Self::Plain }
    }
}

/// Shows how far a run is, until it is told that the run ended.
pub struct Progress {
    stats: Arc<Stats>,
    style: Style,
    bar: ProgressBar,
    line: fn(&str),
}

impl Progress {
    /// A bar is drawn through `bars`, which log lines step aside for; `line` writes a plain line.
    pub fn new(stats: Arc<Stats>, style: Style, bars: &MultiProgress, line: fn(&str)) -> Self {
        let bar = match style {
            Style::Bar => bars.add(ProgressBar::new(0)),
            _ => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        let template = "{spinner} {percent:>3}% [{bar:20}] {wide_msg}";
        if let Ok(look) = ProgressStyle::with_template(template) {
            bar.set_style(look.progress_chars("=> "));
        }
        Self { stats, style, bar, line }
    }

    /// Draws until it is dropped.
    pub async fn show(&self) {
        let every = match self.style {
            Style::Bar => DRAW_EVERY,
            Style::Plain => LINE_EVERY,
            Style::None => return std::future::pending().await,
        };
        let mut tick = tokio::time::interval(every);
        tick.tick().await;
        loop {
            tick.tick().await;
            match self.style {
                Style::Bar => self.draw(),
                _ if self.stats.databases().is_empty() => {}
                _ => (self.line)(&self.text()),
            }
        }
    }

    fn draw(&self) {
        if self.stats.databases().is_empty() {
            // Nothing to show yet, and somebody may be asked for consent.
            return;
        }
        let (counts, _) = self.stats.totals();
        let settled = counts.settled();
        self.bar.set_length(self.stats.expected().max(settled));
        self.bar.set_position(settled);
        self.bar.set_message(self.figures());
        self.bar.tick();
    }

    fn text(&self) -> String {
        let (counts, _) = self.stats.totals();
        let settled = counts.settled();
        let expected = self.stats.expected().max(settled).max(1);
        format!("{:>3}% {}", settled * 100 / expected, self.figures())
    }

    fn figures(&self) -> String {
        let (counts, bytes) = self.stats.totals();
        let settled = counts.settled();
        let expected = self.stats.expected().max(settled);
        let seconds = self.stats.started().elapsed().as_secs_f64().max(0.001);
        let rate = settled as f64 / seconds;
        let mut text = format!(
            "{} of {} keys, {}, {} keys/s, {}/s",
            units::count(settled),
            units::count(expected),
            units::bytes(bytes),
            units::count(rate as u64),
            units::bytes((bytes as f64 / seconds) as u64),
        );
        if rate > 0.0 && expected > settled {
            let left = Duration::try_from_secs_f64((expected - settled) as f64 / rate);
            let left = left.map_or_else(|_| "for ever".to_owned(), units::duration);
            text.push_str(&format!(", {left} left"));
        }
        if counts.failed > 0 {
            text.push_str(&format!(", {} FAILED", units::count(counts.failed)));
        }
        text
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
