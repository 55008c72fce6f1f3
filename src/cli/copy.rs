//! `keyferry copy`: options to plan, plan to engine, report to text.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::environment;
use super::shared::{self, Gentleness, Means, Selection, Speech};
use super::side::{SideOptions, SourceOptions, TargetOptions};
use crate::config::{FetchMode, IfExists, Mapping, Plan, SourceCompression, Verify};
use crate::engine;
use crate::error::{Result, Side};

/// What `copy` takes.
#[derive(Args)]
pub(super) struct CopyOptions {
    /// The server that is read, as a URL [env: SOURCE_REDIS_URL]
    source: Option<String>,
    /// The server that is written, as a URL [env: DESTINATION_REDIS_URL]
    target: Option<String>,

    #[command(flatten, next_help_heading = "What is copied")]
    selection: Selection,

    /// What happens to a key that the target holds [default: the target database must be empty]
    #[arg(long, value_name = "POLICY", help_heading = "How it is copied")]
    if_exists: Option<Policy>,
    /// Delete each key from the source once it is copied, if it still has the copied value
    #[arg(long, help_heading = "How it is copied")]
    delete_source: bool,
    /// Copy hashes whose fields expire also to a server where they cannot: the fields stay for ever
    #[arg(long, help_heading = "How it is copied")]
    lossy: bool,
    /// Write nothing; say what would be done
    #[arg(long, help_heading = "How it is copied")]
    dry_run: bool,
    /// What is proven after the copy
    #[arg(long, value_name = "MODE", default_value = "count", help_heading = "How it is copied")]
    verify: VerifyMode,
    /// How keys are read
    #[arg(long, value_name = "WAY", default_value = "auto", help_heading = "How it is copied")]
    fetch: FetchWay,
    #[command(flatten, next_help_heading = "How it is copied")]
    means: Means,

    #[command(flatten, next_help_heading = "Gentle to the source")]
    gentleness: Gentleness,
    /// Whether the source goes on compressing what it dumps, most of a DUMP's cost
    #[arg(long, value_name = "HOW", default_value = "keep", help_heading = "Gentle to the source")]
    source_compression: CompressionMode,

    #[command(flatten, next_help_heading = "What is said")]
    speech: Speech,

    #[command(flatten)]
    source_options: SourceOptions,
    #[command(flatten)]
    target_options: TargetOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// The source's value takes its place
    Replace,
    /// The target's value stays
    Skip,
    /// The target's value stays, the key counts as failed
    Fail,
    /// Sets, hashes and sorted sets get the members they lack; other types are skipped
    Merge,
}

#[derive(Clone, Copy, ValueEnum)]
enum VerifyMode {
    /// Nothing
    None,
    /// Every key that was meant to be copied is on the target
    Count,
}

#[derive(Clone, Copy, ValueEnum)]
enum FetchWay {
    /// The cheapest exact way for each key: strings by value, the others by DUMP
    Auto,
    /// All by DUMP
    Dump,
}

#[derive(Clone, Copy, ValueEnum)]
enum CompressionMode {
    /// As it is configured there
    Keep,
    /// Off during the copy (CONFIG SET rdbcompression no), then put back, whatever happens
    Off,
}

/// Runs `copy`.
pub(super) fn main(options: CopyOptions) -> ExitCode {
    let speech = options.speech.clone();
    shared::main(&speech, || plan(options), engine::run)
}

fn plan(options: CopyOptions) -> Result<Plan> {
    let (source_url, target_url) = shared::urls(
        &options.source,
        &options.target,
        &options.source_options,
        &options.target_options,
    )?;
    let source =
        SideOptions::from(options.source_options).server(Side::Source, source_url.as_deref())?;
    let target =
        SideOptions::from(options.target_options).server(Side::Target, target_url.as_deref())?;
    let mapping =
        Mapping::new(&options.selection.db, source.endpoint.database, target.endpoint.database)?;
    let replace = environment::switch("REPLACE_DST_KEYS")?.then_some(IfExists::Replace);
    let if_exists = options.if_exists.map(|policy| match policy {
        Policy::Replace => IfExists::Replace,
        Policy::Skip => IfExists::Skip,
        Policy::Fail => IfExists::Fail,
        Policy::Merge => IfExists::Merge,
    });
    let delete_source = options.delete_source || environment::switch("CLEAN_UP")?;
    Ok(Plan {
        source,
        target,
        mapping,
        filter: options.selection.filter(),
        if_exists: if_exists.or(replace),
        delete_source,
        lossy: options.lossy,
        dry_run: options.dry_run || environment::switch("DRY_RUN")?,
        fetch: match options.fetch {
            FetchWay::Auto => FetchMode::Auto,
            FetchWay::Dump => FetchMode::Dump,
        },
        source_compression: match options.source_compression {
            CompressionMode::Keep => SourceCompression::Keep,
            CompressionMode::Off => SourceCompression::Off,
        },
        verify: match options.verify {
            VerifyMode::None => Verify::None,
            VerifyMode::Count => Verify::Count,
        },
        limits: options.means.limits(&options.gentleness),
        timeouts: options.means.timeouts(),
    })
}
