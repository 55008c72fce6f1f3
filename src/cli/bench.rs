//! `keyferry bench`: measure on throw-away servers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{exit, logging, print};
use crate::bench::{self, DataSet, Options, Outcome};
use crate::error::Error;
use crate::units;

/// What `bench` takes.
#[derive(Args)]
pub(super) struct BenchOptions {
    /// The server program: a redis-server or valkey-server, in PATH or by its path
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    server: PathBuf,
    /// How many keys
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of each value, at random
    #[arg(long, value_name = "BYTES", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    size: u32,
    /// How often each contestant runs; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
}

/// Runs `bench`.
pub(super) fn main(options: &BenchOptions) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(&Error::config(format!("no runtime: {error}")), false),
    };
    let options = Options {
        server: options.server.clone(),
        data: DataSet::Strings { size: options.size as usize },
        keys: options.keys,
        rounds: usize::from(options.rounds),
    };
    match runtime.block_on(bench::run(&options, logging::text_line)) {
        Ok(outcome) => print(table(&options, &outcome).as_bytes()),
        Err(error) => exit::fail(&error, false),
    }
}

fn table(options: &Options, outcome: &Outcome) -> String {
    let mut text = format!(
        "{}, {} keys: {}; {} in the source's memory; {} rounds, medians\n\n",
        outcome.server,
        units::count(options.keys),
        options.data.describe(),
        units::bytes(outcome.loaded_bytes),
        options.rounds,
    );
    text.push_str("contestant     seconds  of ceiling  CPU seconds  peak memory\n");
    let base = outcome.rows.first().map_or(0.0, |row| row.median().seconds);
    for row in &outcome.rows {
        let median = row.median();
        let cpu = median.cpu_seconds.map_or_else(|| "-".into(), |cpu| format!("{cpu:.2}"));
        let peak = median.peak_resident_bytes.map_or_else(|| "-".into(), units::bytes);
        text.push_str(&format!(
            "{:<12} {:>9.2} {:>11.2} {cpu:>12} {peak:>12}\n",
            row.contestant.name(),
            median.seconds,
            base / median.seconds.max(0.001),
        ));
    }
    text
}
