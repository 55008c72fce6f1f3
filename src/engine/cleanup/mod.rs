//! `cleanup`: deletes from the source what the target holds, each key as it is at that moment.
//!
//! ```text
//! scan ──> keys ──┬─> worker: watch on the source, compare both sides, delete what is equal
//!                 └─> worker
//! ```
//!
//! A worker compares and deletes group by group, so that little time lies between the two.

mod worker;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::acquaint::{Meant, Met};
use super::budget::Budget;
use super::compare::DOUBTS;
use super::copy::join;
use super::probe::{refuse_if_pointless, refused_before_work};
use super::{Ended, Run, Stop, again, guard, outcome, prepare, unless_aborted};
use crate::command::info::Keyspace;
use crate::command::keyspace::PROBE_KEY;
use crate::config::{Limits, Plan, Route};
use crate::error::{Error, Result};
use crate::net::{Connection, Link};
use crate::report::json::{Outcome, Peer, Report, Verified};
use crate::report::{Ledger, Stats};
use crate::source::unlink::Removal;
use crate::source::window::Window;
use crate::verify::{GROUP, HELD};
use worker::{Tools, Worker};

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
    let dry_run = plan.dry_run;
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        clean_up(&run, &mut source, &mut target, consent).await
    };
    let result = Box::pin(unless_aborted(work, &cancel, &abort)).await;
    let mut report = Report::new("cleanup", source, target, &stats);
    let error = result.err();
    if error.is_none() || report.keys.scanned > 0 {
        report.verified = Verified::of("one-way", &stats);
    }
    report.error = error.as_ref().map(Error::to_string);
    let agrees = report.verified.agrees();
    report.outcome = match outcome(&report, error.as_ref(), cancel.is_cancelled(), agrees) {
        Outcome::Complete | Outcome::Incomplete if dry_run && error.is_none() => Outcome::DryRun,
        outcome => outcome,
    };
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
    let met = Arc::new(again::met(run, Meant::OfSource, source, target).await?);
    let removal = match run.plan.dry_run {
        true => None,
        false => Some(may_delete(&met.source_link(run, 0)).await?),
    };
    let held = |route: &Route| met.source.get(&route.source).map_or(0, |keyspace| keyspace.keys);
    let intent = Intent {
        source: source.endpoint.clone(),
        target: target.endpoint.clone(),
        databases: met.routes.iter().map(|route| (*route, held(route))).collect(),
    };
    if removal.is_some() && intent.keys() > 0 {
        tokio::select! {
            biased;
            () = run.stop.cancelled() => return Ok(()),
            agreed = consent(intent) => agreed?,
        }
    }
    let guard = guard::start(run, met.source_link(run, 0)).await?;
    let cleaned = every_route(run, &met, removal).await;
    match guard {
        Some(guard) => cleaned.and(guard.end().await),
        None => cleaned,
    }
}

/// Tries what a deletion needs without deleting: of a transaction that is never executed the server
/// says at once whether it would take the command.
async fn may_delete(link: &Link) -> Result<Removal> {
    let mut connection: Connection = link.connect().await?;
    let around: [&[&[u8]]; 4] = [&[b"WATCH", PROBE_KEY], &[b"UNWATCH"], &[b"EXEC"], &[b"MULTI"]];
    for tried in may(&mut connection, &around).await? {
        tried?;
    }
    // Only now: where MULTI is refused these would be carried out.
    let removals: [&[&[u8]]; 2] = [&[b"UNLINK", PROBE_KEY], &[b"DEL", PROBE_KEY]];
    let mut tried = may(&mut connection, &removals).await?.into_iter();
    match (tried.next(), tried.next()) {
        (Some(Err(_)), Some(Ok(()))) => Ok(Removal::Del),
        (unlink, _) => unlink.unwrap_or(Ok(())).map(|()| Removal::Unlink),
    }
}

/// Tries commands in one go: which of them would be refused for every key.
async fn may(connection: &mut Connection, commands: &[&[&[u8]]]) -> Result<Vec<Result<()>>> {
    let replies = connection.call_all(commands).await.map_err(refused_before_work)?;
    let tried = commands.iter().zip(&replies);
    Ok(tried.map(|(command, reply)| refuse_if_pointless(connection, command, reply)).collect())
}

/// Every database, within bounds; the first error stops the others.
async fn every_route(run: &Arc<Run>, met: &Arc<Met>, removal: Option<Removal>) -> Result<()> {
    let routes = met.routes.len();
    let connections = run.plan.limits.connections_for(routes);
    let pairs = connections * routes.clamp(1, Limits::DATABASES_AT_ONCE);
    let [source_far, target_far] = met.round_trips;
    let budget = Budget::new(run.plan.limits.memory, pairs, source_far, target_far);
    let keys = (Budget::NEAR_KEYS, budget.source_keys);
    let window = Arc::new(Window::new(budget.source_window, keys, pairs, source_far));
    let whole = Arc::new(Semaphore::new(1));
    let places = Arc::new(Semaphore::new(Limits::DATABASES_AT_ONCE));
    let mut databases = JoinSet::new();
    for &route in &met.routes {
        let expected = met.source.get(&route.source).map_or(0, |Keyspace { keys, .. }| *keys);
        let database = run.stats.database(route.source, route.target, expected);
        let tools = Tools {
            source: met.source_link(run, route.source),
            target: met.target_link(run, route.target),
            route,
            judge: met.judge,
            removal,
            window: window.clone(),
            whole: whole.clone(),
            pace: run.pace.clone(),
            // Of a group both sides' payloads are held.
            group: (budget.channel / HELD).clamp(1, GROUP),
            again: (DOUBTS.0 / pairs, DOUBTS.1 / pairs),
            stats: run.stats.clone(),
            ledger: Ledger::new(run.stats.clone(), database),
            stop: run.stop.clone(),
        };
        let (run, places) = (run.clone(), places.clone());
        databases.spawn(async move {
            let _place = places.acquire_owned().await;
            if run.stop.is_cancelled() {
                return Ok(());
            }
            Box::pin(one_route(&run, tools, connections)).await
        });
    }
    join(databases, run).await
}

async fn one_route(run: &Arc<Run>, tools: Tools, connections: usize) -> Result<()> {
    let (task, keys) = run.names_of(&tools.source, true, tools.ledger.clone()).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run());
    for _ in 0..connections {
        tasks.spawn(Worker::new(tools.clone(), keys.clone()).run());
    }
    drop(keys);
    join(tasks, run).await
}
