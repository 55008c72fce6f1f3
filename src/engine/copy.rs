//! All databases at once, within bounds; and all of them once more, where the target is another
//! process in the end than it was in the beginning.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Pairs};
use super::checkpoint::{Keeping, Reached};
use super::evidence::lost_by;
use super::ground::{Ground, Trusted};
use super::probe::Probed;
use super::reckoning::{Ledgers, fail_given_up, reckon};
use super::target_watch::Look;
use super::upheaval::{Before, Upheaval};
use super::{Run, again, database, functions, guard, uncounted, unwritten};
use crate::command::ServerInfo;
use crate::config::{IfExists, Route, Verify};
use crate::error::{Error, Kind, Result};
use crate::flow::Repeated;
use crate::net::Line;
use crate::report::{Ahead, Ledger};
use crate::source::window::Window;
use crate::target::recovering::{OtherProcess, written_lost};
use crate::units;

/// So often all keys are copied, at most: a target that is restarted each time does not survive the
/// copy (its memory is limited, say), and will not the next time.
const PASSES: u32 = 5;

/// The copy as a task of its own: what is left to do after it is done even if it panics.
pub(super) async fn apart(
    run: Arc<Run>,
    probed: Arc<Probed>,
    ledgers: Arc<Ledgers>,
) -> Result<Passed> {
    let mut alone = JoinSet::new();
    let copied = run.clone();
    let passed = Arc::new(Mutex::new(Passed { before: probed.look.clone(), ..Passed::default() }));
    let noted = passed.clone();
    alone.spawn(async move { Box::pin(copy(&copied, &probed, &ledgers, &noted)).await });
    join(alone, &run).await?;
    Ok(std::mem::take(&mut *passed.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// What has to be known of the last pass over all keys.
#[derive(Default)]
pub(super) struct Passed {
    /// For a move: what the target said of itself when it began.
    pub(super) before: Option<Look>,
    /// Why names that agree prove nothing.
    pub(super) doubt: Option<Doubt>,
    /// What source and target said of themselves when it ended.
    pub(super) at_end: Option<[Before; 2]>,
}

/// What keeps a proof from being one.
#[derive(Clone)]
pub(super) struct Doubt {
    pub(super) error: Error,
    /// It is the source that may have lost keys: then only a look at both sides, both ways, is a proof.
    pub(super) of_source: bool,
}

async fn copy(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
    passed: &Mutex<Passed>,
) -> Result<()> {
    let guard = guard::start(run, run.source_link(0, probed)).await?;
    let copied = passes(run, probed, ledgers, passed).await;
    match guard {
        Some(guard) => copied.and(guard.end().await),
        None => copied,
    }
}

/// Copies until the target that acknowledged every key is the one that answers.
async fn passes(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
    passed: &Mutex<Passed>,
) -> Result<()> {
    let keeping =
        run.checkpoint.as_ref().map(|kept| Keeping::of(kept, run, ledgers)).transpose()?;
    let copied = Box::pin(until_unchanged(run, probed, ledgers, keeping.as_ref(), passed)).await;
    if let Some(keeping) = keeping {
        keeping.end().await;
    }
    match ledgers.iter().map(|(_, ledger)| ledger.counts().replaced).sum() {
        0 => {}
        1 => tracing::warn!("1 key that was on the target already was replaced"),
        more => {
            let more = units::count(more);
            tracing::warn!("{more} keys that were on the target already were replaced");
        }
    }
    copied
}

async fn until_unchanged(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
    keeping: Option<&Keeping>,
    passed: &Mutex<Passed>,
) -> Result<()> {
    let mut at_source = Line::new(run.source_link(0, probed));
    let mut at_target = Line::new(run.target_link(0, probed));
    let source_before = Before::if_there(&mut at_source).await.unwrap_or_default();
    let mut pass = 1;
    let (trusted, target_before) = loop {
        let before = told_if_there(&mut at_target).await.unwrap_or_default();
        // A server may have room for few connections.
        at_source.close();
        at_target.close();
        let trusted = Trusted::now(run, Ground::of(probed));
        let done = whole_pass(run, probed, ledgers, (pass, &trusted), keeping).await;
        if let Err(cause) = &done {
            reckon(run, ledgers, &trusted, cause).await;
        }
        if done? {
            break (trusted, before);
        }
        pass += 1;
        if run.plan.delete_source {
            // What the process before had lost is copied again.
            let look = Look::now(&mut run.target_link(0, probed).connect().await?).await?;
            passed.lock().unwrap_or_else(PoisonError::into_inner).before = Some(look);
        }
    };
    if run.wish.is_cancelled() {
        ledgers.iter().for_each(|(_, ledger)| fail_given_up(ledger));
        return Ok(());
    }
    if run.stop.is_cancelled() {
        // The guard tells the cause itself.
        let cause = Error::new(Kind::Transport, "the source's latency cannot be watched any more");
        reckon(run, ledgers, &trusted, &cause).await;
        return Ok(());
    }
    source_kept_its_keys(run, probed, ledgers).await?;
    let target = (&mut at_target, &target_before);
    let source = (&mut at_source, &source_before);
    let (doubt, at_end) = stayed_in_place((run, probed), source, target).await?;
    let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
    (passed.doubt, passed.at_end) = (doubt, at_end);
    Ok(())
}

/// What a server says of itself that may be gone by now, and is not waited for.
async fn told_if_there(line: &mut Line) -> Option<ServerInfo> {
    line.open().await.ok()?.info().await.ok()
}

/// What keeps names from proving anything: databases of a side were, or may have been, exchanged meanwhile.
/// Where it is not told, they are all there is. And what both sides say of themselves now.
///
/// # Errors
/// Databases of the source certainly were, or were emptied; or of the target, and nobody looks at it.
async fn stayed_in_place(
    (run, probed): (&Run, &Probed),
    (at_source, source): (&mut Line, &Before),
    (at_target, target): (&mut Line, &ServerInfo),
) -> Result<(Option<Doubt>, Option<[Before; 2]>)> {
    let unseen = run.plan.verify == Verify::None;
    // Without a proof they may well be gone by now.
    let (source_now, target_now) = match unseen {
        true => (Before::if_there(at_source).await, told_if_there(at_target).await),
        false => (Some(Before::now(at_source).await?), Some(at_target.info().await?)),
    };
    if let Some(loss) = target_now.as_ref().and_then(|now| lost_by(target, now)).filter(|_| unseen)
    {
        return Err(self::at_target(run, Error::new(Kind::Server, loss)));
    }
    let (target, target_now) = (Before::of(target), target_now.as_ref().map(Before::of));
    let at_end =
        source_now.clone().zip(target_now.clone()).map(|(source, target)| [source, target]);
    let since = |before: &Before, now: Option<Before>, uncertain| {
        match now.map_or(Upheaval::Untold, |now| before.until(&now)) {
            // What happened between two runs is not seen by this one.
            Upheaval::None | Upheaval::Untold if uncertain => Upheaval::Reset,
            seen => seen,
        }
    };
    let [source_unsure, target_unsure] = probed.uncertain;
    let of_source = since(source, source_now, source_unsure);
    let of_target = since(&target, target_now, target_unsure);
    let source = of_source.while_read().map(|error| self::at_source(run, error));
    let target = of_target.while_written().map(|error| self::at_target(run, error));
    match (source, target) {
        (Some(error), _) if of_source != Upheaval::Reset => Err(error),
        // Nobody looks at it.
        (Some(error), _) | (None, Some(error)) if unseen => Err(error),
        (Some(error), _) => Ok((Some(Doubt { error, of_source: true }), at_end)),
        (None, target) => Ok((target.map(|error| Doubt { error, of_source: false }), at_end)),
    }
}

/// Copies all keys once; `false`: they have to be copied once more.
async fn whole_pass(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
    (pass, trusted): (u32, &Trusted),
    keeping: Option<&Keeping>,
) -> Result<bool> {
    // What is there before cannot be told from what was written, and lost: it ends the run.
    let ends = matches!(run.plan.if_exists, IfExists::Skip | IfExists::Fail);
    if pass > 1 {
        ledgers.iter().for_each(|(_, ledger)| ledger.begin(Ahead::All));
        run.stats.forget_failures().map_err(|error| unwritten(&error))?;
        functions::carry_again(run, probed).await?;
        if let Some(keeping) = keeping {
            keeping.begin_anew(ledgers).await;
        }
    }
    let known = probed.lied.load(Ordering::Relaxed);
    one_pass(run, probed, ledgers, (pass, ends), keeping).await?;
    if run.stop.is_cancelled() {
        return Ok(true);
    }
    let lied = !known && probed.lied.load(Ordering::Relaxed);
    if !lied && (run.stop.is_cancelled() || trusted.target.is_unchanged().await?) {
        return Ok(true);
    }
    if lied {
        tracing::warn!(
            "INFO of the source says that no key expires, and some do: all keys are copied anew with \
             their expiries"
        );
        return Ok(false);
    }
    if ends {
        return Err(at_target(run, written_lost()));
    }
    if pass == PASSES {
        let text = format!(
            "it was restarted, or another server took its place, each of {PASSES} times that all \
             keys were copied"
        );
        return Err(at_target(run, Error::new(Kind::Server, text)).advise(
            "see the target's log (does it have the memory for them?), then run it again with \
             --if-exists replace",
        ));
    }
    tracing::warn!(
        "the target was restarted, or another server took its place: what was written before may \
         be lost, all keys are copied anew"
    );
    Ok(false)
}

fn at_source(run: &Run, error: Error) -> Error {
    let source = &run.plan.source;
    error.at(source.side, &source.endpoint.to_string())
}

fn at_target(run: &Run, error: Error) -> Error {
    let target = &run.plan.target;
    error.at(target.side, &target.endpoint.to_string())
}

/// A source that was restarted has what its files held: nothing of that, where it has none. What it
/// had in the beginning and has no more was perhaps never read.
async fn source_kept_its_keys(run: &Run, probed: &Probed, ledgers: &Ledgers) -> Result<()> {
    let link = run.source_link(0, probed);
    // Where nobody looks at the end, it may well be gone by now.
    let asked = run.plan.verify != Verify::None || run.plan.delete_source;
    if probed.source_process.changes() == 0 && (!asked || link.is_unchanged().await?) {
        return Ok(());
    }
    let now = again::holdings(&link, &probed.routes).await?;
    for (route, _) in ledgers {
        let had = probed.source.get(&route.source).copied().unwrap_or_default().persistent();
        let has = now.get(&route.source).map_or(0, |keyspace| keyspace.keys);
        if has < had {
            let text = format!(
                "it was restarted during the copy and holds fewer keys than before: {has} of {had} \
                 in database {}; what it lost before it was read is not copied",
                route.source
            );
            return Err(at_source(run, Error::new(Kind::Server, text)).advise(
                "a server without persistence starts empty: give it its keys back, then copy again \
                 with --if-exists replace",
            ));
        }
    }
    Ok(())
}

/// Copies every route; the first error of a database stops the others and is returned at the end.
async fn one_pass(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
    (pass, ends): (u32, bool),
    keeping: Option<&Keeping>,
) -> Result<()> {
    let shared = Shared::new(run, probed, probed.routes.len(), ends);
    let places = Arc::new(Semaphore::new(shared.pairs.databases));
    let over = shared.over.clone();
    let now = match probed.spares_any() {
        true => Some(again::info(&run.source_link(0, probed)).await?),
        false => None,
    };
    let mut stills = Vec::new();
    let mut databases = JoinSet::new();
    for (route, ledger) in ledgers {
        let kept = keeping.filter(|_| pass == 1);
        let reached = kept.map_or(Reached::At(None), |kept| kept.reached(*route));
        let Reached::At(from) = reached else {
            ledger.begin(Ahead::Nothing);
            continue;
        };
        ledger.begin(from.clone().map_or(Ahead::All, Ahead::Cursor));
        let still = now.as_ref().and_then(|now| probed.still(run, *route, now));
        stills.extend(still.clone());
        let job = database::Job {
            still,
            repeated: if pass > 1 { Repeated::all() } else { probed.repeated() },
            from,
            marks: keeping.map(Keeping::marks),
            ..shared.job(run, probed, *route, ledger.clone())
        };
        let (run, places, over) = (run.clone(), places.clone(), over.clone());
        databases.spawn(async move {
            let _place = places.acquire_owned().await;
            if over.is_cancelled() {
                return Ok(());
            }
            Box::pin(database::copy(&run, job)).await
        });
    }
    let copied = join(databases, run).await;
    probed.lied.fetch_or(stills.iter().any(|still| still.has_lied()), Ordering::Relaxed);
    copied
}

/// Copies keys of a database that its scan did not name, once all databases are done; or that the target
/// has lost since they were `counted`.
pub(super) async fn late(
    run: &Arc<Run>,
    probed: &Probed,
    route: Route,
    keys: Vec<Vec<u8>>,
    counted: bool,
) -> Result<()> {
    let ledger = if counted {
        uncounted()
    } else {
        let stats = run.stats.of_route(route.source, route.target);
        let stats = stats.unwrap_or_else(|| run.stats.database(route.source, route.target, 0));
        Ledger::new(run.stats.clone(), stats)
    };
    // A key of these that is there was copied by this run, or by somebody else meanwhile.
    let shared = Shared::new(run, probed, 1, true);
    let job = database::Job { late: Some(keys), ..shared.job(run, probed, route, ledger) };
    Box::pin(database::copy(run, job)).await
}

/// What the databases of a pass share.
struct Shared {
    pairs: Pairs,
    budget: Budget,
    window: Arc<Window>,
    in_pieces: Arc<Semaphore>,
    merging: Arc<Semaphore>,
    /// What happens when the target is restarted, or fails over.
    other_process: OtherProcess,
    /// Ends the naming of keys.
    over: CancellationToken,
}

impl Shared {
    fn new(run: &Run, probed: &Probed, databases: usize, ends: bool) -> Self {
        let [from, into] = &probed.before;
        let pairs = Pairs::new(run.plan.limits, databases, 1, &[from, into]);
        let [source_far, target_far] = probed.round_trips;
        let budget = Budget::new(run.plan.limits.memory, pairs.all(), source_far, target_far);
        tracing::debug!("{pairs:?} of connections, {:?}, {budget:?}", probed.round_trips);
        let keys = (Budget::NEAR_KEYS, budget.source_keys);
        let over = run.stop.child_token();
        // Where all is copied anew, there is no use in naming more keys before.
        let tell = if ends { CancellationToken::new() } else { over.clone() };
        Self {
            pairs,
            budget,
            window: Arc::new(Window::new(budget.source_window, keys, pairs.all(), source_far)),
            in_pieces: Arc::new(Semaphore::new(1)),
            merging: Arc::new(Semaphore::new(1)),
            other_process: OtherProcess { tell, ends },
            over,
        }
    }

    /// The copy of one database, from its beginning.
    fn job(&self, run: &Run, probed: &Probed, route: Route, ledger: Ledger) -> database::Job {
        database::Job {
            source: run.source_link(route.source, probed),
            target: run.target_link(route.target, probed).for_writing(),
            ledger,
            connections: self.pairs.each,
            asking: probed.asking(run, self.budget.large),
            still: None,
            budget: self.budget,
            crossing: probed.crossing,
            window: self.window.clone(),
            in_pieces: self.in_pieces.clone(),
            merging: self.merging.clone(),
            repeated: probed.repeated(),
            several: probed.several(&run.plan),
            route,
            from: None,
            late: None,
            marks: None,
            other_process: self.other_process.clone(),
            over: self.over.clone(),
        }
    }
}

/// Waits for all tasks; the first error stops the run, and is the one that counts, but for connections
/// that were not made again because the run had to stop.
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
            let tells = !error.passes() && error.kind() != Kind::Cancelled;
            let says_less = |first: &Error| first.passes() && tells;
            if first.as_ref().err().is_none_or(says_less) {
                first = Err(error);
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run is said to end with whose tasks end with these errors, one after the other.
    async fn cause(errors: Vec<Error>) -> String {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut before = CancellationToken::new();
        before.cancel();
        for error in errors {
            let (turn, done) = (before, CancellationToken::new());
            before = done.clone();
            tasks.spawn(async move {
                turn.cancelled().await;
                done.cancel();
                Err(error)
            });
        }
        join_or_stop(tasks, &stop).await.expect_err("all of them failed").to_string()
    }

    #[tokio::test]
    async fn the_first_error_counts_that_says_why() {
        let error = |kind: Kind| Error::new(kind, format!("{kind:?}"));
        let [server, protocol] = [Kind::Server, Kind::Protocol].map(error);
        let [broken, stopped] = [Kind::Transport, Kind::Cancelled].map(error);
        let given_up = Error::new(Kind::Transport, "given up").lasting();
        let said = |errors: &[&Error]| cause(errors.iter().map(|&error| error.clone()).collect());
        assert_eq!(said(&[&server, &protocol]).await, "Server");
        assert_eq!(said(&[&server, &broken]).await, "Server");
        // A connection that was only not made again.
        assert_eq!(said(&[&broken, &server, &protocol]).await, "Server");
        assert_eq!(said(&[&broken, &given_up]).await, "given up");
        assert_eq!(said(&[&broken, &stopped]).await, "Transport");
    }
}
