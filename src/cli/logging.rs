//! Logs on stderr, as text or JSON lines, that never tear the progress bar.

use std::io::{self, Write};

use clap::ValueEnum;
use indicatif::MultiProgress;
use serde_json::json;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::secrets::hidden;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Installs the log of this process. A second call (in tests) is without effect.
pub(super) fn install(level: Level, format: Format, bars: &MultiProgress) {
    let writer = BesideBars(bars.clone());
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    let installed = match format {
        Format::Text => {
            builder.with_ansi(are_coloured()).with_target(false).without_time().try_init()
        }
        Format::Json => builder.json().try_init(),
    };
    drop(installed);
}

/// Whether what is said on stderr is coloured.
pub(super) fn are_coloured() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A plain line on stderr.
pub(super) fn text_line(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The same as a JSON line, in the shape of the log's.
pub(super) fn json_line(line: &str) {
    let fields = json!({"message": line});
    text_line(&json!({"level": "INFO", "target": "keyferry", "fields": fields}).to_string());
}

/// Writes to stderr while the bars step aside. A terminal that is gone is no reason to fail.
#[derive(Clone)]
struct BesideBars(MultiProgress);

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let _ = self.0.suspend(|| io::stderr().write_all(hidden(&line).as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for BesideBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
