//! Errors as people read them, and the exit codes of the contract.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::secrets::hidden;
use crate::error::Error;
use crate::report::Severity;
use crate::report::json::{Outcome, Report};

/// Prints an error with its advice and gives its exit code.
pub(super) fn fail(error: &Error, as_json: bool) -> ExitCode {
    let text = if as_json {
        let fields = json!({"message": error.to_string(), "advice": error.advice()});
        json!({"level": "ERROR", "target": "keyferry", "fields": fields}).to_string()
    } else {
        match error.advice() {
            Some(advice) => format!("keyferry: {error}\n  {advice}"),
            None => format!("keyferry: {error}"),
        }
    };
    let _ = writeln!(std::io::stderr(), "{}", hidden(&text));
    ExitCode::from(error.kind().exit_code())
}

/// Prints the blockers of a look ahead, as errors of their own.
pub(super) fn tell_blockers(report: &Report, as_json: bool) {
    let found = report.preflight.iter().flat_map(|found| &found.findings);
    for finding in found.filter(|finding| finding.severity == Severity::Blocker) {
        let side = finding.side.map(|side| format!("{side}: ")).unwrap_or_default();
        let error = Error::refused(format!("{side}{}", finding.cause));
        fail(&error.advise(finding.remedy.clone().unwrap_or_default()), as_json);
    }
}

/// Writes to stdout.
pub(super) fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    unless_gone(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What became of a write; a reader that has gone away is no error.
pub(super) fn unless_gone(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// The exit code of a run that ended without an error of its own.
pub(super) fn code(report: &Report) -> ExitCode {
    ExitCode::from(match report.outcome {
        Outcome::DryRun if report.keys.failed + report.keys.kept_on_source > 0 => 1,
        Outcome::Complete | Outcome::DryRun => 0,
        Outcome::Incomplete => 1,
        Outcome::Refused => 4,
        Outcome::Interrupted => 130,
    })
}
