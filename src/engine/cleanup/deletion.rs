//! Deletes keys that both sides hold equal, database by database: all of a clean-up, and the second
//! half of a move.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::acquaint::Met;
use super::super::budget::{Budget, Pairs};
use super::super::compare::DOUBTS;
use super::super::copy::join;
use super::super::reckoning::Ledgers;
use super::super::target_watch::TargetWatch;
use super::super::{Run, guard, uncounted};
use super::remaining::{AtFirst, count_remaining, refuse_remaining};
use super::worker::{Tools, Worker};
use crate::error::{Result, Side};
use crate::net::Line;
use crate::source::unlink::Removal;
use crate::source::window::Window;
use crate::verify::{GROUP, HELD};

/// What is counted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Accounts {
    /// All of it: scanned, compared, deleted or kept, failed.
    Cleanup,
    /// Deleted or kept: the copy before has counted the rest.
    Move,
}

/// How keys are deleted.
#[derive(Clone)]
pub(in super::super) struct Deletion {
    /// The command; `None`: a dry run.
    pub(in super::super) removal: Option<Removal>,
    pub(in super::super) accounts: Accounts,
    /// Whether the target keeps what it holds; `None`: a dry run.
    pub(in super::super) watch: Option<Arc<TargetWatch>>,
}

/// Deletes the selected keys that are equal; the first error stops all databases. What was deleted when
/// the target was not seen intact afterwards is named.
pub(in super::super) async fn delete_equal(
    run: &Arc<Run>,
    met: &Met,
    deletion: Deletion,
    ledgers: &Ledgers,
) -> Result<()> {
    let (watch, accounts) = (deletion.watch.clone(), deletion.accounts);
    let deletes = deletion.removal.is_some();
    let mut line = Line::new(met.source_link(run, 0));
    let first = AtFirst::now(&mut line, met, ledgers).await?;
    let guard = guard::start(run, met.source_link(run, 0)).await?;
    let deleted = every_database(run, met, deletion, ledgers).await;
    let deleted = match guard {
        Some(guard) => deleted.and(guard.end().await),
        None => deleted,
    };
    let deleted = match watch {
        // Whatever ended it: a doubt comes first.
        Some(watch) => watch.end(&run.stats).await.and(deleted),
        None => deleted,
    };
    if let Err(error) = &deleted
        && accounts == Accounts::Move
        && error.side() != Some(Side::Source)
        && !run.wish.is_cancelled()
    {
        // The workers were stopped, and most of what stays has not come before them.
        let counted = count_remaining(&run.again(), met, accounts, ledgers).await;
        counted.inspect_err(|error| tracing::warn!("what stays is not counted: {error}")).ok();
    }
    deleted?;
    if !deletes || run.stop.is_cancelled() {
        return Ok(());
    }
    refuse_remaining(run, met, (&mut line, &first), (accounts, ledgers)).await
}

/// Every database, within bounds.
async fn every_database(
    run: &Arc<Run>,
    met: &Met,
    deletion: Deletion,
    ledgers: &Ledgers,
) -> Result<()> {
    let [from, into] = &met.infos;
    let connections = Pairs::new(run.plan.limits, ledgers.len(), 2, &[from, into]);
    let pairs = connections.all();
    let [source_far, target_far] = met.round_trips;
    let budget = Budget::new(run.plan.limits.memory, pairs, source_far, target_far);
    let keys = (Budget::NEAR_KEYS, budget.source_keys);
    let window = Arc::new(Window::new(budget.source_window, keys, pairs, source_far));
    let whole = Arc::new(Semaphore::new(1));
    let places = Arc::new(Semaphore::new(connections.databases));
    let mut databases = JoinSet::new();
    for (route, ledger) in ledgers {
        let tools = Tools {
            source: met.source_link(run, route.source),
            target: met.target_link(run, route.target),
            route: *route,
            judge: met.judge,
            deletion: deletion.clone(),
            window: window.clone(),
            whole: whole.clone(),
            pace: run.pace.clone(),
            // Of a group both sides' payloads are held.
            group: (budget.channel / HELD).clamp(1, GROUP),
            again: (DOUBTS.0 / pairs, DOUBTS.1 / pairs),
            stats: run.stats.clone(),
            ledger: ledger.clone(),
            stop: run.stop.clone(),
        };
        let (run, places) = (run.clone(), places.clone());
        databases.spawn(async move {
            let _place = places.acquire_owned().await;
            if run.stop.is_cancelled() {
                return Ok(());
            }
            Box::pin(one_database(&run, tools, connections.each)).await
        });
    }
    join(databases, run).await
}

async fn one_database(run: &Arc<Run>, tools: Tools, connections: usize) -> Result<()> {
    let named = match tools.deletion.accounts {
        Accounts::Cleanup => tools.ledger.clone(),
        Accounts::Move => uncounted(),
    };
    let (task, keys) = run.names_of(&tools.source, true, named).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(task.run());
    for _ in 0..connections {
        tasks.spawn(Worker::new(tools.clone(), keys.clone()).run());
    }
    drop(keys);
    join(tasks, run).await
}
