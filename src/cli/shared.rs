//! The options that copying and comparing have in common, and how such a run speaks and ends.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::MultiProgress;
use tracing::Level;

use super::files::{Named, Sink, refuse_dash, refuse_unusable, unwritable};
use super::side::{SideOptions, SourceOptions, TargetOptions, url_variable};
use super::signals::Signals;
use super::{environment, exit, logging, numbers};
use crate::command::Pattern;
use crate::config::filter::parse_type;
use crate::config::{Filter, Limits, Plan, Route, Server, Timeouts};
use crate::engine::{Ended, Stop};
use crate::error::{Error, Kind, Result, Side};
use crate::report::json::Outcome;
use crate::report::progress::{Progress, Style};
use crate::report::{DeadLetters, Differences, Stats, cut_off, table, way_on};
use crate::units::{bytes, parse_bytes, parse_duration};

/// Which keys are meant.
#[derive(Args)]
pub(super) struct Selection {
    /// Only database N, into M; may be given several times [default: the URL's, else all that hold
    /// keys, each to the same number]
    #[arg(long, value_name = "N[:M]", value_parser = Route::parse)]
    pub(super) db: Vec<(u32, Option<u32>)>,
    /// Only keys that fit this pattern (*, ?, [a-z], \x), on bytes; may be given several times
    #[arg(long = "match", value_name = "GLOB")]
    include: Vec<OsString>,
    /// No keys that fit this pattern; wins over --match; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// Fail (exit code 1) if no key is selected; without this, that is a warning
    #[arg(long)]
    pub(super) fail_if_empty: bool,
    /// Only keys of this type; may be given several times
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    types: Vec<String>,
}

/// What a run may use, and how long it waits.
#[derive(Args)]
pub(super) struct Means {
    /// Connections to each side for each database [default: 4, shared by the databases]
    #[arg(long, value_name = "N", value_parser = numbers::from_one_to::<u16, 64>)]
    connections: Option<u16>,
    /// What the process may have resident: 64MiB, 1GiB; larger values than fit come in pieces
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_memory)]
    memory: u64,
    /// How long a connection may take to stand
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    connect_timeout: Duration,
    /// How long a server may stay silent while it owes a reply
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    reply_timeout: Duration,
    /// How long to wait, without progress, for a server that says it is busy or loading
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    retry_budget: Duration,
}

/// How fast the source may be read.
#[derive(Args)]
pub(super) struct Gentleness {
    /// At most so many payload bytes a second, all connections together: 50MiB, 50MB, 512k, 4096
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_rate: Option<u64>,
    /// At most so many keys a second, all connections together
    #[arg(long, value_name = "N", value_parser = numbers::from_one)]
    max_keys_rate: Option<u64>,
    /// Slow down while the source keeps a PING waiting for longer than this, network time apart
    #[arg(long, value_name = "TIME", value_parser = parse_latency)]
    max_source_latency: Option<Duration>,
}

/// What a run says, and where.
#[derive(Args, Clone)]
pub(super) struct Speech {
    /// Write a JSON report to this file; - is stdout (the summary then goes to stderr)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write every key that differs to this file, as JSON lines: db, target_db, key, kind, what
    #[arg(long, value_name = "FILE")]
    pub(super) differences: Option<PathBuf>,
    /// Write every key that failed to this file, as JSON lines: db, target_db, key, hex, error; a copy that
    /// is given up half-way names every key that differs
    #[arg(long, value_name = "FILE")]
    pub(super) failures: Option<PathBuf>,
    /// How progress is shown, on stderr
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    progress: ProgressStyle,
    /// How log lines look, on stderr
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: logging::Format,
    /// Say more; twice even more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressStyle {
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
pub(super) struct Voice {
    bars: MultiProgress,
    style: Style,
    format: logging::Format,
    quiet: bool,
    report: Option<Sink>,
    differences: Option<Differences>,
    failures: Option<DeadLetters>,
}

impl Selection {
    /// Whether types are named.
    pub(super) fn has_types(&self) -> bool {
        !self.types.is_empty()
    }

    /// The filter that the options make.
    pub(super) fn filter(self) -> Filter {
        let patterns = |texts: &[OsString]| {
            texts.iter().map(|text| Pattern::new(text.as_encoded_bytes())).collect()
        };
        Filter {
            include: patterns(&self.include),
            exclude: patterns(&self.exclude),
            types: self.types,
        }
    }
}

impl Speech {
    /// The files that it writes.
    fn files(&self) -> Result<Vec<Named>> {
        let lists = [("--failures", &self.failures), ("--differences", &self.differences)];
        let lists = lists.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)));
        let mut files = Vec::new();
        for (option, path) in lists {
            refuse_dash(option, path)?;
            files.push(Named::written(option, path));
        }
        let report = self.report.as_deref().filter(|path| path.as_os_str() != "-");
        files.extend(report.map(|path| Named::written("--report", path)));
        Ok(files)
    }

    /// Of a run that is over at once and compares nothing.
    pub(super) fn of_a_look(self) -> Self {
        Self { differences: None, failures: None, progress: ProgressStyle::None, ..self }
    }
}

impl Means {
    /// How long a server may take.
    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.connect_timeout,
            reply: self.reply_timeout,
            retry: self.retry_budget,
        }
    }

    /// The bounds of the run.
    pub(super) fn limits(&self, gentleness: &Gentleness) -> Limits {
        Limits {
            connections: self.connections.map(usize::from),
            memory: self.memory,
            bytes_per_second: gentleness.max_rate,
            keys_per_second: gentleness.max_keys_rate,
            source_latency: gentleness.max_source_latency,
        }
    }
}

/// What the engine can carry out.
pub(super) trait Planned {
    /// The servers it speaks with.
    fn servers(&self) -> Vec<&Server>;

    /// Whether it may go on where an earlier run ended.
    fn goes_on(&self) -> bool {
        false
    }
}

impl Planned for Plan {
    fn servers(&self) -> Vec<&Server> {
        vec![&self.source, &self.target]
    }

    fn goes_on(&self) -> bool {
        self.state.is_some()
    }
}

/// Runs a plan that `engine` carries out, from the log's first line to the exit code.
/// `files`: all that are named beside those of `speech`.
pub(super) fn main<P: Planned, R: Future<Output = Ended>>(
    speech: &Speech,
    files: Vec<Named>,
    plan: impl FnOnce() -> Result<P>,
    engine: impl FnOnce(P, Arc<Stats>, Stop) -> R,
) -> ExitCode {
    let as_json = speech.log_format == logging::Format::Json;
    let prepared = voice(speech).and_then(|voice| {
        // Before any of them is opened.
        refuse_unusable(&speech.files()?.into_iter().chain(files).collect::<Vec<_>>())?;
        let plan = plan()?;
        let report = speech.report.as_deref().map(Sink::open).transpose()?;
        let differences = speech.differences.as_deref().map(|path| {
            let opened = Differences::into_file(path);
            opened.map_err(|error| unwritable("the file of differences", path, &error))
        });
        let failures = speech.failures.as_deref().map(|path| {
            let opened = DeadLetters::open(path, plan.goes_on());
            opened.map_err(|error| unwritable("the file of failures", path, &error))
        });
        let (differences, failures) = (differences.transpose()?, failures.transpose()?);
        Ok((plan, Voice { report, differences, failures, ..voice }))
    });
    let (plan, voice) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return exit::fail(&error, as_json),
    };
    for server in plan.servers() {
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
    match runtime.block_on(run(plan, voice, engine)) {
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

async fn run<P, R: Future<Output = Ended>>(
    plan: P,
    mut voice: Voice,
    engine: impl FnOnce(P, Arc<Stats>, Stop) -> R,
) -> Result<ExitCode> {
    let stop = Stop::default();
    let signals = Signals::install()?;
    let differences = voice.differences.take().unwrap_or_default();
    let failures = voice.failures.take().unwrap_or_default();
    let stats = Arc::new(Stats::telling(differences, failures));
    let line = match voice.format {
        logging::Format::Text => logging::text_line,
        logging::Format::Json => logging::json_line,
    };
    let progress = Progress::new(stats.clone(), voice.style, &voice.bars, line);
    let ended = tokio::select! {
        biased;
        ended = Box::pin(engine(plan, stats.clone(), stop.clone())) => ended,
        () = signals.watch(stop.clone()) => return Err(Error::config("signals ended")),
        () = progress.show() => return Err(Error::config("progress ended")),
    };
    drop(progress);
    let as_json = voice.format == logging::Format::Json;
    if stop.abort.is_cancelled() {
        // What was in flight is dropped: there are no counts that add up, and the lists are not whole.
        let _ = stats.dead_letters().flush();
        let error = Error::new(Kind::Cancelled, cut_off(&ended.report));
        let error = match way_on(&ended.report) {
            Some(way_on) => error.advise(way_on),
            None => error,
        };
        return Ok(exit::fail(&error, as_json));
    }
    // A run that never began, or only looked, has no list to take the place of an old one.
    let began = ended.error.is_none() || ended.report.keys.scanned > 0;
    let wanted = began && !ended.report.dry_run;
    let failures = stats.dead_letters().finish(wanted).map_err(|error| ("failures", error));
    let listed = stats.differences().finish(wanted).map_err(|error| ("differences", error));
    let listed = failures.and(listed);
    let summary = table::summary(&ended.report);
    let to_stdout = matches!(voice.report, Some(Sink::Stdout));
    let reported = match voice.report {
        Some(sink) => sink.write(&ended.report.to_json()),
        None => Ok(()),
    };
    let mut printed = Ok(());
    if voice.quiet {
        exit::tell_blockers(&ended.report, as_json);
    } else if began {
        // A run that never began is told by its error alone.
        match to_stdout {
            true if as_json => {}
            true => drop(write!(std::io::stderr(), "{summary}")),
            false => printed = exit::print(summary.as_bytes()),
        }
    }
    let told = listed
        .map_err(|(what, error)| format!("the file of {what} could not be written: {error}"))
        .and_then(|()| {
            reported.map_err(|error| format!("the report could not be written: {error}"))
        })
        .and_then(|()| printed.map_err(|error| format!("stdout could not be written: {error}")));
    let untold = told.err().map(|text| Error::new(Kind::Local, text));
    Ok(match (&ended.error, untold) {
        (Some(error), untold) => {
            let interrupted = ended.report.outcome == Outcome::Interrupted;
            let way_on = way_on(&ended.report).filter(|_| interrupted && !began);
            let code = match way_on {
                Some(way_on) => exit::fail(&error.clone().advise(way_on), as_json),
                None => exit::fail(error, as_json),
            };
            if let Some(untold) = untold {
                exit::fail(&untold, as_json);
            }
            match ended.report.outcome {
                Outcome::Interrupted => exit::code(&ended.report),
                // Refused by then is not refused before a write.
                Outcome::Incomplete if error.kind() == Kind::Refused => exit::code(&ended.report),
                _ => code,
            }
        }
        (None, Some(untold)) => exit::fail(&untold, as_json),
        (None, None) => exit::code(&ended.report),
    })
}

/// Opens what the run will speak through, and the log first of all.
fn voice(options: &Speech) -> Result<Voice> {
    let bars = MultiProgress::new();
    let by_environment = environment::DEBUG.set_by()?.is_some();
    let verbose = options.verbose + u8::from(by_environment);
    let level = match (options.quiet, verbose) {
        (true, _) => Level::ERROR,
        (_, 0) => Level::WARN,
        (_, 1) => Level::INFO,
        _ => Level::DEBUG,
    };
    logging::install(level, options.log_format, &bars);
    environment::DEBUG.is_on(None)?;
    let style = match options.progress {
        _ if options.quiet => Style::None,
        ProgressStyle::Auto => Style::automatic(),
        ProgressStyle::Bar => Style::Bar,
        ProgressStyle::Plain => Style::Plain,
        ProgressStyle::None => Style::None,
    };
    Ok(Voice {
        bars,
        style,
        format: options.log_format,
        quiet: options.quiet,
        report: None,
        differences: None,
        failures: None,
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
    if limit.is_zero() { Err("it leaves no time for an answer".to_owned()) } else { Ok(limit) }
}

/// The two URLs: arguments first, the environment where they are missing. A single argument is the
/// target where a service key names the source.
pub(super) fn urls(
    source: &Option<String>,
    target: &Option<String>,
    source_options: &SourceOptions,
    target_options: &TargetOptions,
) -> Result<(Option<String>, Option<String>)> {
    let from = |given: &Option<String>, side, has_key: bool| match given {
        Some(url) => Ok(Some(url.clone())),
        // A service key given on the command line is nearer than a variable.
        None if has_key => Ok(None),
        None => environment::text(url_variable(side)),
    };
    let keys = SideOptions::from(source_options.clone()).service_key.is_some();
    let target_has_key = SideOptions::from(target_options.clone()).service_key.is_some();
    if let (Some(only), None, true, false) = (source, target, keys, target_has_key)
        && environment::text(url_variable(Side::Target))?.is_none()
    {
        return Ok((None, Some(only.clone())));
    }
    Ok((from(source, Side::Source, keys)?, from(target, Side::Target, target_has_key)?))
}

/// Both servers, as URLs, options and the environment name them.
pub(super) fn servers(
    source: &Option<String>,
    target: &Option<String>,
    source_options: SourceOptions,
    target_options: TargetOptions,
) -> Result<(Server, Server)> {
    let (source, target) = urls(source, target, &source_options, &target_options)?;
    let source = SideOptions::from(source_options).server(Side::Source, source.as_deref())?;
    let target = SideOptions::from(target_options).server(Side::Target, target.as_deref())?;
    Ok((source, target))
}
