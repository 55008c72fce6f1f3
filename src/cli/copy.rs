//! `keyferry copy`: options to plan, plan to engine, report to text.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::environment;
use super::files::Named;
use super::shared::{self, Gentleness, Means, Planned, Selection, Speech};
use super::side::{self, SideOptions, SourceOptions, TargetOptions, url_variable};
use crate::config::endpoint::file_path;
use crate::config::{
    Comparing, FetchMode, IfExists, Mapping, Plan, Server, SourceCompression, Verify,
};
use crate::engine;
use crate::engine::file::{FilePlan, copy_file};
use crate::error::{Error, Result, Side};
use crate::source::letters;

/// What `copy` takes.
#[derive(Args)]
pub(super) struct CopyOptions {
    /// The server that is read, as a URL; for copy, an RDB file will do [env: SOURCE_REDIS_URL]
    source: Option<String>,
    /// The server that is written, as a URL [env: DESTINATION_REDIS_URL]
    target: Option<String>,

    #[command(flatten, next_help_heading = "What is copied")]
    selection: Selection,
    /// Only the keys that an earlier run wrote to this file by --failures, into the databases that it
    /// copied them to; without --if-exists, a key that is on the target by then stays and counts as
    /// failed
    #[arg(long, value_name = "FILE", help_heading = "What is copied")]
    retry_failures: Option<PathBuf>,

    /// Keep how far the run has come in this file; the same command then goes on from there
    #[arg(long, value_name = "FILE", help_heading = "How it is copied")]
    state: Option<PathBuf>,
    /// What happens to a key that the target holds [default: the target database must be empty]
    #[arg(long, value_name = "POLICY", help_heading = "How it is copied")]
    if_exists: Option<Policy>,
    /// When the copy is done, delete each of its keys from the source that is equal on both sides at
    /// that moment, in value and expiry
    #[arg(long, help_heading = "How it is copied", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = environment::parse_truth)]
    delete_source: Option<bool>,
    /// Let --delete-source go on although the target may evict keys when its memory is full; it still
    /// stops deleting once the target does
    #[arg(long, help_heading = "How it is copied")]
    allow_evicting_target: bool,
    /// Refuse a source that is being written to (looked at for a second); exit code 1 if it was
    /// written to during the copy. Keys that expire and our own --delete-source are no writing
    #[arg(long, help_heading = "How it is copied")]
    require_quiet: bool,
    /// Copy hashes whose fields expire also to a server where they cannot: the fields stay for ever
    #[arg(long, help_heading = "How it is copied")]
    lossy: bool,
    /// Copy the server's functions, too (FUNCTION LOAD); they belong to no database
    #[arg(long, help_heading = "How it is copied")]
    with_functions: bool,
    /// Write nothing; say what would be done
    #[arg(long, help_heading = "How it is copied", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = environment::parse_truth)]
    dry_run: Option<bool>,
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
    pub(super) speech: Speech,

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
    /// The name of every selected key is on the target; where the database was empty, the target holds
    /// no others
    Count,
    /// Every copied key has the same value there and expires at the same time, too. Of keys that kept
    /// the target's own value (skip, fail, merge) or took another's place (two databases into one)
    /// only the names are compared. The summary and the report say what was compared
    Full,
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

impl CopyOptions {
    /// The files that it names.
    pub(super) fn files(&self) -> Vec<Named> {
        let mut files = side::files_of(&self.source_options, &self.target_options);
        files.extend(
            self.retry_failures.as_deref().map(|path| Named::list("--retry-failures", path)),
        );
        let state = self.state.as_deref().map(|path| Named::checkpoint("--state", path));
        files.extend(state.into_iter().flatten());
        files
    }
}

impl Policy {
    fn meaning(self) -> IfExists {
        match self {
            Self::Replace => IfExists::Replace,
            Self::Skip => IfExists::Skip,
            Self::Fail => IfExists::Fail,
            Self::Merge => IfExists::Merge,
        }
    }
}

impl VerifyMode {
    fn meaning(self) -> Verify {
        match self {
            Self::None => Verify::None,
            Self::Count => Verify::Count,
            Self::Full => Verify::Full,
        }
    }
}

/// Runs `copy`.
pub(super) fn main(options: CopyOptions) -> ExitCode {
    let speech = options.speech.clone();
    let file = options
        .source
        .clone()
        .map_or_else(|| environment::text(url_variable(Side::Source)).ok().flatten(), Some);
    let mut files = options.files();
    match file.as_deref().and_then(file_of) {
        Some(path) => {
            files.push(Named::read("FILE", path));
            shared::main(&speech, files, || file_plan(options, path), copy_file)
        }
        None => shared::main(&speech, files, || plan(options), engine::run),
    }
}

/// The file given in place of a server: by the form of its name, or because a file of that name exists.
fn file_of(text: &str) -> Option<&Path> {
    let there = Some(Path::new(text)).filter(|path| !text.contains("://") && path.exists());
    file_path(text).or(there)
}

impl Planned for FilePlan {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.target]
    }
}

/// The plan of a copy between two servers, for who looks at both of them.
pub(super) fn plan_of_servers(options: CopyOptions) -> Result<Plan> {
    let url = match &options.source {
        Some(url) => Some(url.clone()),
        None => environment::text(url_variable(Side::Source))?,
    };
    if url.as_deref().and_then(file_of).is_some() {
        return Err(Error::config("the source is a file, and a plan looks at two servers")
            .advise("keyferry copy FILE TARGET reads the whole file before it writes anything"));
    }
    plan(options)
}

/// What the environment says of keys that exist, where the command line says nothing.
fn replace_by_environment(typed: Option<Policy>) -> Result<Option<IfExists>> {
    let asked = typed.map(|_| false);
    Ok(environment::REPLACE_DST_KEYS.is_on(asked)?.then_some(IfExists::Replace))
}

/// The plan of a copy from a file.
fn file_plan(options: CopyOptions, path: &Path) -> Result<FilePlan> {
    refuse_without_server(&options)?;
    let (_, target_url) = shared::urls(
        &options.source,
        &options.target,
        &options.source_options,
        &options.target_options,
    )?;
    let target =
        SideOptions::from(options.target_options).server(Side::Target, target_url.as_deref())?;
    let replace = replace_by_environment(options.if_exists)?;
    Ok(FilePlan {
        file: path.to_owned(),
        mapping: Mapping::new(&options.selection.db, None, target.endpoint.database)?,
        target,
        if_exists: options.if_exists.map(Policy::meaning).or(replace).unwrap_or_default(),
        functions: options.with_functions,
        dry_run: environment::DRY_RUN.is_on(options.dry_run)?,
        lossy: options.lossy,
        verify: options.verify.meaning(),
        limits: options.means.limits(&options.gentleness),
        timeouts: options.means.timeouts(),
        fail_if_empty: options.selection.fail_if_empty,
        filter: options.selection.filter(),
    })
}

/// What needs a source that answers.
fn refuse_without_server(options: &CopyOptions) -> Result<()> {
    let of_source = SideOptions::from(options.source_options.clone());
    let limits = options.means.limits(&options.gentleness);
    let asked = [
        (environment::CLEAN_UP.is_on(options.delete_source)?, "--delete-source"),
        (matches!(options.fetch, FetchWay::Dump), "--fetch dump"),
        (matches!(options.source_compression, CompressionMode::Off), "--source-compression off"),
        (limits.source_latency.is_some(), "--max-source-latency"),
        (options.require_quiet, "--require-quiet"),
        (matches!(options.if_exists, Some(Policy::Merge)), "--if-exists merge"),
        (matches!(options.verify, VerifyMode::Full), "--verify full"),
        (options.retry_failures.is_some(), "--retry-failures"),
        (options.state.is_some(), "--state"),
        (options.speech.differences.is_some(), "--differences"),
        (of_source.is_given(), "an option --source-…"),
    ];
    match asked.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let text = format!("the source is a file, and {option} needs a server there");
            Err(Error::config(text).advise("leave it out, or copy from a server"))
        }
        None => Ok(()),
    }
}

/// What needs a scan of the source.
fn refuse_with_letters(verify: VerifyMode, selection: &Selection) -> Result<()> {
    let named = "leave it out; the keys are named by the file";
    let text = match () {
        () if matches!(verify, VerifyMode::Full) => {
            "--verify full looks at every key, and --retry-failures copies a few"
        }
        () if selection.has_types() => "--type asks for every key's type in a scan",
        () => return Ok(()),
    };
    Err(Error::config(text).advise(named))
}

fn plan(options: CopyOptions) -> Result<Plan> {
    let (source, target) = shared::servers(
        &options.source,
        &options.target,
        options.source_options,
        options.target_options,
    )?;
    let mut mapping =
        Mapping::new(&options.selection.db, source.endpoint.database, target.endpoint.database)?;
    let replace = replace_by_environment(options.if_exists)?;
    let if_exists = options.if_exists.map(Policy::meaning);
    let delete_source = environment::CLEAN_UP.is_on(options.delete_source)?;
    let retry = options.retry_failures;
    if let Some(file) = &retry {
        refuse_with_letters(options.verify, &options.selection)?;
        mapping = mapping.obeying(letters::routes(file)?)?;
    }
    let dry_run = environment::DRY_RUN.is_on(options.dry_run)?;
    if options.state.is_some() && (dry_run || retry.is_some()) {
        let what = if dry_run { "a dry run" } else { "--retry-failures" };
        let text =
            format!("--state keeps how far a scan has come, and {what} is none to go on with");
        return Err(Error::config(text).advise("leave out --state"));
    }
    let retries = retry.is_some().then_some(IfExists::Fail);
    Ok(Plan {
        source,
        letters: retry,
        target,
        mapping,
        fail_if_empty: options.selection.fail_if_empty,
        filter: options.selection.filter(),
        if_exists: if_exists.or(replace).or(retries).unwrap_or_default(),
        delete_source,
        allow_evicting: options.allow_evicting_target,
        require_quiet: options.require_quiet,
        lossy: options.lossy,
        functions: options.with_functions,
        state: options.state,
        dry_run,
        fetch: match options.fetch {
            FetchWay::Auto => FetchMode::Auto,
            FetchWay::Dump => FetchMode::Dump,
        },
        source_compression: match options.source_compression {
            CompressionMode::Keep => SourceCompression::Keep,
            CompressionMode::Off => SourceCompression::Off,
        },
        verify: options.verify.meaning(),
        comparing: Comparing::default(),
        limits: options.means.limits(&options.gentleness),
        timeouts: options.means.timeouts(),
    })
}
