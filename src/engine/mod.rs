//! The only place that spawns and wires: a [`Plan`] becomes tasks, and their ends an outcome.
//!
//! ```text
//! run:    probe (both servers, safety) ──> for each route: database (scan, fetch × n, lane × n) ──> proof
//!         (--delete-source: ──> for each route: scan, worker × n, as `cleanup`, instead of the proof)
//! plan:   rights, room, sample, activity ──> findings
//! verify: acquaint (both servers) ──> for each target database: compare (scan, fetch × n, comparer × n)
//! cleanup: acquaint ──> consent ──> for each route: scan, worker × n (watch, compare, delete)
//! ```
//!
//! Beside the copy, if asked for: the pace that all databases share, a guard that sets it by the
//! source's latency, and the source's compression, which is put back however a run ends.

mod acquaint;
mod activity;
mod again;
pub mod backup;
mod budget;
mod census;
mod checkpoint;
mod cleanup;
mod clocks;
mod compare;
mod compression;
mod copy;
mod database;
mod dry_run;
mod evidence;
mod existing;
pub mod file;
mod functions;
mod governor;
mod ground;
mod guard;
mod independent;
mod knowledge;
mod library;
mod merge;
mod moving;
mod part_file;
mod permitted_keys;
mod pieces;
pub mod plan;
mod probe;
mod proof;
mod queued;
mod quiet;
mod reckoning;
mod rights;
mod room;
mod target_watch;
mod unsupported;
mod upheaval;
mod writing;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{Plan, SourceCompression, Verify};
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{KeyQueue, Pace, WAITING, key_queue};
use crate::net::{Connector, Link};
use crate::report::json::{Outcome, Peer, Report};
use crate::report::{Ledger, Stats, Verified};
use crate::source::marks::Course;
use crate::source::names::Names;
use crate::source::scan::{LARGEST_COUNT, Scan};
use acquaint::{Meant, Met};
pub(crate) use budget::Budget;
use budget::pace;
use checkpoint::Checkpoint;
pub use cleanup::{Intent, cleanup};
use compression::Compression;
use copy::Passed;
use probe::Probed;
use reckoning::{Ledgers, ledgers, reckon_unbegun};

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
    /// The operator's wish alone.
    wish: CancellationToken,
    /// How fast it may be, if there is anything to say about that.
    pace: Option<Arc<Pace>>,
    /// Where it is kept how far it has come, if that is wanted.
    checkpoint: Option<Arc<Checkpoint>>,
    /// Under which values are built that go in pieces.
    temporary: Arc<pieces::TemporaryNames>,
}

impl Run {
    /// What is left to do once the run was stopped by a cause, with connections of its own.
    fn again(&self) -> Arc<Self> {
        let stop = self.wish.child_token();
        Arc::new(Self {
            plan: self.plan.clone(),
            source: self.source.clone(),
            target: self.target.clone(),
            stats: self.stats.clone(),
            pace: pace(self.plan.limits, &stop),
            stop,
            wish: self.wish.clone(),
            checkpoint: None,
            temporary: self.temporary.clone(),
        })
    }

    /// Whether the server of a side has answered once; of none in particular: both.
    fn has_answered(&self, side: Option<Side>) -> bool {
        match side {
            Some(Side::Source) => self.source.has_answered(),
            Some(Side::Target) => self.target.has_answered(),
            None => self.source.has_answered() && self.target.has_answered(),
        }
    }

    /// The way to a database of the source.
    fn source_link(&self, database: u32, probed: &Probed) -> Link {
        let process = probed.source_process.clone();
        Link::new(self.source.clone(), database, process, self.stop.clone())
    }

    /// The way to a database of the target.
    fn target_link(&self, database: u32, probed: &Probed) -> Link {
        let process = probed.target_process.clone();
        Link::new(self.target.clone(), database, process, self.stop.clone())
    }

    /// A task beside the copy that names the keys that are meant, `once` each if that matters.
    async fn names_of(&self, from: &Link, once: bool, ledger: Ledger) -> Result<(Names, KeyQueue)> {
        let (keys, queue) = key_queue(WAITING);
        let scan = Scan {
            link: from.clone(),
            connection: from.connect().await?,
            filter: self.plan.filter.clone(),
            once,
            largest_count: LARGEST_COUNT,
            longest_name: budget::longest_name(self.plan.limits.memory),
            too_long: ledger.clone(),
            keys,
            ledger,
            stop: self.stop.clone(),
            course: Course::default(),
        };
        Ok((Names::new(scan, self.plan.letters.as_deref()), queue))
    }
}

/// The file of dead letters is in trouble.
fn unwritten(error: &std::io::Error) -> Error {
    Error::new(Kind::Local, format!("the file of failures cannot be written: {error}"))
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
    let (dry_run, moved) = (plan.dry_run, plan.delete_source);
    let (if_exists, of_letters) = (plan.if_exists.word(), plan.letters.is_some());
    let fail_if_empty = plan.fail_if_empty;
    let mut compression = Compression::default();
    let (mut checkpoint, mut temporary) = (None, None);
    let mut noise = Ok(());
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        checkpoint.clone_from(&run.checkpoint);
        temporary = Some(run.temporary.clone());
        let stops = (&cancel, &abort);
        let peers = (&mut source, &mut target);
        Box::pin(run_probed(&run, stops, &mut compression, &mut noise, peers.0, peers.1)).await
    };
    let result = Box::pin(unless_aborted(work, &cancel, &abort)).await;
    compression.put_back(&abort).await;
    if let Some(temporary) = temporary.filter(|_| abort.is_cancelled()) {
        temporary.remove_at_once().await;
    }
    let mut report = Report::new("copy", source, target, &stats);
    report.moved = moved && !dry_run;
    (report.dry_run, report.if_exists, report.may_keep_state) = (dry_run, if_exists, !of_letters);
    let mut error = compression.left_behind();
    if let Some(Err(unwritable)) =
        checkpoint.as_ref().filter(|_| error.is_none()).map(|kept| kept.keep_compression(false))
    {
        tracing::warn!("{unwritable}");
    }
    let (mut proven, noisy) = (true, noise.is_err());
    // What came to its end has nothing to go on with, however it ended.
    let at_end = result.is_ok() && error.is_none() && !cancel.is_cancelled();
    match result {
        Ok(verified) => {
            proven = verified.agrees();
            report.verified = verified;
            match (&error, noise) {
                (_, Ok(())) => {}
                (None, Err(noise)) => error = Some(noise),
                (Some(_), Err(noise)) => tracing::error!("{noise}"),
            }
        }
        Err(cause) => {
            // What ended the run comes first; the other must not go unsaid.
            if let Some(left) = error.replace(cause) {
                tracing::error!("{left}; {}", left.advice().unwrap_or_default());
            }
        }
    }
    report.error = error.as_ref().map(Error::to_string);
    if !proven || noisy || report.keys.kept_on_source > 0 {
        // It found, or may have missed, what was written beside the copy.
        stats.dead_letters().are_complete(false);
    }
    report.dead_letters_complete = stats.dead_letters().is_complete();
    report.outcome = match outcome(&report, error.as_ref(), cancel.is_cancelled(), proven) {
        Outcome::Complete | Outcome::Incomplete if dry_run && error.is_none() => Outcome::DryRun,
        outcome => outcome,
    };
    report.tell_if_nothing(fail_if_empty);
    if let Some(checkpoint) = checkpoint {
        report.checkpoint = checkpoint.close(at_end);
    }
    Ended { report, error }
}

/// Compares both sides of a plan, both ways, and writes on neither.
pub async fn verify(plan: Plan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain: cancel, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let fail_if_empty = plan.fail_if_empty;
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        Box::pin(compare::verify(&run, &mut source, &mut target)).await
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
    report.tell_if_nothing(fail_if_empty);
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
        Some(error) if error.kind() == Kind::Refused && report.keys.copied == 0 => Outcome::Refused,
        // Stopped, and a server was away while what was in flight was waited for.
        Some(cause) if cancelled && (cause.passes() || cause.kind() == Kind::Cancelled) => {
            Outcome::Interrupted
        }
        Some(_) => Outcome::Incomplete,
        None if cancelled => Outcome::Interrupted,
        None if proven && clean && accounted => Outcome::Complete,
        None => Outcome::Incomplete,
    }
}

fn prepare(plan: Plan, stats: Arc<Stats>, cancel: &CancellationToken) -> Result<Arc<Run>> {
    let checkpoint = Checkpoint::open(&plan)?;
    let stop = cancel.child_token();
    // Values are claimed only of what was copied; what the target loses of the others is not counted twice.
    if plan.verify != Verify::None {
        stats.remember_own();
    }
    Ok(Arc::new(Run {
        source: Connector::new(&plan.source, plan.timeouts)?,
        target: Connector::new(&plan.target, plan.timeouts)?,
        pace: pace(plan.limits, &stop),
        plan,
        stats,
        stop,
        wish: cancel.clone(),
        checkpoint,
        temporary: Arc::default(),
    }))
}

async fn run_probed(
    run: &Arc<Run>,
    (cancel, abort): (&CancellationToken, &CancellationToken),
    compression: &mut Compression,
    noise: &mut Result<()>,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    let begin = async {
        let probed = match again::probed(run, source, target).await {
            Ok(probed) => Arc::new(probed),
            Err(cause) => {
                // A wrong address, say, should cost nothing.
                if run.has_answered(None) {
                    reckon_unbegun(run, None, &cause).await;
                }
                return Err(cause);
            }
        };
        let watch = quiet::begin(run, &probed).await;
        if let Err(cause) = &watch {
            reckon_unbegun(run, Some(&probed), cause).await;
        }
        Ok((probed, watch?))
    };
    let (probed, watch) = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(Verified::none()),
        begun = begin => begun?,
    };
    if run.plan.dry_run {
        functions::refuse_conflicts(run, &probed).await?;
        dry_run::dry_run(run, &probed).await?;
        return Ok(Verified::none());
    }
    let copied = copy_all(run, &probed, (cancel, abort), compression, source, target);
    let copied = Box::pin(copied).await?;
    if cancel.is_cancelled() {
        return Ok(Verified::none());
    }
    let quiet = async {
        match watch {
            Some(watch) if !cancel.is_cancelled() => watch.end().await,
            _ => Ok(()),
        }
    };
    if !run.plan.delete_source {
        let verified = proof::prove(run, &probed, copied, source, target).await?;
        *noise = quiet.await;
        return Ok(verified);
    }
    // Before our own deletions; what is written later stays.
    *noise = quiet.await;
    if noise.is_err() {
        return Ok(Verified::none());
    }
    let deleted =
        moving::delete_copied(run, &probed, &copied.ledgers, copied.passed.before.as_ref()).await;
    if deleted.is_err() {
        // What stays for that reason is named nowhere.
        run.stats.dead_letters().are_complete(false);
    }
    deleted
}

/// What a copy leaves to those who come after it.
struct Copied {
    /// What a comparison needs, if there is to be one.
    met: Option<Arc<Met>>,
    ledgers: Arc<Ledgers>,
    passed: Passed,
}

/// All that comes before the first key; answers what a comparison will need, if there is to be one.
async fn begin(
    run: &Arc<Run>,
    probed: &Arc<Probed>,
    compression: &mut Compression,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Option<Arc<Met>>> {
    // Before anything is written: may both users read what the proof needs?
    let met = match run.plan.verify == Verify::Full || run.plan.delete_source {
        true => {
            Some(Arc::new(again::met(run, Meant::These(&probed.routes), source, target).await?))
        }
        false => None,
    };
    pieces::remove_temporary(run, probed).await?;
    run.checkpoint.as_ref().map_or(Ok(()), |checkpoint| checkpoint.begin(run, probed))?;
    // Before the keys: an application may call one as soon as it finds its keys.
    if !run.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.has_functions()) {
        functions::carry(run, probed).await?;
        run.checkpoint.as_ref().map_or(Ok(()), |checkpoint| checkpoint.keep_functions())?;
    }
    let earlier = run.checkpoint.as_deref();
    let was_off = earlier.is_some_and(Checkpoint::turned_compression_off);
    if run.plan.source_compression == SourceCompression::Off || was_off {
        compression.turn_off(run, probed).await?;
    }
    Ok(met)
}

/// The copy itself, and what has to be put back afterwards.
async fn copy_all(
    run: &Arc<Run>,
    probed: &Arc<Probed>,
    (cancel, abort): (&CancellationToken, &CancellationToken),
    compression: &mut Compression,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Copied> {
    let begun = begin(run, probed, compression, source, target).await;
    if let Err(cause) = &begun {
        reckon_unbegun(run, Some(probed), cause).await;
    }
    let met = begun?;
    let ledgers = ledgers(run, &probed.routes, &probed.source);
    let copied = copy::apart(run.clone(), probed.clone(), ledgers.clone()).await;
    // As soon as it is not needed any more; what a failure before this leaves is put back in `run`.
    compression.put_back(abort).await;
    let passed = copied?;
    run.stats.dead_letters().are_complete(!cancel.is_cancelled());
    if !cancel.is_cancelled()
        && let Err(error) = functions::tell_of_rest(run, probed).await
    {
        tracing::debug!("whether there are functions is not known: {error}");
    }
    Ok(Copied { met, ledgers, passed })
}
