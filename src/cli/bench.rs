//! `keyferry bench`: options to contestants, figures to table, JSON and picture.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::copy::CopyOptions;
use super::files::refuse_known;
use super::side::SideOptions;
use super::signals::Signals;
use super::{exit, logging, numbers, print};
use crate::bench::{self, Amount, DataSet, Options, Servers, Variant, Wishes};
use crate::error::{Error, Result, Side};
use crate::units::parse_duration;

/// What `bench` takes. Boxed: no other subcommand takes as much.
#[derive(Args)]
pub(super) struct BenchOptions {
    #[command(flatten)]
    all: Box<Wanted>,
}

#[derive(Args)]
struct Wanted {
    /// An empty server to load, as a URL, instead of a throw-away one; it is left empty
    #[arg(requires = "target")]
    source: Option<String>,
    /// An empty server to copy into, as a URL; it is left empty, and what its directory holds stays, unless --only
    /// names replicaof
    target: Option<String>,

    /// The program of the throw-away servers: a redis-server or valkey-server, in PATH or by its path
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "redis-server",
        conflicts_with = "source",
        help_heading = "Servers"
    )]
    server: PathBuf,
    /// The target's program, if it is another one
    #[arg(long, value_name = "PROGRAM", conflicts_with = "source", help_heading = "Servers")]
    target_server: Option<PathBuf>,

    /// strings-1k, strings-100 (or another size), strings-expiring, mixed, large (40 of 20 MB), giant
    /// (one of 400 MB), together (both, and strings of 1 kB); values are random bytes, half of mixed
    /// is text that compresses; may be given several times [default: strings-1k]
    #[arg(long, value_name = "SET", help_heading = "Data")]
    data: Vec<DataSet>,
    /// How many keys, not counting large and giant values [default: 3,000,000 of less than 1 kB, else 1,000,000]
    #[arg(long, value_name = "N", value_parser = numbers::from_one, help_heading = "Data")]
    keys: Option<u64>,
    /// How many bytes, where --keys does not say it, and of large and giant values
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Data")]
    bytes: Option<u64>,
    /// The same as --data strings-BYTES
    #[arg(long, value_name = "BYTES", value_parser = numbers::up_to::<u32, { 1 << 20 }>, help_heading = "Data")]
    size: Option<u32>,

    /// How often each contestant runs; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = numbers::from_one_to::<u16, 100>, help_heading = "Contestants")]
    rounds: u16,
    /// Only these contestants; may be given several times
    #[arg(long, value_name = "NAME", help_heading = "Contestants")]
    only: Vec<String>,
    /// All but these; may be given several times
    #[arg(long, value_name = "NAME", help_heading = "Contestants")]
    skip: Vec<String>,
    /// A copy with these options, as in capped='--max-rate 50MiB'; may be given several times
    #[arg(long, value_name = "NAME=OPTIONS", value_parser = parse_named, help_heading = "Contestants")]
    copy: Vec<(String, String)>,
    /// Another program, run by sh, as in NAME='cmd {source} {target}'; also {source_host},
    /// {source_port}, {target_host}, {target_port}; may be given several times
    #[arg(long, value_name = "NAME=COMMAND", value_parser = parse_named, help_heading = "Contestants")]
    against: Vec<(String, String)>,
    /// Also copy through proxies with this round trip, and with none (copy-far, copy-near)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Contestants")]
    round_trip: Option<Duration>,
    /// Also copy with --max-rate and --max-keys-rate at 40 % of what copy reaches, for three seconds
    /// or more (copy-max-rate, copy-max-keys-rate)
    #[arg(long, help_heading = "Contestants")]
    throttled: bool,
    /// Also measure what clients of the source wait: alone, beside a copy, beside a copy with
    /// --max-source-latency 5ms (client-alone, client-copy, client-guarded). Take --data mixed, whose
    /// DUMPs keep the source busy; copies of strings end before there is much to wait for
    #[arg(long, help_heading = "Contestants")]
    foreground: bool,

    /// Write a JSON report to this file; - is stdout (the table then goes to stderr)
    #[arg(long, value_name = "FILE", help_heading = "What is said")]
    report: Option<PathBuf>,
    /// Write a picture of the medians to this file
    #[arg(long, value_name = "FILE", help_heading = "What is said")]
    svg: Option<PathBuf>,
}

/// Runs `bench`.
pub(super) fn main(options: &BenchOptions) -> ExitCode {
    match prepare_and_run(&options.all) {
        Ok(code) => code,
        Err(error) => exit::fail(&error, false),
    }
}

fn prepare_and_run(options: &Wanted) -> Result<ExitCode> {
    let wanted = wanted(options)?;
    let report = options.report.as_deref().filter(|path| path.as_os_str() != "-");
    // Opened before any work: what cannot be written is better known now.
    let svg = options.svg.as_deref();
    for (option, path) in [("--report", report), ("--svg", svg)] {
        path.map_or(Ok(()), |path| refuse_known(option, path))?;
    }
    let (report_file, svg_file) = (create(report)?, create(svg)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::config(format!("no runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        let signals = Signals::install()?;
        let cancel = CancellationToken::new();
        tokio::select! {
            biased;
            outcome = Box::pin(bench::run(&wanted, logging::text_line, &cancel)) => outcome,
            () = signals.watch(cancel.clone().into()) => Err(Error::config("signals ended")),
        }
    })?;
    let table = bench::table::table(&outcome);
    let json = format!("{:#}\n", bench::json::to_json(&outcome, &arguments()));
    write(report_file, &json)?;
    write(svg_file, &bench::svg::svg(&outcome))?;
    let printed = if options.report.as_deref() == Some(Path::new("-")) {
        logging::text_line(&table);
        print(json.as_bytes())
    } else {
        print(table.as_bytes())
    };
    Ok(if outcome.any_failed() { ExitCode::from(1) } else { printed })
}

fn wanted(options: &Wanted) -> Result<Options> {
    let mut data = options.data.clone();
    data.extend(options.size.map(|size| DataSet::Strings { size: size as usize }));
    if data.is_empty() {
        data.push(DataSet::Strings { size: 1_000 });
    }
    let mut variants = vec![
        variant("copy-dump", &["--fetch", "dump"]),
        variant("copy-nocompress", &["--source-compression", "off"]),
    ];
    variants.extend(options.copy.iter().map(|(name, text)| {
        let options = text.split_whitespace().map(str::to_owned).collect();
        Variant { name: name.clone(), options, obstacle: None }
    }));
    let contestants = bench::line_up(Wishes {
        variants,
        against: options.against.clone(),
        round_trip: options.round_trip,
        throttled: options.throttled,
        foreground: options.foreground,
        only: options.only.clone(),
        skip: options.skip.clone(),
        of_user: options.source.is_some(),
    })?;
    Ok(Options {
        servers: servers(options)?,
        data,
        amount: Amount { keys: options.keys, bytes: options.bytes },
        rounds: usize::from(options.rounds),
        contestants,
    })
}

fn servers(options: &Wanted) -> Result<Servers> {
    let (Some(source), Some(target)) = (&options.source, &options.target) else {
        let target = options.target_server.as_ref().unwrap_or(&options.server);
        return Ok(Servers::ThrowAway { source: options.server.clone(), target: target.clone() });
    };
    let server = |side, url: &str| SideOptions::default().server(side, Some(url)).map(Box::new);
    Ok(Servers::Given {
        source: server(Side::Source, source)?,
        target: server(Side::Target, target)?,
    })
}

/// A variant of the copy by one option and its value; left out where this program has no such.
fn variant(name: &str, option: &[&str; 2]) -> Variant {
    let definition = CopyOptions::augment_args(clap::Command::new("copy"));
    let known = definition.get_arguments().any(|argument| {
        let values = argument.get_possible_values();
        argument.get_long() == option[0].strip_prefix("--")
            && (values.is_empty() || values.iter().any(|value| value.matches(option[1], false)))
    });
    let obstacle = (!known).then(|| format!("this copy has no {} {}", option[0], option[1]));
    Variant { name: name.into(), options: option.map(str::to_owned).into(), obstacle }
}

fn create(path: Option<&Path>) -> Result<Option<File>> {
    let open = |path: &Path| {
        File::create(path).map_err(|error| {
            Error::config(format!("{} cannot be written: {error}", path.display()))
        })
    };
    path.map(open).transpose()
}

fn write(file: Option<File>, text: &str) -> Result<()> {
    let Some(mut file) = file else { return Ok(()) };
    file.write_all(text.as_bytes())
        .map_err(|error| Error::config(format!("a file could not be written: {error}")))
}

/// The command line without what stands in front of a host: it may be a password.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| without_users(&argument.to_string_lossy())).collect()
}

fn without_users(argument: &str) -> String {
    let mut shown = String::new();
    let mut rest = argument;
    while let Some((before, behind)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
        rest = match behind.get(..end).and_then(|url| url.rfind('@')) {
            Some(at) => {
                shown.push_str("***");
                behind.get(at..).unwrap_or_default()
            }
            None => behind,
        };
    }
    shown + rest
}

fn parse_named(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, content)) if !name.trim().is_empty() && !content.trim().is_empty() => {
            Ok((name.trim().to_owned(), content.to_owned()))
        }
        _ => Err("write NAME='…'".to_owned()),
    }
}

/// A number of bytes with kB, MB, GB or KiB, MiB, GiB.
fn parse_size(text: &str) -> std::result::Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let wrong = || "write for example 500MB or 1GiB".to_owned();
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()));
    let size = number * known.ok_or_else(wrong)?.1 as f64;
    if (1.0..1e15).contains(&size) { Ok(size as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("12"), Ok(12));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("2MiB"), Ok(2 << 20));
        for bad in ["", "x", "-1", "1 parsec", "0", "1e9GB", "9999999GB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        assert_eq!(without_users("redis://u:p@w@h:1/2"), "redis://***@h:1/2");
        assert_eq!(
            without_users("x=tool redis://:p@a {target} redis://b"),
            "x=tool redis://***@a {target} redis://b"
        );
        assert_eq!(without_users("--keys"), "--keys");
    }

    #[test]
    fn only_options_that_the_copy_has_make_a_variant() {
        assert!(variant("a", &["--verify", "none"]).obstacle.is_none());
        assert!(variant("a", &["--verify", "by-eye"]).obstacle.is_some());
        assert!(variant("a", &["--no-such", "x"]).obstacle.is_some());
        assert!(variant("a", &["--report", "anywhere"]).obstacle.is_none());
    }
}
