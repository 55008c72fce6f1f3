//! What a run that is given up leaves undone, by name: for `--failures`.
//!
//! ```text
//! given up (no answer came) ──┐
//! named, and not asked for ───┼──> what do both sides hold? ──> what differs: dead letters
//! not named yet ──> scan ─────┘
//! ```
//!
//! Where the target does not answer any more, nobody can say whether a key without an answer arrived,
//! nor whether what it acknowledged is still there: all of the former are named. Where the source does
//! not, what its scan had not named stays unnamed. In both cases that is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::acquaint::{Meant, Met};
use super::budget::{Budget, Pairs};
use super::census::Holdings;
use super::copy::join;
use super::ground::{Ground, Trusted};
use super::probe::Probed;
use super::{Run, again, guard, unwritten};
use crate::config::{IfExists, Route};
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{KeyQueue, Keys, name_of, wire_of};
use crate::net::{Backoff, Connection, Link};
use crate::report::json::Peer;
use crate::report::{Count, DifferenceKind, Ledger, Left};
use crate::source::window::{Seen, Window};
use crate::verify::{Eyes, Finding, GROUP, HELD};

/// The reason of a key that nobody came to.
const UNREAD: &str = "the run was given up before this key was copied";

/// The accounts of the databases.
pub(super) type Ledgers = [(Route, Ledger)];

/// The accounts of the databases, with how many keys each `held`.
pub(super) fn ledgers(run: &Run, routes: &[Route], held: &Holdings) -> Arc<Ledgers> {
    let ledger = |&route: &Route| {
        let expected = held.get(&route.source).map_or(0, |keyspace| keyspace.keys);
        let stats = run.stats.database(route.source, route.target, expected);
        (route, Ledger::keeping_left(run.stats.clone(), stats))
    };
    routes.iter().map(ledger).collect()
}

/// As [`reckon`], of a run that ends before its first key; `probed`: what the probe found, if it came to
/// its end.
pub(super) async fn reckon_unbegun(run: &Arc<Run>, probed: Option<&Probed>, cause: &Error) {
    // What an earlier run left is as it was.
    let begun = || run.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.is_begun());
    let resumed = probed.map_or_else(begun, |probed| probed.resumed);
    let refused = cause.kind() == Kind::Server || run.plan.dry_run;
    if resumed || refused || !run.stats.dead_letters().are_kept() || !gives_up(run, cause) {
        return;
    }
    let ground = match probed {
        Some(probed) => Ok(Ground::of(probed)),
        None => Ground::of_source(run).await,
    };
    match ground {
        Ok(ground) => {
            let ledgers = ledgers(run, &ground.routes, &BTreeMap::new());
            reckon(run, &ledgers, &Trusted::now(run, ground), cause).await;
        }
        Err(error) => tracing::warn!("{error}; no key is named among the dead letters"),
    }
}

/// Whether a cause ends a run that had begun, and nobody wants it to end faster.
fn gives_up(run: &Run, cause: &Error) -> bool {
    let begun =
        matches!(cause.kind(), Kind::Connect | Kind::Transport | Kind::Protocol | Kind::Server);
    begun && !run.wish.is_cancelled()
}

/// Names every key that differs because the run is given up for `cause`, as far as anybody can tell.
pub(super) async fn reckon(run: &Arc<Run>, ledgers: &Ledgers, trusted: &Trusted, cause: &Error) {
    // From here on connections that break are not made again for what was before.
    run.stop.cancel();
    let left: Vec<(Route, Ledger, Left)> = ledgers
        .iter()
        .filter_map(|(route, ledger)| Some((*route, ledger.clone(), ledger.take_left()?)))
        .collect();
    if left.is_empty() || !gives_up(run, cause) {
        left.iter().for_each(|(_, ledger, left)| fail_all(ledger, left));
        return;
    }
    tracing::warn!("{cause}; given up: looking for the keys that differ, for the dead letters");
    match name_all(run, left, trusted, cause).await {
        Ok(true) => run.stats.dead_letters().are_complete(true),
        Ok(false) => tracing::warn!(
            "the target does not answer any more: the keys that it did not acknowledge are named among \
             the dead letters, and it is not known whether it still holds the others"
        ),
        Err(error) => tracing::warn!(
            "{error}; keys that were not read before are missing among the dead letters"
        ),
    }
}

/// Counts the keys as failed that a run gave up.
pub(super) fn fail_given_up(ledger: &Ledger) {
    if let Some(left) = ledger.take_left() {
        fail_all(ledger, &left);
    }
}

fn fail_all(ledger: &Ledger, left: &Left) {
    left.given_up.iter().for_each(|(name, why)| ledger.fail(name, why));
}

/// `false`: the target may have lost what it acknowledged, and cannot be asked.
async fn name_all(
    run: &Arc<Run>,
    mut left: Vec<(Route, Ledger, Left)>,
    trusted: &Trusted,
    cause: &Error,
) -> Result<bool> {
    let again = run.again();
    // One attempt where the patience of the run was used up; the other side may be away for a while.
    let link = |side: Side, link: &Link| match cause.side() {
        Some(gone) if gone != side || cause.kind() == Kind::Server => {
            link.clone().until(again.stop.clone())
        }
        _ => link.clone(),
    };
    let (source, target) =
        (link(Side::Source, &trusted.source), link(Side::Target, &trusted.target));
    let (source, target) = tokio::join!(source.is_unchanged(), target.is_unchanged());
    let mut met = None;
    if let (Ok(_), Ok(_)) = (&source, &target) {
        let [mut from, mut into] = [Peer::default(), Peer::default()];
        let meant = Meant::These(&trusted.ground.routes);
        match again::met(&again, meant, &mut from, &mut into).await {
            Ok(known) => met = Some(known),
            Err(error) => {
                tracing::warn!(
                    "{error}: what the target holds already is named among the dead letters"
                );
            }
        }
    }
    let same_source = match source {
        Ok(same) => same,
        Err(error) => {
            left.iter().for_each(|(_, ledger, left)| fail_all(ledger, left));
            return Err(error);
        }
    };
    let answers = target.is_ok();
    let same_target = target.unwrap_or(true) && !trusted.target.has_changed();
    let anew = !same_source || !same_target;
    if anew {
        // Cursors mean nothing any more, or what was acknowledged may be lost: all of it once more.
        for (_, ledger, left) in &mut left {
            fail_all(ledger, left);
            *left = Left::default();
        }
        run.stats.forget_failures().map_err(|error| unwritten(&error))?;
    }
    let guard = match guard::start(&again, trusted.ground.source_link(&again, 0)).await {
        Ok(guard) => guard,
        Err(error) => {
            left.iter().for_each(|(_, ledger, left)| fail_all(ledger, left));
            return Err(error);
        }
    };
    let shared = Arc::new(Shared::new(again, trusted.ground.clone(), met));
    let named = name_left(&shared, &left).await;
    match guard {
        Some(guard) => named.and(guard.end().await)?,
        None => named?,
    }
    // What was acknowledged, or found to be the same, may be lost if another process answers now.
    let restarted =
        || Error::new(Kind::Server, "a server was restarted while keys were looked for");
    if !shared.source.is_unchanged().await? {
        return Err(restarted());
    }
    if !answers || shared.gone.load(Ordering::Relaxed) {
        return Ok(false);
    }
    match shared.target.is_unchanged().await {
        Ok(true) => Ok(true),
        Ok(false) => Err(restarted()),
        Err(_) => Ok(false),
    }
}

/// Names what differs of what is left.
async fn name_left(shared: &Arc<Shared>, left: &[(Route, Ledger, Left)]) -> Result<()> {
    let mut away = Ok(());
    for (route, ledger, left) in left {
        // These are counted already, so each of them has to come to an end.
        let mut worker = Worker::new(shared, *route, ledger);
        let wires: Vec<Vec<u8>> = left.given_up.iter().map(|(name, _)| wire_of(name)).collect();
        let keys: Vec<Key<'_>> = wires
            .iter()
            .zip(&left.given_up)
            .map(|(wire, (_, why))| Key { wire, why, scanned: true })
            .collect();
        let looked = match &away {
            Ok(()) => worker.look_at(&keys).await,
            Err(_) => Err(0),
        };
        if let Err(done) = looked {
            let rest = keys.get(done..).unwrap_or_default();
            rest.iter().for_each(|key| ledger.fail(name_of(key.wire), key.why));
            away = away.and_then(|()| Err(worker.broken()));
        }
    }
    away?;
    for (route, ledger, left) in left {
        name_unread(shared, *route, ledger, left).await?;
    }
    Ok(())
}

/// Names what nobody has asked for of one database.
async fn name_unread(
    shared: &Arc<Shared>,
    route: Route,
    ledger: &Ledger,
    left: &Left,
) -> Result<()> {
    let run = &shared.run;
    let keys = Keys::copied(left.unread.iter().map(|name| wire_of(name)));
    Worker::new(shared, route, ledger).look_at_unread(&keys).await?;
    let from = shared.ground.source_link(run, route.source);
    let (names, queue) = run.names_of(&from, true, super::uncounted()).await?;
    let Some(names) = names.ahead(left.ahead.clone()) else { return Ok(()) };
    let mut tasks = JoinSet::new();
    tasks.spawn(names.run());
    for _ in 0..shared.connections {
        let worker = Worker::new(shared, route, ledger);
        tasks.spawn(worker.look_at_all(queue.clone()));
    }
    drop(queue);
    join(tasks, run).await?;
    match run.stop.is_cancelled() {
        true => Err(stopped()),
        false => Ok(()),
    }
}

fn stopped() -> Error {
    Error::new(Kind::Cancelled, "stopped before all keys were looked at")
}

/// What all databases share.
struct Shared {
    /// The run, which this goes on for.
    run: Arc<Run>,
    ground: Ground,
    /// To the processes that are known from the beginning.
    source: Link,
    target: Link,
    /// How both sides are compared; `None`: the target does not answer, or refuses it.
    met: Option<Met>,
    /// The target has stopped to answer meanwhile.
    gone: AtomicBool,
    connections: usize,
    window: Window,
    whole: Semaphore,
    /// Keys in one look.
    group: usize,
}

impl Shared {
    /// Whether both sides are compared.
    fn compares(&self) -> bool {
        self.met.is_some() && !self.gone.load(Ordering::Relaxed)
    }

    fn new(run: Arc<Run>, ground: Ground, met: Option<Met>) -> Self {
        let connections = Pairs::new(run.plan.limits, 1, 2, &[]).each;
        let [source_far, target_far] = ground.round_trips;
        let memory = run.plan.limits.memory;
        let budget = Budget::new(memory, connections, source_far, target_far);
        let keys = (Budget::NEAR_KEYS, budget.source_keys);
        Self {
            source: ground.source_link(&run, 0),
            target: ground.target_link(&run, 0),
            run,
            ground,
            met,
            gone: AtomicBool::new(false),
            connections,
            window: Window::new(budget.source_window, keys, connections, source_far),
            whole: Semaphore::new(1),
            // Of a group both sides' payloads are held.
            group: (budget.channel / HELD).clamp(1, GROUP),
        }
    }
}

/// A key without an end.
#[derive(Clone, Copy)]
struct Key<'a> {
    /// In wire form.
    wire: &'a [u8],
    /// Why it has none.
    why: &'a str,
    /// It is counted as scanned.
    scanned: bool,
}

/// Looks at the keys of one database, with connections of its own to both sides.
struct Worker {
    shared: Arc<Shared>,
    source: Link,
    target: Link,
    ledger: Ledger,
    open: Option<(Connection, Connection)>,
    seen: Seen,
    /// Why the source cannot be asked.
    away: Option<Error>,
}

impl Worker {
    fn new(shared: &Arc<Shared>, route: Route, ledger: &Ledger) -> Self {
        Self {
            shared: shared.clone(),
            source: shared.ground.source_link(&shared.run, route.source),
            target: shared.ground.target_link(&shared.run, route.target),
            ledger: ledger.clone(),
            open: None,
            seen: Seen::default(),
            away: None,
        }
    }

    /// Looks at all keys of a queue, which nobody has asked for.
    async fn look_at_all(mut self, queue: KeyQueue) -> Result<()> {
        while let Some(chunk) = queue.next().await {
            self.look_at_unread(&chunk).await?;
        }
        Ok(())
    }

    async fn look_at_unread(&mut self, keys: &Keys) -> Result<()> {
        let unread = |wire| Key { wire, why: UNREAD, scanned: false };
        let keys: Vec<Key<'_>> = keys.iter().map(unread).collect();
        self.look_at(&keys).await.map_err(|_| self.broken())
    }

    /// Counts and names keys; an error is how many of them were looked at before it came to nothing.
    async fn look_at(&mut self, keys: &[Key<'_>]) -> std::result::Result<(), usize> {
        let mut done = 0;
        while done < keys.len() {
            let shared = self.shared.clone();
            let Run { stop, pace, .. } = &*shared.run;
            let most = shared.group.min(keys.len() - done);
            let most = pace.as_ref().map_or(most, |pace| pace.scaled(most));
            let Some(claimed) = shared.window.claim_some(most, stop).await else {
                return Err(done);
            };
            let group = keys.get(done..done + claimed).unwrap_or_default();
            let found = self.findings(group).await;
            let seen = std::mem::take(&mut self.seen);
            shared.window.release(claimed, seen);
            if let Some(pace) = pace.as_ref().filter(|_| shared.compares()) {
                pace.pass(claimed as u64, seen.bytes()).await;
            }
            match found {
                Ok(found) => {
                    group.iter().zip(found).for_each(|(key, finding)| self.settle(*key, finding));
                }
                Err(error) => {
                    self.away = Some(error);
                    return Err(done);
                }
            }
            done += claimed;
        }
        Ok(())
    }

    /// What both sides hold; as if the target held nothing, where it does not tell.
    async fn findings(&mut self, keys: &[Key<'_>]) -> Result<Vec<Finding>> {
        let shared = self.shared.clone();
        let wires: Vec<&[u8]> = keys.iter().map(|key| key.wire).collect();
        let (mut broke, mut backoff) = (None, Backoff::default());
        while let Some(met) = shared.met.as_ref().filter(|_| shared.compares()) {
            let (source, target) = match &mut self.open {
                Some(open) => (&mut open.0, &mut open.1),
                none => {
                    let source = self.source.connect().await?;
                    let target = match self.target.connect().await {
                        Ok(target) => target,
                        Err(error) => {
                            tracing::warn!("{error}; what it holds is not known any more");
                            shared.gone.store(true, Ordering::Relaxed);
                            break;
                        }
                    };
                    let open = none.insert((source, target));
                    (&mut open.0, &mut open.1)
                }
            };
            let mut eyes = Eyes {
                source,
                watched: false,
                target,
                judge: met.judge,
                whole: &shared.whole,
                stop: &shared.run.stop,
                seen: &mut self.seen,
            };
            let error = match eyes.look(&wires).await {
                Ok(findings) => return Ok(findings),
                Err(error) => error,
            };
            tracing::debug!("not compared: {error}");
            self.open = None;
            // Each side is connected to again for as long as the run is patient; so is what breaks then.
            let since = broke.get_or_insert_with(Instant::now).elapsed();
            let over = shared.run.stop.is_cancelled() || since >= self.source.patience();
            if over || !error.passes() {
                return Err(error);
            }
            shared.run.stop.run_until_cancelled(sleep(backoff.next_delay())).await;
        }
        let missing = Finding::Differs(DifferenceKind::Missing, String::new());
        Ok(vec![missing; keys.len()])
    }

    /// Counts a key where it belongs, and names it if it differs.
    fn settle(&self, key: Key<'_>, finding: Finding) {
        let policy = self.shared.run.plan.if_exists;
        let (skips, merges) = (policy == IfExists::Skip, policy == IfExists::Merge);
        let end = match finding {
            Finding::Same => Count::Copied,
            Finding::Gone | Finding::Differs(DifferenceKind::Extra, _) => Count::Expired,
            Finding::Differs(DifferenceKind::Different, _) if skips => Count::Skipped,
            Finding::Differs(DifferenceKind::Expiry, _) if skips || merges => Count::Skipped,
            Finding::Differs(..) | Finding::Refused(_) => {
                self.ledger.add(Count::Scanned, u64::from(!key.scanned));
                self.ledger.fail(name_of(key.wire), key.why);
                return;
            }
        };
        // What nobody asked for, and what needs no more, is in no count.
        if key.scanned {
            self.ledger.add(end, 1);
        }
    }

    /// Why the keys were not all looked at.
    fn broken(&mut self) -> Error {
        self.away.take().unwrap_or_else(stopped)
    }
}
