//! `keyferry bench`: ratios on throw-away servers, in one run, against named baselines.
//!
//! Two servers are started, data is loaded into one, and the contestants take turns (interleaved, so
//! that a slow minute of the machine meets all of them). Seconds vary between machines; the ratio
//! of two contestants in one run does not, much.

mod ceiling;
mod contestant;
mod data;
mod server;

use std::path::PathBuf;

use crate::error::Result;

pub use contestant::{Contestant, Measured};
pub use data::DataSet;

use server::ThrowAway;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server program.
    pub server: PathBuf,
    /// What is loaded.
    pub data: DataSet,
    /// How many keys of it.
    pub keys: u64,
    /// How often each contestant runs.
    pub rounds: usize,
}

/// One contestant's runs.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who ran.
    pub contestant: Contestant,
    /// Every run, in order.
    pub runs: Vec<Measured>,
}

impl Row {
    /// The run in the middle, by seconds.
    pub fn median(&self) -> Measured {
        let mut runs = self.runs.clone();
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        runs.get(runs.len() / 2).copied().unwrap_or_default()
    }
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Family and version of the servers.
    pub server: String,
    /// Bytes of memory that the loaded data takes on the source.
    pub loaded_bytes: u64,
    /// The contestants.
    pub rows: Vec<Row>,
}

/// Runs the benchmark; `say` gets a line for each step.
///
/// # Errors
/// A server does not start, or a contestant fails.
pub async fn run(options: &Options, say: fn(&str)) -> Result<Outcome> {
    let source = ThrowAway::start(&options.server)?;
    let target = ThrowAway::start(&options.server)?;
    say(&format!("loading {} keys: {}", options.keys, options.data.describe()));
    let loaded_bytes = data::load(&source, options.data, options.keys).await?;
    let contestants = [Contestant::Ceiling, Contestant::Copy];
    let mut rows = contestants.map(|contestant| Row { contestant, runs: Vec::new() });
    for round in 1..=options.rounds {
        for row in &mut rows {
            target.flush().await?;
            let measured = row.contestant.measure(&source, &target, options.keys).await?;
            say(&format!("round {round}: {:<12} {:.2} s", row.contestant.name(), measured.seconds));
            row.runs.push(measured);
        }
    }
    Ok(Outcome { server: source.describe().await?, loaded_bytes, rows: rows.into() })
}
