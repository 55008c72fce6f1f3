//! The only place that spawns and wires: a [`Plan`] becomes tasks, and their ends an outcome.
//!
//! ```text
//! run:    probe (both servers, safety) ──> for each route: database (scan, fetch × n, lane × n) ──> proof
//! plan:   rights, room, sample, activity ──> findings
//! verify: acquaint (both servers) ──> for each target database: compare (scan, fetch × n, comparer × n)
//! ```
//!
//! Beside the copy, if asked for: the pace that all databases share, a guard that sets it by the
//! source's latency, and the source's compression, which is put back however a run ends.

mod acquaint;
mod activity;
pub mod backup;
mod budget;
mod compare;
mod compression;
mod copy;
mod database;
mod dry_run;
mod expiries;
pub mod file;
mod functions;
mod governor;
mod guard;
mod knowledge;
mod merge;
mod part_file;
mod pieces;
pub mod plan;
mod probe;
mod proof;
mod rights;
mod room;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{Plan, SourceCompression, Verify};
use crate::error::{Error, Kind, Result};
use crate::flow::{KeyQueue, Pace, WAITING, key_queue};
use crate::net::{Connector, Link};
use crate::report::json::{Outcome, Peer, Report, Verified};
use crate::report::{Ledger, Stats};
use crate::source::scan::{LARGEST_COUNT, Scan};
pub(crate) use budget::Budget;
use compression::Compression;
use probe::Probed;

/// How a run is ended early. A plain token drains.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Finish what is in flight, then report.
    pub drain: CancellationToken,
    /// Drop what is in flight; what was changed on the source's settings is put back, within a
    /// second. The counts do not add up then.
    pub abort: CancellationToken,
}

impl From<CancellationToken> for Stop {
    fn from(drain: CancellationToken) -> Self {
        Self { drain, ..Self::default() }
    }
}

/// What all tasks of a run share.
struct Run {
    plan: Plan,
    source: Connector,
    target: Connector,
    stats: Arc<Stats>,
    /// Ends the run early: the operator's wish, or a cause that hits every key.
    stop: CancellationToken,
    /// How fast it may be, if there is anything to say about that.
    pace: Option<Arc<Pace>>,
}

impl Run {
    /// The way to a database of the source.
    fn source_link(&self, database: u32, probed: &Probed) -> Link {
        let run_id = probed.source_run_id.clone();
        Link::new(self.source.clone(), database, run_id, self.stop.clone())
    }

    /// The way to a database of the target.
    fn target_link(&self, database: u32, probed: &Probed) -> Link {
        let run_id = probed.target_run_id.clone();
        Link::new(self.target.clone(), database, run_id, self.stop.clone())
    }

    /// A scan beside the copy: names the keys that are meant, `once` each if that matters.
    async fn scan_of(&self, from: &Link, once: bool, ledger: Ledger) -> Result<(Scan, KeyQueue)> {
        let (keys, queue) = key_queue(WAITING);
        let scan = Scan {
            link: from.clone(),
            connection: from.connect().await?,
            filter: self.plan.filter.clone(),
            once,
            largest_count: LARGEST_COUNT,
            keys,
            ledger,
            stop: self.stop.clone(),
        };
        Ok((scan, queue))
    }
}

/// Takes what is not part of the copy's accounts.
fn uncounted() -> Ledger {
    let apart = Arc::new(Stats::default());
    Ledger::new(apart.clone(), apart.database(0, 0, 0))
}

/// A run and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Everything there is to say.
    pub report: Report,
    /// The cause that ended it early.
    pub error: Option<Error>,
}

/// Runs a plan to its end, or, once it is to drain, until what is in flight is done.
pub async fn run(plan: Plan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain: cancel, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let dry_run = plan.dry_run;
    let mut compression = Compression::default();
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        run_probed(&run, &cancel, &abort, &mut compression, &mut source, &mut target).await
    };
    let result = Box::pin(unless_aborted(work, &cancel, &abort)).await;
    compression.put_back(&abort).await;
    let mut report = Report::new("copy", source, target, &stats);
    let mut error = compression.left_behind();
    let mut proven = true;
    match result {
        Ok(verified) => {
            proven = verified.agrees();
            report.verified = verified;
        }
        Err(cause) => {
            // What ended the run comes first; the other must not go unsaid.
            if let Some(left) = error.replace(cause) {
                tracing::error!("{left}; {}", left.advice().unwrap_or_default());
            }
        }
    }
    report.error = error.as_ref().map(Error::to_string);
    report.outcome = match outcome(&report, error.as_ref(), cancel.is_cancelled(), proven) {
        Outcome::Complete | Outcome::Incomplete if dry_run && error.is_none() => Outcome::DryRun,
        outcome => outcome,
    };
    Ended { report, error }
}

/// Compares both sides of a plan, both ways, and writes on neither.
pub async fn verify(plan: Plan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain: cancel, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        compare::verify(&run, &mut source, &mut target).await
    };
    let result = unless_aborted(work, &cancel, &abort).await;
    let mut report = Report::new("verify", source, target, &stats);
    let (verified, error) = match result {
        Ok(verified) => (verified, None),
        Err(error) => (Verified::none(), Some(error)),
    };
    report.verified = verified;
    report.error = error.as_ref().map(Error::to_string);
    let agrees = report.verified.agrees();
    report.outcome = outcome(&report, error.as_ref(), cancel.is_cancelled(), agrees);
    Ended { report, error }
}

/// What work comes to, unless all is to stop at once: then it is dropped.
async fn unless_aborted<T>(
    work: impl Future<Output = Result<T>>,
    drain: &CancellationToken,
    abort: &CancellationToken,
) -> Result<T> {
    tokio::select! {
        biased;
        () = abort.cancelled() => {
            // For what is not dropped with it: threads that were started for it.
            drain.cancel();
            Err(Error::new(Kind::Cancelled, "stopped at once"))
        }
        result = work => result,
    }
}

/// How a run ended, by its report and the cause that ended it early.
fn outcome(report: &Report, error: Option<&Error>, cancelled: bool, proven: bool) -> Outcome {
    let accounted = report.keys.settled() == report.keys.scanned;
    let clean = report.keys.failed == 0 && report.keys.kept_on_source == 0;
    match error {
        Some(error) if error.kind() == Kind::Refused => Outcome::Refused,
        // Stopped, and a server was away while what was in flight was waited for.
        Some(cause) if cancelled && cause.passes() => Outcome::Interrupted,
        Some(_) => Outcome::Incomplete,
        None if cancelled => Outcome::Interrupted,
        None if proven && clean && accounted => Outcome::Complete,
        None => Outcome::Incomplete,
    }
}

fn prepare(plan: Plan, stats: Arc<Stats>, cancel: &CancellationToken) -> Result<Arc<Run>> {
    let (limits, stop) = (plan.limits, cancel.child_token());
    let pace = limits.paced().then(|| {
        Arc::new(Pace::new(limits.bytes_per_second, limits.keys_per_second, stop.clone()))
    });
    Ok(Arc::new(Run {
        source: Connector::new(&plan.source, plan.timeouts)?,
        target: Connector::new(&plan.target, plan.timeouts)?,
        plan,
        stats,
        stop,
        pace,
    }))
}

async fn run_probed(
    run: &Arc<Run>,
    cancel: &CancellationToken,
    abort: &CancellationToken,
    compression: &mut Compression,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    let probed = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(Verified::none()),
        probed = probe::probe(run, source, target) => Arc::new(probed?),
    };
    if run.plan.dry_run {
        dry_run::dry_run(run, &probed).await?;
        return Ok(Verified::none());
    }
    // Before anything is written: may both users read what the proof needs?
    let met = match run.plan.verify {
        Verify::Full => {
            Some(Arc::new(acquaint::acquaint(run, Some(&probed.routes), source, target).await?))
        }
        Verify::None | Verify::Count => None,
    };
    // Before the keys: an application may call one as soon as it finds its keys.
    functions::carry(run, &probed).await?;
    if run.plan.source_compression == SourceCompression::Off {
        compression.turn_off(run, &probed).await?;
    }
    let copied = copy::apart(run.clone(), probed.clone()).await;
    // As soon as it is not needed any more; what a failure before this leaves is put back in `run`.
    compression.put_back(abort).await;
    copied?;
    expiries::settle(run, &probed).await?;
    if !cancel.is_cancelled()
        && let Err(error) = functions::tell_of_rest(run, &probed).await
    {
        tracing::debug!("whether there are functions is not known: {error}");
    }
    if run.plan.verify == Verify::None || cancel.is_cancelled() {
        return Ok(Verified::none());
    }
    match met {
        Some(met) => proof::prove_values(run, &probed, &met).await,
        None => proof::prove(run, &probed, &probed.routes).await,
    }
}
