//! `keyferry bench`: ratios in one run, against named baselines.
//!
//! Data is loaded into one server, and the contestants take turns (interleaved, so that a slow
//! minute of the machine meets all of them), each with a flushed target. Seconds vary between
//! machines; the ratio of two contestants in one run does not, much.
//!
//! ```text
//! setting (servers) ──> data::load ──> for each round, for each contestant: flush, watch, run
//!     ──> outcome (medians, ratios, doubts) ──> table · json (schema there) · svg
//! ```
//!
//! A contestant that fails is named with its reason and does not run again; the others go on.

mod bars;
mod ceiling;
mod certificates;
mod contestant;
mod copying;
mod data;
mod foreground;
mod guide;
pub mod json;
mod lineup;
mod machine;
mod native;
mod null_target;
mod outcome;
mod proc;
mod process;
mod proxy;
mod server;
mod setting;
pub mod svg;
pub mod table;
mod throttle;
mod watch;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};

pub use bars::{Bar, bars};
pub use contestant::Contestant;
pub use data::{Amount, DataSet};
pub use foreground::Waits;
pub use lineup::{Variant, Wishes, line_up};
pub use machine::Machine;
pub use outcome::{DataOutcome, Measured, Outcome, Row};
pub use setting::Servers;
pub use throttle::{Held, Moved};

use contestant::Occasion;
use setting::Setting;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// On which servers.
    pub servers: Servers,
    /// With which data, one after the other.
    pub data: Vec<DataSet>,
    /// How much of each.
    pub amount: Amount,
    /// How often each contestant runs.
    pub rounds: usize,
    /// Who takes part, in this order.
    pub contestants: Vec<Contestant>,
}

/// Runs the benchmark; `say` gets a line for each step. Cancelled, it leaves the servers as they
/// were.
///
/// # Errors
/// A server does not start, is refused or breaks; or it was cancelled. What a contestant does wrong
/// is in the outcome.
pub async fn run(options: &Options, say: fn(&str), cancel: &CancellationToken) -> Result<Outcome> {
    let (began, load) = (machine::now(), machine::load());
    let setting = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(cancelled()),
        setting = Box::pin(Setting::prepare(&options.servers, &options.contestants)) => setting?,
    };
    let measured = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(cancelled()),
        measured = Box::pin(measure_all(options, &setting, say)) => measured,
    };
    let left = setting.leave().await;
    let data = measured?;
    left?;
    Ok(Outcome {
        began,
        load,
        machine: Machine::here(),
        source: setting.source.identity().await?.server(),
        target: setting.target.identity().await?.server(),
        throw_away: setting.is_throw_away(),
        rounds: options.rounds,
        data,
    })
}

fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "interrupted")
}

async fn measure_all(
    options: &Options,
    setting: &Setting,
    say: fn(&str),
) -> Result<Vec<DataOutcome>> {
    let mut outcomes = Vec::new();
    for &data in &options.data {
        outcomes.push(Box::pin(measure(options, setting, data, say)).await?);
    }
    Ok(outcomes)
}

async fn measure(
    options: &Options,
    setting: &Setting,
    data: DataSet,
    say: fn(&str),
) -> Result<DataOutcome> {
    let mut rows: Vec<Row> = options.contestants.iter().map(|c| row(c, setting)).collect();
    if let Some(why) = rows.first().and_then(|row| row.left_out.as_ref())
        && rows.iter().all(|row| row.left_out.is_some())
    {
        return Err(Error::config(format!("no contestant can run here: {why}")));
    }
    setting.source.flush().await?;
    say(&format!("{data}: loading {}", data.describe()));
    let loaded = data::load(&setting.source, data, options.amount).await?;
    for round in 1..=options.rounds {
        for (index, contestant) in options.contestants.iter().enumerate() {
            let free = rows.iter().find(|row| row.name == lineup::COPY).and_then(Row::median);
            let free = free.and_then(|median| median.moved);
            let Some(row) = rows.get_mut(index) else { continue };
            if row.left_out.is_some() || row.failure.is_some() {
                continue;
            }
            let name = contestant.name();
            let now = Occasion { data, keys: loaded.keys, free };
            match Box::pin(contestant.measure(setting, &now)).await {
                Ok(measured) => {
                    let seconds = measured.seconds;
                    say(&format!("{data}, round {round}: {name:<16} {seconds:.2} s"));
                    row.runs.push(measured);
                }
                Err(error) => {
                    say(&format!("{data}, round {round}: {name:<16} FAILED: {error}"));
                    row.failure = Some(error.to_string());
                }
            }
        }
    }
    setting.target.flush().await?;
    Ok(DataOutcome { data, loaded, rows })
}

fn row(contestant: &Contestant, setting: &Setting) -> Row {
    Row {
        name: contestant.name().to_owned(),
        how: contestant.describe(),
        runs: Vec::new(),
        left_out: contestant.obstacle(setting),
        failure: None,
    }
}
