//! The pipeline of one database: one scan, several fetches, each with a lane of its own.
//!
//! ```text
//! scan ──> keys ──┬─> fetch ──> channel ──> lane ──┬─> acked ──> erase   (--delete-source)
//!                 ├─> fetch ──> channel ──> lane ──┤
//!                 └─> fetch ──> channel ──> lane ──┴─> exists ─> merge   (--if-exists merge)
//! ```

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::copy::join;
use super::{Run, merge};
use crate::config::{IfExists, Route};
use crate::error::Result;
use crate::flow::{channel, key_queue};
use crate::net::{Connection, Connector, connect};
use crate::report::Ledger;
use crate::source::ExpiryClock;
use crate::source::erase::{Erase, erase};
use crate::source::fetch::Fetch;
use crate::source::scan::{Scan, scan};
use crate::target::restore::{Hooks, Lane};

/// Bytes between a fetch and the ack of its lane: the lane's window, and as much again that waits.
const CHANNEL_BYTES: usize = 2 << 20;
/// Acknowledged batches, and names of keys to be merged, that may wait for their task.
const HOOKS_WAITING: usize = 64;

/// One database to copy.
pub(super) struct Job {
    pub(super) route: Route,
    pub(super) ledger: Ledger,
    /// Fetch connections, and as many lanes.
    pub(super) connections: usize,
    pub(super) clock: ExpiryClock,
}

/// Copies one database.
pub(super) async fn copy(run: &Run, job: Job) -> Result<()> {
    let plan = &run.plan;
    let (source_db, target_db) = (job.route.source, job.route.target);
    let policy = plan.if_exists.unwrap_or(IfExists::Replace);
    let (at_source, at_target) = tokio::try_join!(
        connect_several(&run.source, source_db, 1 + job.connections),
        connect_several(&run.target, target_db, job.connections),
    )?;
    let mut tasks = JoinSet::new();
    let mut hooks = Hooks::default();
    if plan.delete_source {
        let (sender, acked) = mpsc::channel(HOOKS_WAITING);
        hooks.acked = Some(sender);
        let connection = connect(&run.source, source_db).await?;
        let task = Erase { connection, acked, clock: job.clock, ledger: job.ledger.clone() };
        tasks.spawn(erase(task));
    }
    if policy == IfExists::Merge {
        let (sender, keys) = mpsc::channel(HOOKS_WAITING);
        hooks.merge = Some(sender);
        let source = connect(&run.source, source_db).await?;
        let target = connect(&run.target, target_db).await?;
        let task =
            merge::Merge { source, target, keys, clock: job.clock, ledger: job.ledger.clone() };
        tasks.spawn(merge::merge(task));
    }
    let patience = plan.timeouts.retry;
    let mut at_source = at_source.into_iter();
    let (key_sender, keys) = key_queue();
    if let Some(connection) = at_source.next() {
        tasks.spawn(scan(Scan {
            connection,
            filter: plan.filter.clone(),
            once: policy != IfExists::Replace || plan.delete_source,
            keys: key_sender,
            ledger: job.ledger.clone(),
            stop: run.stop.clone(),
        }));
    }
    for (source, target) in at_source.zip(at_target) {
        let (sender, receiver) = channel::bounded(CHANNEL_BYTES);
        let (ledger, stop) = (job.ledger.clone(), run.stop.clone());
        let fetch = Fetch::new(source, keys.clone(), sender, job.clock, ledger, stop, patience);
        tasks.spawn(fetch.run());
        let (ledger, stop) = (job.ledger.clone(), run.stop.clone());
        let lane = Lane::new(target, receiver, policy, ledger, stop, hooks.clone(), patience);
        tasks.spawn(lane.run());
    }
    // What is left here must not keep the tasks waiting for more.
    drop((keys, hooks));
    join(tasks, run).await
}

/// Opens connections side by side: each costs several round trips.
async fn connect_several(
    connector: &Connector,
    database: u32,
    count: usize,
) -> Result<Vec<Connection>> {
    let mut attempts = JoinSet::new();
    for _ in 0..count {
        let connector = connector.clone();
        attempts.spawn(async move { connect(&connector, database).await });
    }
    let mut connections = Vec::with_capacity(count);
    for result in attempts.join_all().await {
        connections.push(result?);
    }
    Ok(connections)
}
