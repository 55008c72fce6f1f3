//! `keyferry copy`: options to plan, plan to engine, report to text.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::MultiProgress;
use tracing::Level;

use super::side::{SideOptions, SourceOptions, TargetOptions, url_variable};
use super::signals::Signals;
use super::{environment, exit, logging};
use crate::command::Pattern;
use crate::config::filter::parse_type;
use crate::config::{
    FetchMode, Filter, IfExists, Limits, Mapping, Plan, Route, SourceCompression, Timeouts, Verify,
};
use crate::engine;
use crate::error::{Error, Kind, Result, Side};
use crate::report::progress::{Progress, Style};
use crate::report::{Stats, table};
use crate::units::{bytes, parse_bytes, parse_duration};

/// What `copy` takes.
#[derive(Args)]
pub(super) struct CopyOptions {
    /// The server that is read, as a URL [env: SOURCE_REDIS_URL]
    source: Option<String>,
    /// The server that is written, as a URL [env: DESTINATION_REDIS_URL]
    target: Option<String>,

    /// Only database N, into M; may be given several times [default: the URL's, else all that hold
    /// keys, each to the same number]
    #[arg(long, value_name = "N[:M]", value_parser = Route::parse, help_heading = "What is copied")]
    db: Vec<(u32, Option<u32>)>,
    /// Only keys that fit this pattern (*, ?, [a-z], \x), on bytes; may be given several times
    #[arg(long = "match", value_name = "GLOB", help_heading = "What is copied")]
    include: Vec<std::ffi::OsString>,
    /// No keys that fit this pattern; wins over --match; may be given several times
    #[arg(long, value_name = "GLOB", help_heading = "What is copied")]
    exclude: Vec<std::ffi::OsString>,
    /// Only keys of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type, help_heading = "What is copied")]
    types: Vec<String>,

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
    /// Connections to each side for each database [default: 4, shared by the databases]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "How it is copied")]
    connections: Option<u16>,
    /// What the process may have resident: 64MiB, 1GiB; larger values than fit come in pieces
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_memory, help_heading = "How it is copied")]
    memory: u64,
    /// How long a connection may take to stand
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration, help_heading = "How it is copied")]
    connect_timeout: Duration,
    /// How long a server may stay silent while it owes a reply
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration, help_heading = "How it is copied")]
    reply_timeout: Duration,
    /// How long to wait, without progress, for a server that says it is busy or loading
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration, help_heading = "How it is copied")]
    retry_budget: Duration,

    /// At most so many payload bytes a second, all connections together: 50MiB, 50MB, 512k, 4096
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Gentle to the source")]
    max_rate: Option<u64>,
    /// At most so many keys a second, all connections together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Gentle to the source")]
    max_keys_rate: Option<u64>,
    /// Slow down while the source keeps a PING waiting for longer than this, network time apart
    #[arg(long, value_name = "TIME", value_parser = parse_latency, help_heading = "Gentle to the source")]
    max_source_latency: Option<Duration>,
    /// Whether the source goes on compressing what it dumps, most of a DUMP's cost
    #[arg(long, value_name = "HOW", default_value = "keep", help_heading = "Gentle to the source")]
    source_compression: CompressionMode,

    /// Write a JSON report to this file; - is stdout (the summary then goes to stderr)
    #[arg(long, value_name = "FILE", help_heading = "What is said")]
    report: Option<PathBuf>,
    /// How progress is shown, on stderr
    #[arg(long, value_name = "STYLE", default_value = "auto", help_heading = "What is said")]
    progress: ProgressStyle,
    /// How log lines look, on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "What is said")]
    log_format: logging::Format,
    /// Say more; twice even more
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "What is said")]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "What is said")]
    quiet: bool,

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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line every five seconds
    Plain,
    /// Nothing
    None,
}

/// How a run speaks.
struct Voice {
    bars: MultiProgress,
    style: Style,
    format: logging::Format,
    quiet: bool,
    report: Option<Sink>,
}

/// Where the JSON report goes.
enum Sink {
    Stdout,
    File(File),
}

impl Sink {
    fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        File::create(path).map(Self::File).map_err(|error| {
            Error::config(format!("the report {} cannot be written: {error}", path.display()))
        })
    }
}

/// Runs `copy`.
pub(super) fn main(options: CopyOptions) -> ExitCode {
    let as_json = options.log_format == logging::Format::Json;
    let report = options.report.clone();
    let prepared = voice(&options).and_then(|voice| {
        let plan = plan(options)?;
        // Opened before any work: a report that cannot be written is better known now.
        Ok((plan, Voice { report: report.as_deref().map(Sink::open).transpose()?, ..voice }))
    });
    let (plan, voice) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return exit::fail(&error, as_json),
    };
    for server in [&plan.source, &plan.target] {
        if server.tls.insecure {
            tracing::warn!(
                "{}: certificates are NOT verified, as --{0}-tls-insecure asks",
                server.side
            );
        }
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::fail(&Error::config(format!("no runtime: {error}")), as_json);
        }
    };
    match runtime.block_on(copy(plan, voice)) {
        Ok(code) => code,
        Err(error) => exit::fail(&error, as_json),
    }
}

/// Half the cores: the other half is the servers', where they share the machine; the work is
/// theirs, not ours. More than four have nothing to do.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    const MOST_THREADS: usize = 4;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match (cores / 2).min(MOST_THREADS) {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        }
    }
}

async fn copy(plan: Plan, mut voice: Voice) -> Result<ExitCode> {
    let stop = engine::Stop::default();
    let signals = Signals::install()?;
    let stats = Arc::new(Stats::default());
    let line = match voice.format {
        logging::Format::Text => logging::text_line,
        logging::Format::Json => logging::json_line,
    };
    let progress = Progress::new(stats.clone(), voice.style, &voice.bars, line);
    let ended = tokio::select! {
        biased;
        ended = Box::pin(engine::run(plan, stats, stop.clone())) => ended,
        () = signals.watch(stop.clone()) => return Err(Error::config("signals ended")),
        () = progress.show() => return Err(Error::config("progress ended")),
    };
    drop(progress);
    if stop.abort.is_cancelled() {
        // What was in flight is dropped: there are no counts that add up.
        return Ok(ExitCode::from(Kind::Cancelled.exit_code()));
    }
    let as_json = voice.format == logging::Format::Json;
    let summary = table::summary(&ended.report);
    // A run that never began is told by its error alone.
    let began = ended.error.is_none() || ended.report.keys.scanned > 0;
    match &mut voice.report {
        Some(Sink::Stdout) => {
            let _ = writeln!(std::io::stdout(), "{:#}", ended.report.to_json());
        }
        Some(Sink::File(file)) => {
            let written =
                writeln!(file, "{:#}", ended.report.to_json()).and_then(|()| file.sync_all());
            if let Err(error) = written {
                tracing::error!("the report could not be written: {error}");
            }
        }
        None => {}
    }
    if began && !voice.quiet {
        match voice.report {
            Some(Sink::Stdout) if as_json => {}
            Some(Sink::Stdout) => drop(write!(std::io::stderr(), "{summary}")),
            _ => drop(write!(std::io::stdout(), "{summary}")),
        }
    }
    Ok(match &ended.error {
        Some(error) => exit::fail(error, as_json),
        None => exit::code(&ended.report),
    })
}

/// Opens what the run will speak through, and the log first of all.
fn voice(options: &CopyOptions) -> Result<Voice> {
    let bars = MultiProgress::new();
    let verbose = options.verbose + u8::from(environment::switch("DEBUG")?);
    let level = match (options.quiet, verbose) {
        (true, _) => Level::ERROR,
        (_, 0) => Level::WARN,
        (_, 1) => Level::INFO,
        _ => Level::DEBUG,
    };
    logging::install(level, options.log_format, &bars);
    let style = match options.progress {
        _ if options.quiet => Style::None,
        ProgressStyle::Auto => Style::automatic(),
        ProgressStyle::Bar => Style::Bar,
        ProgressStyle::Plain => Style::Plain,
        ProgressStyle::None => Style::None,
    };
    Ok(Voice { bars, style, format: options.log_format, quiet: options.quiet, report: None })
}

fn plan(options: CopyOptions) -> Result<Plan> {
    let (source_url, target_url) = urls(&options)?;
    let source =
        SideOptions::from(options.source_options).server(Side::Source, source_url.as_deref())?;
    let target =
        SideOptions::from(options.target_options).server(Side::Target, target_url.as_deref())?;
    let mapping = Mapping::new(&options.db, source.endpoint.database, target.endpoint.database)?;
    let patterns = |texts: &[std::ffi::OsString]| {
        texts.iter().map(|text| Pattern::new(text.as_encoded_bytes())).collect()
    };
    let filter = Filter {
        include: patterns(&options.include),
        exclude: patterns(&options.exclude),
        types: options.types,
    };
    let replace = environment::switch("REPLACE_DST_KEYS")?.then_some(IfExists::Replace);
    let if_exists = options.if_exists.map(|policy| match policy {
        Policy::Replace => IfExists::Replace,
        Policy::Skip => IfExists::Skip,
        Policy::Fail => IfExists::Fail,
        Policy::Merge => IfExists::Merge,
    });
    Ok(Plan {
        source,
        target,
        mapping,
        filter,
        if_exists: if_exists.or(replace),
        delete_source: options.delete_source || environment::switch("CLEAN_UP")?,
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
        limits: Limits {
            connections: options.connections.map(usize::from),
            memory: options.memory,
            bytes_per_second: options.max_rate,
            keys_per_second: options.max_keys_rate,
            source_latency: options.max_source_latency,
        },
        timeouts: Timeouts {
            connect: options.connect_timeout,
            reply: options.reply_timeout,
            retry: options.retry_budget,
        },
    })
}

/// A budget of memory: a size that a run can do with.
fn parse_memory(text: &str) -> Result<u64, String> {
    let memory = parse_bytes(text)?;
    if memory < Limits::LEAST_MEMORY {
        return Err(format!("a copy needs {} at least", bytes(Limits::LEAST_MEMORY)));
    }
    Ok(memory)
}

/// A limit of latency: a duration that something can be under.
fn parse_latency(text: &str) -> Result<Duration, String> {
    let limit = parse_duration(text)?;
    if limit.is_zero() { Err(format!("'{text}' leaves no time for an answer")) } else { Ok(limit) }
}

/// The two URLs: arguments first, the environment where they are missing. A single argument is the
/// target where a service key names the source.
fn urls(options: &CopyOptions) -> Result<(Option<String>, Option<String>)> {
    let from = |given: &Option<String>, side, has_key: bool| match given {
        Some(url) => Ok(Some(url.clone())),
        // A service key given on the command line is nearer than a variable.
        None if has_key => Ok(None),
        None => environment::text(url_variable(side)),
    };
    let keys = SideOptions::from(options.source_options.clone()).service_key.is_some();
    let target_has_key = SideOptions::from(options.target_options.clone()).service_key.is_some();
    if let (Some(only), None, true, false) =
        (&options.source, &options.target, keys, target_has_key)
        && environment::text(url_variable(Side::Target))?.is_none()
    {
        return Ok((None, Some(only.clone())));
    }
    Ok((
        from(&options.source, Side::Source, keys)?,
        from(&options.target, Side::Target, target_has_key)?,
    ))
}
