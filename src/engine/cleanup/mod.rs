//! `cleanup`: deletes from the source what the target holds, each key as it is at that moment.
//!
//! ```text
//! scan ──> keys ──┬─> worker: watch on the source, compare both sides, delete what is equal
//!                 └─> worker
//! ```
//!
//! A worker compares and deletes group by group, so that little time lies between the two.

mod deletion;
mod remaining;
mod worker;

use std::sync::Arc;

use super::acquaint::Meant;
use super::reckoning::ledgers;
use super::target_watch::TargetWatch;
use super::{Ended, Run, Stop, again, outcome, prepare, unless_aborted};
use crate::config::{Plan, Route};
use crate::error::{Error, Result};
use crate::report::json::{Outcome, Peer, Report};
use crate::report::{Mode, Proven, Stats, Verified};
pub(super) use deletion::{Accounts, Deletion, delete_equal};

/// What a clean-up is about to do, for whoever has to agree.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Where keys would be deleted.
    pub source: String,
    /// What they are compared with.
    pub target: String,
    /// The databases, and how many keys the source holds in them.
    pub databases: Vec<(Route, u64)>,
}

impl Intent {
    /// How many keys are concerned at most.
    pub fn keys(&self) -> u64 {
        self.databases.iter().map(|(_, keys)| keys).sum()
    }
}

/// Deletes the keys of the source that are equal on the target, once `consent` agrees; it is not
/// asked where nothing can be deleted.
pub async fn cleanup<C, A>(
    plan: Plan,
    stats: Arc<Stats>,
    stop: impl Into<Stop>,
    consent: C,
) -> Ended
where
    C: FnOnce(Intent) -> A,
    A: Future<Output = Result<()>>,
{
    let Stop { drain: cancel, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let (dry_run, fail_if_empty) = (plan.dry_run, plan.fail_if_empty);
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        clean_up(&run, &mut source, &mut target, consent).await
    };
    let result = Box::pin(unless_aborted(work, &cancel, &abort)).await;
    let mut report = Report::new("cleanup", source, target, &stats);
    report.dry_run = dry_run;
    let error = result.err();
    if error.is_none() || report.keys.scanned > 0 {
        let proven = stats.databases().into_iter().map(|of| {
            Proven::new(of.source_db, of.target_db, Mode::OneWay, false).with_differences(&stats)
        });
        report.verified = Verified::of(Mode::OneWay, proven.collect());
    }
    report.error = error.as_ref().map(Error::to_string);
    let agrees = report.verified.agrees();
    report.outcome = match outcome(&report, error.as_ref(), cancel.is_cancelled(), agrees) {
        Outcome::Complete | Outcome::Incomplete if dry_run && error.is_none() => Outcome::DryRun,
        outcome => outcome,
    };
    report.tell_if_nothing(fail_if_empty);
    Ended { report, error }
}

async fn clean_up<C, A>(
    run: &Arc<Run>,
    source: &mut Peer,
    target: &mut Peer,
    consent: C,
) -> Result<()>
where
    C: FnOnce(Intent) -> A,
    A: Future<Output = Result<()>>,
{
    let met = again::met(run, Meant::OfSource, source, target).await?;
    let removal = match run.plan.dry_run {
        true => None,
        false => Some(again::removal(run, &met).await?),
    };
    again::refuse_dependent(run, &met).await?;
    let held = |route: &Route| met.source.get(&route.source).map_or(0, |keyspace| keyspace.keys);
    let intent = Intent {
        source: source.endpoint.clone(),
        target: target.endpoint.clone(),
        databases: met.routes.iter().map(|route| (*route, held(route))).collect(),
    };
    // Without consent nothing is deleted, not even what comes in the meantime.
    let removal = removal.filter(|_| intent.keys() > 0);
    if removal.is_some() {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => return Ok(()),
            agreed = consent(intent) => agreed?,
        }
    }
    let watch = match removal {
        Some(_) => Some(Arc::new(
            TargetWatch::begin(met.lasting_target_link(run), &met.routes, None).await?,
        )),
        None => None,
    };
    let ledgers = ledgers(run, &met.routes, &met.source);
    let deletion = Deletion { removal, accounts: Accounts::Cleanup, watch };
    delete_equal(run, &met, deletion, &ledgers).await
}
