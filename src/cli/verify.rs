//! `keyferry verify`: both sides compared, key by key.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::numbers;
use super::shared::{self, Gentleness, Means, Selection, Speech};
use super::side::{self, SourceOptions, TargetOptions};
use crate::config::{Comparing, FetchMode, IfExists, Mapping, Plan, SourceCompression, Verify};
use crate::engine;
use crate::error::Result;
use crate::units::parse_duration;

/// What `verify` takes.
#[derive(Args)]
pub(super) struct VerifyOptions {
    /// The server that was copied from, as a URL [env: SOURCE_REDIS_URL]
    source: Option<String>,
    /// The server that was copied to, as a URL [env: DESTINATION_REDIS_URL]
    target: Option<String>,

    #[command(flatten, next_help_heading = "What is compared")]
    selection: Selection,
    /// Only about N keys of each side, for a quick look; what is not looked at is not proven
    #[arg(long, value_name = "N", value_parser = numbers::from_one, help_heading = "What is compared")]
    sample: Option<u64>,

    /// How far two expiries may lie apart
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration, help_heading = "How it is compared")]
    ttl_tolerance: Duration,
    #[command(flatten, next_help_heading = "How it is compared")]
    means: Means,

    #[command(flatten, next_help_heading = "Gentle to the source")]
    gentleness: Gentleness,

    #[command(flatten, next_help_heading = "What is said")]
    speech: Speech,

    #[command(flatten)]
    source_options: SourceOptions,
    #[command(flatten)]
    target_options: TargetOptions,
}

/// Runs `verify`.
pub(super) fn main(options: VerifyOptions) -> ExitCode {
    let speech = options.speech.clone();
    let files = side::files_of(&options.source_options, &options.target_options);
    shared::main(&speech, files, || plan(options), engine::verify)
}

fn plan(options: VerifyOptions) -> Result<Plan> {
    let (source, target) = shared::servers(
        &options.source,
        &options.target,
        options.source_options,
        options.target_options,
    )?;
    let databases = (source.endpoint.database, target.endpoint.database);
    Ok(Plan {
        mapping: Mapping::new(&options.selection.db, databases.0, databases.1)?,
        source,
        target,
        fail_if_empty: options.selection.fail_if_empty,
        filter: options.selection.filter(),
        // Nothing is written: what becomes of existing keys does not come up.
        if_exists: IfExists::default(),
        delete_source: false,
        allow_evicting: false,
        letters: None,
        state: None,
        require_quiet: false,
        lossy: false,
        functions: false,
        dry_run: false,
        fetch: FetchMode::Auto,
        source_compression: SourceCompression::Keep,
        verify: Verify::Full,
        comparing: Comparing { ttl_tolerance: options.ttl_tolerance, sample: options.sample },
        limits: options.means.limits(&options.gentleness),
        timeouts: options.means.timeouts(),
    })
}
