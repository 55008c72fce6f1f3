//! `keyferry backup`: a server saved to an RDB file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::environment;
use super::files::Named;
use super::shared::{self, Gentleness, Means, Planned, Selection, Speech};
use super::side::{SideOptions, SourceOptions, url_variable};
use crate::config::{FetchMode, Mapping, Server};
use crate::engine::backup::{BackupPlan, backup};
use crate::error::{Error, Result, Side};

/// What `backup` takes.
#[derive(Args)]
pub(super) struct BackupOptions {
    /// The server that is saved, as a URL [env: SOURCE_REDIS_URL, where only FILE is given]
    source: OsString,
    /// The file that is made, readable by its owner only; one that exists is never overwritten
    file: Option<OsString>,

    #[command(flatten, next_help_heading = "What is saved")]
    selection: Selection,

    /// How the file is made
    #[arg(long, value_name = "WAY", default_value = "auto", help_heading = "How it is saved")]
    fetch: FetchWay,
    /// Write nothing; say what would be saved
    #[arg(long, help_heading = "How it is saved", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = environment::parse_truth)]
    dry_run: Option<bool>,
    #[command(flatten, next_help_heading = "How it is saved")]
    means: Means,

    #[command(flatten, next_help_heading = "Gentle to the source")]
    gentleness: Gentleness,

    #[command(flatten, next_help_heading = "What is said")]
    speech: Speech,

    #[command(flatten)]
    source_options: SourceOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum FetchWay {
    /// The source's own file, as a replica gets it; of SCAN and DUMP where it hands none out or would
    /// write it to its own disk first, only a part is meant, or a rate is to be kept
    Auto,
    /// Of SCAN and DUMP
    Dump,
    /// The source's own file, also where it writes it to its own disk first (BGSAVE)
    Psync,
}

impl Planned for BackupPlan {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.source]
    }
}

/// Runs `backup`.
pub(super) fn main(options: BackupOptions) -> ExitCode {
    let speech = options.speech.clone();
    let mut files = SideOptions::from(options.source_options.clone()).files(Side::Source);
    let named = options.file.as_deref().unwrap_or_else(|| options.source.as_ref());
    files.extend(file(named).map(|path| Named::written("FILE", &path)));
    shared::main(&speech, files, || plan(options), backup)
}

fn plan(options: BackupOptions) -> Result<BackupPlan> {
    let (url, path) = match &options.file {
        Some(path) => (options.source.to_str().map(str::to_owned), path),
        None => (environment::text(url_variable(Side::Source))?, &options.source),
    };
    let path = file(path)?;
    let source = SideOptions::from(options.source_options).server(Side::Source, url.as_deref())?;
    if let Some((number, Some(into))) = options.selection.db.iter().find(|(_, into)| into.is_some())
    {
        let text = format!("--db {number}:{into}: in a file every database keeps its number");
        return Err(Error::config(text).advise("give another number when the file is copied"));
    }
    if options.speech.differences.is_some() {
        return Err(Error::config("--differences: a backup compares nothing"));
    }
    let limits = options.means.limits(&options.gentleness);
    if limits.source_latency.is_some() {
        let text = "--max-source-latency is not kept by a backup";
        return Err(Error::config(text).advise("use --max-rate or --max-keys-rate"));
    }
    let plan = BackupPlan {
        databases: Mapping::new(&options.selection.db, source.endpoint.database, None)?,
        source,
        file: path,
        dry_run: environment::DRY_RUN.is_on(options.dry_run)?,
        fail_if_empty: options.selection.fail_if_empty,
        filter: options.selection.filter(),
        fetch: match options.fetch {
            FetchWay::Auto | FetchWay::Psync => FetchMode::Auto,
            FetchWay::Dump => FetchMode::Dump,
        },
        limits,
        over_disk: matches!(options.fetch, FetchWay::Psync),
        timeouts: options.means.timeouts(),
    };
    if plan.over_disk && (!plan.is_whole() || plan.limits.paced()) {
        let text = "--fetch psync takes all keys, at the source's own rate";
        return Err(Error::config(text).advise(
            "leave it out, or what selects keys and databases, and --max-rate, --max-keys-rate",
        ));
    }
    Ok(plan)
}

/// The path that is meant by `PATH` or `file:PATH`. A URL may hold a password, and is no name of a
/// file.
fn file(text: &OsStr) -> Result<PathBuf> {
    let bytes = text.as_bytes();
    let path = bytes.strip_prefix(b"file:").unwrap_or(bytes);
    if path.windows(3).any(|part| part == b"://") {
        let text = "the second argument names a server, where a file belongs";
        return Err(Error::config(text).advise("write keyferry backup SOURCE FILE.rdb"));
    }
    if path == b"-" {
        let text = "a backup is read back before it is done, which stdout cannot be";
        return Err(Error::config(text).advise("name a file"));
    }
    if path.is_empty() {
        return Err(Error::config("the file has no name"));
    }
    Ok(PathBuf::from(OsString::from_vec(path.to_vec())))
}
