//! All databases at once, within bounds.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::checkpoint::{Checkpoint, Reached};
use super::probe::Probed;
use super::{Run, database, guard};
use crate::config::{Limits, Route};
use crate::error::{Error, Kind, Result};
use crate::report::{FAILED, Ledger};
use crate::source::marks::Mark;
use crate::source::window::Window;

/// The copy as a task of its own: what is left to do after it is done even if it panics.
pub(super) async fn apart(run: Arc<Run>, probed: Arc<Probed>) -> Result<()> {
    let mut alone = JoinSet::new();
    let copied = run.clone();
    alone.spawn(async move { Box::pin(copy(&copied, &probed)).await });
    join(alone, &run).await
}

/// Copies every route; the first error of a database stops the others and is returned at the end.
async fn copy(run: &Arc<Run>, probed: &Probed) -> Result<()> {
    let guard = guard::start(run, run.source_link(0, probed)).await?;
    let connections = run.plan.limits.connections_for(probed.routes.len());
    let pairs = connections * probed.routes.len().min(Limits::DATABASES_AT_ONCE);
    let [source_far, target_far] = probed.round_trips;
    let budget = Budget::new(run.plan.limits.memory, pairs, source_far, target_far);
    tracing::debug!("{pairs} pairs of connections, {:?}, {budget:?}", probed.round_trips);
    let keys = (Budget::NEAR_KEYS, budget.source_keys);
    let window = Arc::new(Window::new(budget.source_window, keys, pairs, source_far));
    let in_pieces = Arc::new(Semaphore::new(1));
    let places = Arc::new(Semaphore::new(Limits::DATABASES_AT_ONCE));
    let mut databases = JoinSet::new();
    let (marks, keeper) = match &run.checkpoint {
        Some(checkpoint) => {
            let (marks, keeper) = go_on(run, checkpoint, &probed.routes)?;
            (Some(marks), Some(keeper))
        }
        None => (None, None),
    };
    for &route in &probed.routes {
        let expected = probed.source.get(&route.source).map_or(0, |keyspace| keyspace.keys);
        let stats = run.stats.database(route.source, route.target, expected);
        let mut from = None;
        if let Some(checkpoint) = &run.checkpoint {
            stats.restore(&checkpoint.counters(route));
            match checkpoint.reached(route) {
                Reached::End => continue,
                Reached::At(cursor) => from = cursor,
            }
        }
        let ledger = Ledger::new(run.stats.clone(), stats);
        let job = database::Job {
            source: run.source_link(route.source, probed),
            target: run.target_link(route.target, probed),
            ledger,
            connections,
            asking: probed.asking(run, route, budget.large),
            budget,
            crossing: probed.crossing,
            window: window.clone(),
            in_pieces: in_pieces.clone(),
            resumed: probed.resumed,
            route,
            from,
            marks: marks.clone(),
        };
        let (run, places) = (run.clone(), places.clone());
        databases.spawn(async move {
            let _place = places.acquire_owned().await;
            if run.stop.is_cancelled() {
                return Ok(());
            }
            Box::pin(database::copy(&run, job)).await
        });
    }
    drop(marks);
    let copied = join(databases, run).await;
    if let Some(keeper) = keeper {
        // It ends with the last mark.
        let _ = keeper.await;
    }
    match guard {
        Some(guard) => copied.and(guard.end().await),
        None => copied,
    }
}

/// Takes up what an earlier run left: its counts, and the names of the keys that failed.
fn go_on(
    run: &Run,
    checkpoint: &Arc<Checkpoint>,
    routes: &[Route],
) -> Result<(mpsc::Sender<Mark>, JoinHandle<()>)> {
    let others = checkpoint.others(routes);
    for (route, counters) in &others {
        run.stats.database(route.source, route.target, 0).restore(counters);
    }
    run.stats.name_failures(checkpoint.failures());
    let begun = routes.iter().map(|&route| (route, checkpoint.counters(route))).chain(others);
    let failed = begun.map(|(route, counters)| {
        let failed = counters.get(FAILED).copied().unwrap_or_default();
        ((route.source, route.target), failed)
    });
    let kept = run.stats.dead_letters().keep_first(failed.collect());
    kept.map_err(|error| Error::new(Kind::Local, format!("the dead letters: {error}")))?;
    Ok(checkpoint.keeper(run.stats.clone()))
}

/// Waits for all tasks; the first error stops the run, and is the one that counts.
pub(super) async fn join(tasks: JoinSet<Result<()>>, run: &Run) -> Result<()> {
    join_or_stop(tasks, &run.stop).await
}

/// Likewise, for what is no run.
pub(super) async fn join_or_stop(
    mut tasks: JoinSet<Result<()>>,
    stop: &CancellationToken,
) -> Result<()> {
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let result = match ended {
            Ok(result) => result,
            Err(panic) => {
                Err(Error::new(Kind::Server, format!("a task ended unexpectedly: {panic}"))
                    .advise("this is a mistake in keyferry; please report it"))
            }
        };
        if let Err(error) = result {
            stop.cancel();
            tracing::debug!("stopping: {error}");
            if first.is_ok() {
                first = Err(error);
            }
        }
    }
    first
}
