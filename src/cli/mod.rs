//! The command line: what was typed becomes a plan, what came of it becomes text and an exit code.
//!
//! One file a subcommand. Only here is anything printed.

mod backup;
mod bench;
mod cleanup;
mod copy;
mod environment;
mod exit;
mod files;
mod logging;
mod numbers;
mod plan;
mod secrets;
mod shared;
mod side;
mod signals;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::error::{Error, Kind};

/// Moves keyspaces between Redis and Valkey servers and proves that every key arrived.
#[derive(Parser)]
#[command(
    name = "keyferry",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_long_help = AFTER_HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    copy: copy::CopyOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Copy keys (`keyferry SOURCE TARGET` is the same)
    #[command(after_long_help = AFTER_HELP)]
    Copy(Box<copy::CopyOptions>),
    /// Look ahead: what a copy would do and what stands in its way, with its own options; writes nothing
    #[command(after_long_help = AFTER_HELP)]
    Plan(Box<copy::CopyOptions>),
    /// Compare both sides, both ways: keys, types, values, expiries; writes nothing
    #[command(after_long_help = AFTER_HELP)]
    Verify(Box<verify::VerifyOptions>),
    /// Delete from the source what the target holds equal at that moment; asks first
    #[command(after_long_help = AFTER_HELP)]
    Cleanup(Box<cleanup::CleanupOptions>),
    /// Save a server to an RDB file, which any server of its version loads
    #[command(after_long_help = AFTER_HELP)]
    Backup(Box<backup::BackupOptions>),
    /// Measure on throw-away servers: the copy against MIGRATE, REPLICAOF and the source's own limit
    Bench(bench::BenchOptions),
    /// Print a script that completes keyferry's options in a shell
    Completions(Completions),
    /// Print the manual page, in the format of man(7)
    Man,
}

#[derive(Args)]
struct Completions {
    /// The shell
    shell: Shell,
}

const AFTER_HELP: &str = "\
Endpoints:
  redis://[user[:password]@]host[:port][/db]   plain; valkey:// is the same
  rediss://…                                   TLS; valkeys:// is the same
  unix:///path?db=N                            a unix socket
  FILE.rdb, file:PATH, any file that is there  an RDB file: what backup writes and copy reads
  User and password are percent-encoded (@ is %40, / is %2F, # is %23).

Environment:
  SOURCE_REDIS_URL, DESTINATION_REDIS_URL            endpoints, where no arguments are given
  SOURCE_REDIS_PASSWORD, DESTINATION_REDIS_PASSWORD  passwords, where the URL has none
  DRY_RUN, CLEAN_UP, REPLACE_DST_KEYS, DEBUG         = --dry-run, --delete-source,
      --if-exists replace, -v;  1 true yes on are on, empty 0 false no off are off;
      KEYFERRY_DRY_RUN and so on win over these; the command line wins (--dry-run=false)

Exit codes:
  0 done, every key accounted for      1 finished, but keys failed or sides differ
  2 usage                              3 cannot connect, authenticate or trust
  4 refused for safety, nothing written
  5 a local file is damaged, or a checkpoint is of another plan or in use
  130 interrupted; what was in flight is done

Examples:
  keyferry redis://old:6379 redis://new:6379            every database, to the same number
  keyferry redis://old redis://new --db 1:0             database 1 into 0
  keyferry plan redis://old redis://new                 what stands in the way?
  keyferry verify redis://old redis://new               do both sides agree?
  keyferry cleanup redis://old --verified-against redis://new
                                                        delete what both hold from the old one
  keyferry rediss://u@old valkeys://new --source-cacert ca.pem --match 'session:*'
  keyferry backup redis://old old.rdb                   save; keyferry copy old.rdb redis://new
";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let first = std::env::args_os().nth(1).and_then(|first| first.into_string().ok());
    if let Some(error) = first.and_then(|first| misspelt(&first)) {
        return exit::fail(&error, false);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(error),
    };
    match cli.command {
        None => copy::main(cli.copy),
        Some(Command::Copy(options)) => copy::main(*options),
        Some(Command::Plan(options)) => plan::main(*options),
        Some(Command::Verify(options)) => verify::main(*options),
        Some(Command::Cleanup(options)) => cleanup::main(*options),
        Some(Command::Backup(options)) => backup::main(*options),
        Some(Command::Bench(options)) => bench::main(&options),
        Some(Command::Completions(options)) => {
            let mut script = Vec::new();
            clap_complete::generate(options.shell, &mut Cli::command(), "keyferry", &mut script);
            print(&script)
        }
        Some(Command::Man) => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => print(&page),
                Err(error) => exit::fail(&Error::config(format!("no manual page: {error}")), false),
            }
        }
    }
}

/// A word in the place of a command that looks like one: it would be taken for an endpoint.
fn misspelt(word: &str) -> Option<Error> {
    /// So similar are a word and the command that it was to be: `verfy`, `cleanups`, `bakcup`.
    const SIMILAR: f64 = 0.85;
    if !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') || word.starts_with('-')
    {
        return None;
    }
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    if names.contains(&word) || word == "help" {
        return None;
    }
    let similar = names.into_iter().map(|name| (strsim::jaro_winkler(word, name), name));
    let (likeness, name) = similar.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let text = format!("no such command; did you mean '{name}'?");
    (likeness >= SIMILAR).then(|| Error::config(text))
}

/// Says what the parser says, without the passwords that it would repeat. Help and version go to stdout and
/// are no error.
fn refuse(mut error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return written(error.print());
    }
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    secrets::hide_values(&mut error, &names);
    let text = error.render();
    let text = if logging::are_coloured() { text.ansi().to_string() } else { text.to_string() };
    let _ = write!(std::io::stderr(), "{}", secrets::hidden(&text));
    ExitCode::from(Kind::Config.exit_code())
}

/// Writes to stdout.
fn print(bytes: &[u8]) -> ExitCode {
    written(std::io::stdout().write_all(bytes))
}

/// What became of a write to stdout.
fn written(result: std::io::Result<()>) -> ExitCode {
    match exit::unless_gone(result.and_then(|()| std::io::stdout().flush())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = Error::new(Kind::Local, format!("stdout could not be written: {error}"));
            exit::fail(&error, false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_command_is_no_endpoint() {
        for (word, name) in [
            ("verfy", "verify"),
            ("cop", "copy"),
            ("bakcup", "backup"),
            ("cleanups", "cleanup"),
            ("plann", "plan"),
        ] {
            let error = misspelt(word).expect(word).to_string();
            assert!(error.contains(&format!("did you mean '{name}'?")), "{error}");
        }
        for word in
            ["copy", "help", "localhost", "redis", "-v", "--help", "verify2", "old", "dump.rdb", ""]
        {
            assert!(misspelt(word).is_none(), "{word}");
        }
    }

    #[test]
    fn the_definition_is_sound_and_every_option_has_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in std::iter::once(&command).chain(command.get_subcommands()) {
            for argument in subcommand.get_arguments() {
                assert!(argument.get_help().is_some(), "{}", argument.get_id());
            }
        }
    }
}
