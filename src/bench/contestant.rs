//! Who takes part, and how one run is measured.

use std::process::Stdio;

use serde_json::Value;

use super::ceiling;
use super::server::ThrowAway;
use crate::error::{Error, Kind, Result};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// Every DUMP and PTTL is read, nothing is written: the source's own limit.
    Ceiling,
    /// `keyferry copy` without options, as a process of its own.
    Copy,
}

/// One run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Wall-clock time.
    pub seconds: f64,
    /// CPU time of the contestant's own process, where it has one.
    pub cpu_seconds: Option<f64>,
    /// Its peak resident memory.
    pub peak_resident_bytes: Option<u64>,
}

impl Contestant {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ceiling => "dump-ceiling",
            Self::Copy => "copy",
        }
    }

    /// Runs it once, on a source with `keys` keys and an empty target.
    pub(super) async fn measure(
        self,
        source: &ThrowAway,
        target: &ThrowAway,
        keys: u64,
    ) -> Result<Measured> {
        match self {
            Self::Ceiling => measure_ceiling(source, keys).await,
            Self::Copy => measure_copy(source, target, keys).await,
        }
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Server, format!("{what} failed: {why}"))
}

async fn measure_ceiling(source: &ThrowAway, keys: u64) -> Result<Measured> {
    let url = source.url();
    let address = url.trim_start_matches("redis://").to_owned();
    let task = tokio::task::spawn_blocking(move || ceiling::read_everything(&address));
    let (payloads, seconds) = task
        .await
        .map_err(|error| failed("the ceiling", error))?
        .map_err(|error| failed("the ceiling", error))?;
    if payloads < keys {
        return Err(failed("the ceiling", format!("{payloads} of {keys} payloads came")));
    }
    Ok(Measured { seconds, ..Measured::default() })
}

/// As a process of its own, so that CPU and memory are the copy's and nobody else's. The seconds
/// are the whole process's, from its start to its end.
async fn measure_copy(source: &ThrowAway, target: &ThrowAway, keys: u64) -> Result<Measured> {
    let program = std::env::current_exe().map_err(|error| failed("copy", error))?;
    let mut command = std::process::Command::new(program);
    command.args(["copy", &source.url(), &target.url(), "--report", "-", "--quiet"]);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let began = std::time::Instant::now();
    let task = tokio::task::spawn_blocking(move || command.output());
    let output = task.await.map_err(|error| failed("copy", error))?;
    let seconds = began.elapsed().as_secs_f64();
    let output = output.map_err(|error| failed("copy", error))?;
    let report: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| failed("copy", error))?;
    let copied = report["keys"]["copied"].as_u64().unwrap_or(0);
    if !output.status.success() || copied != keys {
        return Err(failed("copy", format!("{copied} of {keys} keys copied, {}", output.status)));
    }
    Ok(Measured {
        seconds,
        cpu_seconds: report["process"]["cpu_seconds"].as_f64(),
        peak_resident_bytes: report["process"]["peak_resident_bytes"].as_u64(),
    })
}
