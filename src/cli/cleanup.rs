//! `keyferry cleanup`: deletes from the source what the target is proven to hold.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::sync::oneshot;

use super::environment;
use super::shared::{self, Gentleness, Means, Selection, Speech};
use super::side::{self, SideOptions, SourceOptions, TargetOptions, url_variable};
use crate::config::{Comparing, FetchMode, IfExists, Mapping, Plan, SourceCompression, Verify};
use crate::engine::{self, Intent};
use crate::error::{Error, Result, Side};
use crate::units::{keys, parse_duration};

/// The only answer that means yes.
const YES: &str = "yes";

/// What `cleanup` takes.
#[derive(Args)]
pub(super) struct CleanupOptions {
    /// The server whose keys are deleted, as a URL [env: SOURCE_REDIS_URL]
    source: Option<String>,
    /// The server that must hold the same, as a URL; required [env: DESTINATION_REDIS_URL]
    #[arg(long, value_name = "TARGET")]
    verified_against: Option<String>,

    #[command(flatten, next_help_heading = "What is deleted")]
    selection: Selection,

    /// How far two expiries may lie apart
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = parse_duration, help_heading = "How it is deleted")]
    ttl_tolerance: Duration,
    /// Go on although the target may evict keys when its memory is full; nothing more is deleted once
    /// it does
    #[arg(long, help_heading = "How it is deleted")]
    allow_evicting_target: bool,
    /// Do not ask first
    #[arg(long, help_heading = "How it is deleted")]
    force: bool,
    /// Delete nothing; say what would be deleted
    #[arg(long, help_heading = "How it is deleted", value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = environment::parse_truth)]
    dry_run: Option<bool>,
    #[command(flatten, next_help_heading = "How it is deleted")]
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

/// Runs `cleanup`.
pub(super) fn main(options: CleanupOptions) -> ExitCode {
    let speech = options.speech.clone();
    let force = options.force;
    let files = side::files_of(&options.source_options, &options.target_options);
    shared::main(
        &speech,
        files,
        || plan(options),
        |plan, stats, stop| {
            engine::cleanup(plan, stats, stop, async move |intent| match force {
                true => Ok(()),
                false => agreed(&intent).await,
            })
        },
    )
}

fn plan(options: CleanupOptions) -> Result<Plan> {
    let by_key = SideOptions::from(options.target_options.clone()).service_key.is_some();
    // A lone URL is never taken for the target here: it names what is to be emptied.
    if options.verified_against.is_none()
        && !by_key
        && environment::text(url_variable(Side::Target))?.is_none()
    {
        let text = "no target is named that the keys are compared with";
        return Err(Error::config(text).advise("add --verified-against redis://host:port"));
    }
    let (source, target) = shared::servers(
        &options.source,
        &options.verified_against,
        options.source_options,
        options.target_options,
    )?;
    let databases = (source.endpoint.database, target.endpoint.database);
    Ok(Plan {
        letters: None,
        state: None,
        mapping: Mapping::new(&options.selection.db, databases.0, databases.1)?,
        source,
        target,
        fail_if_empty: options.selection.fail_if_empty,
        filter: options.selection.filter(),
        // Nothing is copied: what becomes of existing keys does not come up.
        if_exists: IfExists::default(),
        delete_source: false,
        allow_evicting: options.allow_evicting_target,
        require_quiet: false,
        lossy: false,
        functions: false,
        dry_run: environment::DRY_RUN.is_on(options.dry_run)?,
        fetch: FetchMode::Auto,
        source_compression: SourceCompression::Keep,
        verify: Verify::Full,
        comparing: Comparing { ttl_tolerance: options.ttl_tolerance, sample: None },
        limits: options.means.limits(&options.gentleness),
        timeouts: options.means.timeouts(),
    })
}

/// Asks whoever sits at the terminal.
async fn agreed(intent: &Intent) -> Result<()> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        let text = "keys would be deleted, and there is no terminal to ask at";
        return Err(Error::refused(text)
            .advise("--force deletes without asking, --dry-run only says what would be deleted"));
    }
    let _ = write!(stderr, "{}", question(intent));
    let _ = stderr.flush();
    let (send, answer) = oneshot::channel();
    // A thread that nobody waits for: Ctrl-C ends the run while it is still reading.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let _ = send.send(read.map(|_| line));
    });
    match answer.await {
        Ok(Ok(line)) if line.trim() == YES => Ok(()),
        _ => Err(Error::refused(format!("the answer was not '{YES}': nothing is deleted"))),
    }
}

fn question(intent: &Intent) -> String {
    let mut text = format!(
        "Keys of {} that are equal on {} are about to be deleted there:\n",
        intent.source, intent.target
    );
    for (route, held) in &intent.databases {
        text.push_str(&format!("  database {route}: about {}\n", keys(*held)));
    }
    text.push_str(&format!("Type '{YES}' to delete them from {}: ", intent.source));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Route;

    #[test]
    fn the_question_names_the_server_and_every_database() {
        let text = question(&Intent {
            source: "redis://old:6379".into(),
            target: "redis://new:6379".into(),
            databases: vec![
                (Route { source: 0, target: 0 }, 1_200),
                (Route { source: 3, target: 1 }, 7),
            ],
        });
        for part in
            ["redis://old:6379", "database 0: about 1,200 keys", "database 3:1: about 7 keys", YES]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
