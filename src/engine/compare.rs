//! The comparison of both sides: databases that go into one target database are one job.
//!
//! ```text
//! source: scan ──> keys ──┬─> fetch ──> channel ──> comparer ──┐
//!                         └─> fetch ──> channel ──> comparer ──┼─> doubts ──> settle
//! target: scan ──> keys ────> extras ──────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::acquaint::{Meant, Met};
use super::budget::{Budget, Pairs};
use super::census::Holdings;
use super::copy::join;
use super::database::connect_several;
use super::upheaval::{Before, Sides};
use super::{Run, again, guard, uncounted};
use crate::config::Route;
use crate::error::Result;
use crate::flow::{KeyQueue, Keys, channel, key_queue};
use crate::report::json::Peer;
use crate::report::{Difference, DifferenceKind, Ledger, Mode, Proven, Stats, Verified};
use crate::source::fetch::{Asking, Fetch, Tools as Reading};
use crate::source::marks::Course;
use crate::source::scan::{Scan, scan};
use crate::source::window::Window;
use crate::verify::{
    Comparer, Doubt, Extras, Late, Origin, Settle, Tools as Comparing, doubts, extras, settle,
};

/// Doubts that may wait in a run, and the bytes of their keys: some 10 MiB in all.
pub(super) const DOUBTS: (usize, usize) = (32 << 10, 4 << 20);

/// Everything that is compared with one target database.
struct Job {
    target: u32,
    sources: Vec<u32>,
    /// Whether keys that only the target holds count.
    extras: bool,
}

/// What the jobs of a run share.
struct Shared {
    connections: usize,
    budget: Budget,
    /// What may be asked of the source at once.
    window: Arc<Window>,
    /// Held by the one task that has a long value in memory whole.
    whole: Arc<Semaphore>,
    /// Doubts of one job, and the bytes of their keys.
    doubts: (usize, usize),
    /// Keys of each side that are looked at, and how many there are.
    sample: Option<(u64, u64)>,
    of_copy: Option<OfCopy>,
}

/// What is different where the keys of a copy are compared, which knows what it copied.
#[derive(Clone)]
struct OfCopy {
    late: Option<Late>,
}

/// Compares both sides, both ways, as `verify` does.
pub(super) async fn verify(
    run: &Arc<Run>,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    let met = Arc::new(again::met(run, Meant::OfBoth, source, target).await?);
    // Once more: whether counters are reset shows by the questions that were asked so far.
    let [source, target] = met.infos.each_ref().map(Before::of);
    let sides = [(met.source_link(run, 0), source), (met.target_link(run, 0), target)];
    let sides = unless_other_processes(Sides(sides)).await?;
    compare(run, &met, jobs(&met.routes, |_| true), run.stats.clone(), None).await?;
    if !run.stop.is_cancelled() {
        unless_other_processes(sides).await?;
    }
    let mode = if run.plan.comparing.sample.is_some() { Mode::Sample } else { Mode::Full };
    let proven = |route: &Route| {
        Proven::new(route.source, route.target, mode, true).with_differences(&run.stats)
    };
    Ok(Verified::of(mode, met.routes.iter().map(proven).collect()))
}

/// Both sides now, if nothing happened to them.
async fn unless_other_processes(sides: Sides) -> Result<Sides> {
    let (now, other_process) = sides.until_now().await?;
    other_process.map_or(Ok(now), Err)
}

/// Compares what a copy has copied. Only the target databases in `own` held nothing before and were
/// filled by the copy alone, so only there can a key be one too many. What is missing goes to `late`,
/// if that is given, and is told otherwise.
pub(super) async fn prove(
    run: &Arc<Run>,
    met: &Arc<Met>,
    routes: &[Route],
    own: impl Fn(u32) -> bool,
    late: Option<&Late>,
) -> Result<()> {
    // The copy's own accounts are closed.
    let apart = Arc::new(Stats::default());
    let proof = OfCopy { late: late.cloned() };
    compare(run, met, jobs(routes, own), apart.clone(), Some(&proof)).await?;
    tell_uncompared(run, routes, &apart);
    Ok(())
}

/// Compares some keys of a database that a copy has copied.
pub(super) async fn prove_keys(
    run: &Arc<Run>,
    met: &Met,
    route: Route,
    keys: Vec<Vec<u8>>,
) -> Result<()> {
    let apart = Arc::new(Stats::default());
    let ledger = Ledger::new(apart.clone(), apart.database(route.source, route.target, 0));
    let copied = run.stats.of_route(route.source, route.target);
    let origin =
        Origin { db: route.source, link: met.source_link(run, route.source), ledger, copied };
    let (sender, waiting) = doubts();
    let mut tasks = JoinSet::new();
    tasks.spawn(settle(Settle {
        origins: vec![origin],
        target_db: route.target,
        target: met.target_link(run, route.target),
        judge: met.judge,
        doubts: waiting,
        most: DOUBTS,
        stats: run.stats.clone(),
        late: None,
        filter: run.plan.filter.clone(),
        whole: Arc::new(Semaphore::new(1)),
        stop: run.stop.clone(),
    }));
    tasks.spawn(async move {
        for key in keys {
            if sender.send(Doubt { source: Some(0), key }).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    join(tasks, run).await?;
    tell_uncompared(run, &[route], &apart);
    Ok(())
}

/// What could not be looked at is neither proven nor different: it is a kind of its own.
fn tell_uncompared(run: &Run, routes: &[Route], apart: &Stats) {
    let (differences, failures) = (run.stats.differences(), apart.failures());
    for route in routes {
        let failed = apart.of_route(route.source, route.target).map_or(0, |of| of.counts().failed);
        let mut unnamed = failed;
        for failure in failures.iter().filter(|failure| failure.db == route.source) {
            unnamed = unnamed.saturating_sub(1);
            differences.tell(Difference {
                db: route.source,
                target_db: route.target,
                key: failure.key.clone(),
                kind: DifferenceKind::Uncompared,
                what: format!("it could not be compared: {}", failure.error),
            });
        }
        let place = (route.source, route.target);
        differences.add(place, DifferenceKind::Uncompared, unnamed);
    }
}

fn jobs(routes: &[Route], extras: impl Fn(u32) -> bool) -> Vec<Job> {
    let mut targets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for route in routes {
        targets.entry(route.target).or_default().push(route.source);
    }
    let job = |(target, sources)| Job { target, sources, extras: extras(target) };
    targets.into_iter().map(job).collect()
}

async fn compare(
    run: &Arc<Run>,
    met: &Arc<Met>,
    jobs: Vec<Job>,
    stats: Arc<Stats>,
    of_copy: Option<&OfCopy>,
) -> Result<()> {
    let guard = guard::start(run, met.source_link(run, 0)).await?;
    let routes: usize = jobs.iter().map(|job| job.sources.len()).sum();
    let [from, into] = &met.infos;
    let pairs = Pairs::new(run.plan.limits, routes, 2, &[from, into]);
    let [source_far, target_far] = met.round_trips;
    let budget = Budget::new(run.plan.limits.memory, pairs.all(), source_far, target_far);
    let at_once = jobs.len().clamp(1, pairs.databases);
    let keys = |sides: &Holdings| -> u64 { sides.values().map(|keyspace| keyspace.keys).sum() };
    let shared = Arc::new(Shared {
        connections: pairs.each,
        budget,
        window: Arc::new(Window::new(
            budget.source_window,
            (Budget::NEAR_KEYS, budget.source_keys),
            pairs.all(),
            source_far,
        )),
        whole: Arc::new(Semaphore::new(1)),
        doubts: (DOUBTS.0 / at_once, DOUBTS.1 / at_once),
        of_copy: of_copy.cloned(),
        sample: run
            .plan
            .comparing
            .sample
            .map(|sample| (sample, keys(&met.source).max(keys(&met.target)))),
    });
    let places = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for job in jobs {
        let ledgers = job.sources.iter().map(|&source| {
            let expected = met.source.get(&source).map_or(0, |keyspace| keyspace.keys);
            let expected = shared.share(expected).unwrap_or(expected);
            let database = stats.database(source, job.target, expected);
            Ledger::new(stats.clone(), database)
        });
        let ledgers: Vec<Ledger> = ledgers.collect();
        let (run, met, shared, places) = (run.clone(), met.clone(), shared.clone(), places.clone());
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            if run.stop.is_cancelled() {
                return Ok(());
            }
            Box::pin(compare_one(&run, &met, &shared, job, ledgers)).await
        });
    }
    let compared = join(tasks, run).await;
    match guard {
        Some(guard) => compared.and(guard.end().await),
        None => compared,
    }
}

/// Compares one target database with all that goes into it.
async fn compare_one(
    run: &Arc<Run>,
    met: &Met,
    shared: &Shared,
    job: Job,
    ledgers: Vec<Ledger>,
) -> Result<()> {
    let target = met.target_link(run, job.target);
    let (doubtful, waiting) = doubts();
    let mut tasks = JoinSet::new();
    let mut origins = Vec::new();
    for (place, (&db, ledger)) in job.sources.iter().zip(ledgers).enumerate() {
        let link = met.source_link(run, db);
        let of_copy = shared.of_copy.as_ref();
        let copied = of_copy.and_then(|_| run.stats.of_route(db, job.target));
        let origin = Origin { db, link, ledger, copied };
        forth(run, met, shared, &origin, place, job.target, &doubtful, &mut tasks).await?;
        origins.push(origin);
    }
    if job.extras
        && let Some(origin) = origins.first()
    {
        back(run, met, shared, origin, job.target, &doubtful, &mut tasks).await?;
    }
    // What is left here must not keep the settling waiting for more.
    drop(doubtful);
    tasks.spawn(settle(Settle {
        origins,
        target_db: job.target,
        target,
        judge: met.judge,
        filter: run.plan.filter.clone(),
        doubts: waiting,
        most: shared.doubts,
        stats: run.stats.clone(),
        late: shared.of_copy.as_ref().and_then(|copy| copy.late.clone()),
        whole: shared.whole.clone(),
        stop: run.stop.clone(),
    }));
    join(tasks, run).await
}

/// Reads a source database and holds it against the target.
#[expect(clippy::too_many_arguments, reason = "each is another thing, and this is where all meet")]
async fn forth(
    run: &Arc<Run>,
    met: &Met,
    shared: &Shared,
    origin: &Origin,
    place: usize,
    target: u32,
    doubtful: &mpsc::Sender<Doubt>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let (link, into) = (origin.link.clone(), met.target_link(run, target));
    let budget = shared.budget;
    let (at_source, at_target) = tokio::try_join!(
        connect_several(&link, (2, 1 + shared.connections)),
        connect_several(&into, (1, shared.connections)),
    )?;
    let mut at_source = at_source.into_iter();
    let (sender, keys) = key_queue(budget.waiting);
    if let Some(mut connection) = at_source.next() {
        connection.limit_slab(budget.slab);
        tasks.spawn(scan(Scan {
            link: link.clone(),
            connection,
            filter: run.plan.filter.clone(),
            once: true,
            largest_count: budget.largest_count,
            longest_name: budget.longest_name,
            too_long: origin.ledger.clone(),
            keys: sender,
            ledger: origin.ledger.clone(),
            stop: run.stop.clone(),
            course: Course::default(),
        }));
    }
    let held = met.source.get(&origin.db).map_or(0, |keyspace| keyspace.keys);
    let keys = shared.sampled(keys, held, tasks);
    for (from, to) in at_source.zip(at_target) {
        let (sender, loads) = channel::bounded(budget.channel);
        let fetch = Fetch::new(Reading {
            link: link.clone(),
            connection: from,
            keys: keys.clone(),
            out: sender.paced(run.pace.clone()),
            pieces: None,
            asking: Asking {
                clock: met.judge.source,
                by_value: met.by_value,
                large: budget.large,
                fingerprints: true,
            },
            still: None,
            window: shared.window.clone(),
            slab: budget.slab,
            ledger: origin.ledger.clone(),
            stop: run.stop.clone(),
        });
        tasks.spawn(fetch.run());
        let comparer = Comparer::new(Comparing {
            link: into.clone(),
            connection: to,
            loads,
            judge: met.judge,
            doubts: doubtful.clone(),
            source: place,
            window: budget.lane,
            large: budget.large,
            slab: budget.slab,
            ledger: origin.ledger.clone(),
            stop: run.stop.clone(),
        });
        tasks.spawn(comparer.run());
    }
    Ok(())
}

/// Asks the source for the keys of the target.
async fn back(
    run: &Arc<Run>,
    met: &Met,
    shared: &Shared,
    origin: &Origin,
    target: u32,
    doubtful: &mpsc::Sender<Doubt>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let link = met.target_link(run, target);
    let (sender, keys) = key_queue(shared.budget.waiting);
    let (mut on_target, mut on_source) = tokio::try_join!(link.connect(), origin.link.connect())?;
    on_target.limit_slab(shared.budget.slab);
    on_source.limit_slab(shared.budget.slab);
    tasks.spawn(scan(Scan {
        link,
        connection: on_target,
        filter: run.plan.filter.clone(),
        once: true,
        largest_count: shared.budget.largest_count,
        longest_name: shared.budget.longest_name,
        too_long: origin.ledger.clone(),
        keys: sender,
        ledger: uncounted(),
        stop: run.stop.clone(),
        course: Course::default(),
    }));
    let held = met.target.get(&target).map_or(0, |keyspace| keyspace.keys);
    let keys = shared.sampled(keys, held, tasks);
    tasks.spawn(extras(Extras {
        link: origin.link.clone(),
        connection: on_source,
        keys,
        filter: run.plan.filter.clone(),
        window: shared.budget.source_keys,
        pace: run.pace.clone(),
        doubts: doubtful.clone(),
    }));
    Ok(())
}

impl Shared {
    /// How many keys of a database with `held` keys are looked at; `None`: all.
    fn share(&self, held: u64) -> Option<u64> {
        self.sample.map(|(sample, all)| part(sample, held, all))
    }

    /// The keys that are looked at of those that a scan names.
    fn sampled(&self, keys: KeyQueue, held: u64, tasks: &mut JoinSet<Result<()>>) -> KeyQueue {
        let Some(most) = self.share(held) else { return keys };
        let (sender, some) = key_queue(1);
        tasks.spawn(first_of(keys, sender, most));
        some
    }
}

/// The part of a sample that falls to a database: at least one key.
fn part(sample: u64, held: u64, all: u64) -> u64 {
    let part = u128::from(sample) * u128::from(held) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(u64::MAX).max(1)
}

/// Passes the first keys on, and ends the scan by taking no more. SCAN goes by the hashes of names,
/// so the first keys are as good as any.
async fn first_of(keys: KeyQueue, some: mpsc::Sender<Keys>, mut most: u64) -> Result<()> {
    while most > 0
        && let Some(mut chunk) = keys.next().await
    {
        chunk.wires.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        most -= chunk.wires.len() as u64;
        if some.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_shared_by_size() {
        assert_eq!(part(1_000, 900, 10_000), 90);
        assert_eq!(part(1_000, 1, 10_000_000), 1);
        assert_eq!(part(1_000, 0, 0), 1);
        assert_eq!(part(u64::MAX, u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn databases_that_go_into_one_are_one_job() {
        let route = |source, target| Route { source, target };
        let jobs = jobs(&[route(0, 3), route(1, 3), route(2, 2)], |target| target == 2);
        let seen: Vec<_> =
            jobs.iter().map(|job| (job.target, job.sources.clone(), job.extras)).collect();
        assert_eq!(seen, [(2, vec![2], true), (3, vec![0, 1], false)]);
    }
}
