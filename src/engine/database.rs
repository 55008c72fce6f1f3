//! The pipeline of one database: one scan, several fetches, each with a lane of its own.
//!
//! ```text
//! scan ──> keys ──┬─> fetch ──> channel ──> lane ──┬─> exists ─> merge   (--if-exists merge)
//!                 ├─> fetch ──> channel ──> lane ──┤
//!                 └─> fetch ──> channel ──> lane ──┼─> too long ─> pieces
//!                                                  └─> exists, perhaps ours ─> existing ─> lane
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::copy::join;
use super::{Run, existing, merge, pieces};
use crate::config::{IfExists, Route};
use crate::error::Result;
use crate::flow::{HandOver, Repeated, channel, key_queue};
use crate::net::{Connection, Link};
use crate::report::Ledger;
use crate::source::fetch::{self, Asking, Fetch};
use crate::source::marks::{Course, Mark, Marks};
use crate::source::names::{Listed, Names};
use crate::source::scan::Scan;
use crate::source::still::Still;
use crate::source::window::Window;
use crate::target::crossing::Crossing;
use crate::target::recovering::OtherProcess;
use crate::target::restore::{self, Hooks, Lane};

/// Names of keys to be merged or to go in pieces that may wait for their task.
const HOOKS_WAITING: usize = 64;

/// One database to copy.
pub(super) struct Job {
    pub(super) source: Link,
    pub(super) target: Link,
    pub(super) ledger: Ledger,
    /// Fetch connections, and as many lanes.
    pub(super) connections: usize,
    pub(super) asking: Asking,
    /// By which expiries need not be asked for.
    pub(super) still: Option<Arc<Still>>,
    pub(super) budget: Budget,
    pub(super) crossing: Crossing,
    /// What may be asked of the source at once, all databases together.
    pub(super) window: Arc<Window>,
    /// For the one key that goes in pieces, all databases together.
    pub(super) in_pieces: Arc<Semaphore>,
    /// Held by the one merge that has long members in memory.
    pub(super) merging: Arc<Semaphore>,
    /// Whether what the target holds may have been written by this copy, in an earlier run or pass.
    pub(super) repeated: Repeated,
    /// Whether strings may go several at once where nothing else is in the way.
    pub(super) several: bool,
    pub(super) route: Route,
    /// The cursor that an earlier run had come to.
    pub(super) from: Option<Vec<u8>>,
    /// Only these keys, in wire form.
    pub(super) late: Option<Vec<Vec<u8>>>,
    /// Where it is kept how far it has come.
    pub(super) marks: Option<mpsc::Sender<Mark>>,
    /// What happens when the target is restarted, or fails over.
    pub(super) other_process: OtherProcess,
    /// Ends the naming of keys: the run is stopped, or all of them will be named anew.
    pub(super) over: CancellationToken,
}

/// Copies one database.
pub(super) async fn copy(run: &Run, job: Job) -> Result<()> {
    let plan = &run.plan;
    let Job { source, target, ledger, connections, asking, budget, crossing, window, .. } = job;
    let told = job.marks.map(|marks| (job.route, marks));
    let (clock, other_process) = (asking.clock, job.other_process);
    let policy = plan.if_exists;
    let (at_source, at_target) = tokio::try_join!(
        connect_several(&source, (2, 1 + connections)),
        connect_several(&target, (1, connections)),
    )?;
    let mut tasks = JoinSet::new();
    let mut hooks = Hooks::default();
    if policy == IfExists::Merge {
        let (sender, keys) = mpsc::channel(HOOKS_WAITING);
        hooks.merge = Some(sender);
        let ledger = ledger.clone();
        let links = [source.clone(), target.clone()];
        let room = merge::Room::new(plan.limits.memory, job.merging);
        tasks.spawn(merge::merge(links, keys, clock, crossing, room, ledger, run.stop.clone()));
    }
    if policy != IfExists::Replace {
        let (sender, questions) = mpsc::channel(existing::WAITING);
        hooks.existing = Some(sender);
        tasks.spawn(existing::answer(existing::Existing {
            target: target.clone(),
            questions,
            ahead_ms: clock.ahead_ms,
            crossing,
            stop: run.stop.clone(),
        }));
    }
    let (sender, keys) = mpsc::channel(HOOKS_WAITING);
    let copied = Arc::<AtomicU64>::default();
    let longest_bulk = crossing.target.longest_bulk;
    hooks.pieces = Some(HandOver { keys: sender, longest_bulk, copied: copied.clone() });
    tasks.spawn(pieces::copy(pieces::Tools {
        source: source.clone(),
        target: target.clone(),
        keys,
        clock,
        ledger: ledger.clone(),
        policy,
        repeated: job.repeated.clone(),
        merge: hooks.merge.clone(),
        lossy: crossing.lossy,
        longest_bulk,
        names: run.temporary.clone(),
        copied,
        pace: run.pace.clone(),
        place: job.in_pieces,
        stop: run.stop.clone(),
    }));
    let mut at_source = at_source.into_iter();
    let (largest_count, waiting) = budget.pages(asking.by_value);
    let (key_sender, keys) = key_queue(waiting);
    let of_scan = at_source.next();
    if let Some(names) = job.late {
        let listed = Listed { names, keys: key_sender, ledger: ledger.clone() };
        tasks.spawn(Names::Listed(listed).run());
    } else if let Some(mut connection) = of_scan {
        connection.limit_slab(budget.slab);
        let scan = Scan {
            link: source.clone(),
            connection,
            filter: plan.filter.clone(),
            largest_count,
            longest_name: budget.longest_name,
            too_long: ledger.clone(),
            once: policy != IfExists::Replace,
            keys: key_sender,
            ledger: ledger.clone(),
            stop: job.over.clone(),
            course: Course {
                from: job.from,
                repeated: job.repeated.clone(),
                marks: told.clone().map(|(route, told)| Marks::new(route, told, ledger.clone())),
            },
        };
        tasks.spawn(Names::new(scan, plan.letters.as_deref()).run());
    }
    for (from, into) in at_source.zip(at_target) {
        let (sender, receiver) = channel::bounded(budget.channel);
        let fetch = Fetch::new(fetch::Tools {
            link: source.clone(),
            connection: from,
            keys: keys.clone(),
            out: sender.paced(run.pace.clone()),
            pieces: hooks.pieces.clone(),
            asking,
            still: job.still.clone(),
            window: window.clone(),
            slab: budget.slab,
            ledger: ledger.clone(),
            stop: run.stop.clone(),
        });
        tasks.spawn(fetch.run());
        let lane = Lane::new(restore::Tools {
            link: target.clone(),
            connection: into,
            batches: receiver,
            policy,
            several: job.several,
            crossing,
            window: budget.lane,
            repeated: job.repeated.clone(),
            ledger: ledger.clone(),
            stop: run.stop.clone(),
            hooks: hooks.clone(),
            other_process: other_process.clone(),
        });
        tasks.spawn(lane.run());
    }
    // What is left here must not keep the tasks waiting for more.
    drop((keys, hooks));
    join(tasks, run).await?;
    if let Some((route, told)) = told.filter(|_| !job.over.is_cancelled()) {
        // Gone when nothing is kept any more.
        let _ = told.send(Mark { route, cursor: None, counters: ledger.keep() }).await;
    }
    Ok(())
}

/// Opens connections side by side, since each costs several round trips: at least, and at most, so many.
/// What the server has no room for beyond the least is done without.
pub(super) async fn connect_several(
    link: &Link,
    (least, most): (usize, usize),
) -> Result<Vec<Connection>> {
    let mut attempts = JoinSet::new();
    for _ in 0..most {
        let link = link.clone();
        attempts.spawn(async move { link.connect_if_room().await });
    }
    let mut connections = Vec::with_capacity(most);
    for result in attempts.join_all().await {
        connections.extend(result?);
    }
    while connections.len() < least {
        connections.push(link.connect().await?);
    }
    if let (true, Some(connection)) = (connections.len() < most, connections.first()) {
        let server = connection.server();
        let (side, has) = (server.side, connections.len());
        tracing::warn!(
            "the {side} takes no more clients (its maxclients): {has} connections are used instead of {most}"
        );
    }
    Ok(connections)
}
