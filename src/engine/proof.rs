//! The proof at the end of a copy, database by database.
//!
//! ```text
//! counters stood still, equal numbers ──> proven
//! else: names of the source on the target ──> missing ──> copied late, looked for again ──> told
//!       names of the target on the source ──> too many ──> told   (databases that are only ours)
//! full: values and expiries of both sides ──> missing ──> copied late, compared again ──> told
//! ```

use std::sync::Arc;

use tokio::time::Instant;

use super::acquaint::{Meant, Met};
use super::copy::{Doubt, Passed};
use super::evidence::Evidence;
use super::probe::Probed;
use super::upheaval::Sides;
use super::{Copied, Run, again, compare, copy, uncounted};
use crate::config::mapping::shared_targets;
use crate::config::{IfExists, Route, Verify};
use crate::error::{Result, Side};
use crate::flow::{key_queue, name_of};
use crate::net::Link;
use crate::report::json::Peer;
use crate::report::{DatabaseStats, Mode, Proven, Verified};
use crate::source::names::Listed;
use crate::units::{self, printable};
use crate::verify::{Lacking, Late, lacking};

/// How often the proof of one database is begun; each time a connection broke.
const TRIES: u32 = 5;
/// How often keys that SCAN did not name in the first place are copied, where they are more than are
/// held at once: the writers of the source are faster than this copy.
const LATE_ROUNDS: u32 = 5;
/// So often a copy is proven, at most, where a server is restarted each time.
const PROOFS: u32 = 3;
/// Keys that are named in the log; all are counted.
const NAMED: usize = 20;

/// Proves that what was copied is there.
pub(super) async fn prove(
    run: &Arc<Run>,
    probed: &Probed,
    Copied { mut met, passed: Passed { mut doubt, at_end, .. }, .. }: Copied,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    if run.plan.verify == Verify::None {
        doubt.iter().for_each(|Doubt { error, .. }| tracing::warn!("{error}"));
        return Ok(Verified::none());
    }
    let mut sides = at_end.map(|[source, target]| {
        Sides([(run.source_link(0, probed), source), (run.target_link(0, probed), target)])
    });
    let mut proofs = 1;
    loop {
        if let Some(Doubt { error, .. }) = &doubt {
            tracing::warn!("{error}");
        }
        if let (Some(doubt), None) = (&doubt, &met) {
            // Names prove nothing now.
            tracing::info!("values are compared instead of names");
            let asked = again::met(run, Meant::These(&probed.routes), source, target).await;
            met = Some(Arc::new(asked.map_err(|_| doubt.error.clone())?));
        }
        let verified = prove_once(run, probed, met.as_ref(), doubt.clone()).await?;
        let Some(before) = sides.take().filter(|_| !run.stop.is_cancelled()) else {
            return Ok(verified);
        };
        let (now, other_process) = before.until_now().await?;
        match other_process {
            Some(error) if proofs == PROOFS => return Err(error),
            Some(error) if verified.agrees() => {
                proofs += 1;
                // Of what the process before held, names prove nothing.
                doubt = Some(Doubt { of_source: error.side() == Some(Side::Source), error });
                (met, sides) = (None, Some(now));
            }
            _ => return Ok(verified),
        }
    }
}

/// Verifies a copy; `met`: by values and expiries where that can be, and only so where there is a `doubt`.
async fn prove_once(
    run: &Arc<Run>,
    probed: &Probed,
    met: Option<&Arc<Met>>,
    doubt: Option<Doubt>,
) -> Result<Verified> {
    let evidence = Evidence::gather(run, probed).await?;
    let proof = Proof { run, probed, evidence, shared: shared_targets(&probed.routes) };
    let (by_value, others): (Vec<Route>, Vec<Route>) =
        probed.routes.iter().partition(|&&route| met.is_some() && proof.knows_copied(route));
    let open = |doubt: &Doubt| {
        let one_way = || by_value.iter().any(|&route| !proof.is_own(route));
        !others.is_empty() || (doubt.of_source && one_way())
    };
    if let Some(doubt) = doubt.filter(open) {
        return Err(doubt.error);
    }
    let mut databases = Vec::new();
    if let Some(met) = met.filter(|_| !by_value.is_empty()) {
        databases.extend(proof.values(met, &by_value).await?);
    }
    for route in others {
        databases.push(proof.names(route).await?);
    }
    let mut verified = Verified::of(Mode::Names, databases);
    let failed = run.stats.totals().0.failed;
    let only_failed = verified.missing <= failed && verified.only_misses();
    if verified.differing() > 0 && !only_failed {
        verified.cause = Evidence::gather(run, probed).await?.cause();
    }
    Ok(verified)
}

struct Proof<'a> {
    run: &'a Arc<Run>,
    probed: &'a Probed,
    /// What both servers reported when all keys were copied.
    evidence: Evidence<'a>,
    /// Target databases that several databases went into.
    shared: Vec<u32>,
}

impl Proof<'_> {
    /// Whether the target database was empty and took the keys of this route alone.
    fn is_own(&self, route: Route) -> bool {
        !self.probed.target.contains_key(&route.target) && !self.shared.contains(&route.target)
    }

    /// Whether all keys of the source were to be copied into a database of their own.
    fn is_whole(&self, route: Route) -> bool {
        let plan = &self.run.plan;
        let every = plan.filter.is_all() && plan.letters.is_none();
        every && self.is_own(route)
    }

    /// Whether it is known which keys have the source's values: where keys of the target stayed, they
    /// are remembered, and where one source's keys replaced another's, they are not.
    fn knows_copied(&self, route: Route) -> bool {
        let shared = self.shared.contains(&route.target);
        let policy = self.run.plan.if_exists;
        let overwritten = shared && matches!(policy, IfExists::Replace | IfExists::Merge);
        let known = self.run.stats.of_route(route.source, route.target);
        !overwritten && known.is_some_and(|database| database.knows_own())
    }

    /// Whether keys that are missing are copied late: they are the writers' of the source, and the
    /// target keeps what it is given.
    fn copies_late(&self, route: Route) -> bool {
        // Those that failed are missing, too, and are not tried again.
        let unknown = |of: &Arc<DatabaseStats>| of.counts().failed > 0 && !of.knows_own();
        let unknown =
            self.run.stats.of_route(route.source, route.target).as_ref().is_some_and(unknown);
        !unknown && self.evidence.loss().is_none() && !self.run.stop.is_cancelled()
    }

    /// Those of the missing keys that are to be copied late: where some failed, none that may be one of them.
    fn late_of(&self, route: Route, mut keys: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if let Some(of) = self.run.stats.of_route(route.source, route.target)
            && of.counts().failed > 0
        {
            keys.retain(|wire| !of.is_own(name_of(wire)));
        }
        keys
    }

    /// By names, or by the numbers of keys where these prove it.
    async fn names(&self, route: Route) -> Result<Proven> {
        let whole = self.is_whole(route);
        if whole && self.evidence.counts_prove(route) {
            return Ok(Proven::new(route.source, route.target, Mode::Count, true));
        }
        let (from, into) = self.links(route);
        let mut proven = Proven::new(route.source, route.target, Mode::Names, whole);
        let missing = self.missing(route).await?;
        proven.missing = missing.count;
        tell(&format!("missing on the target: database {route}"), &missing);
        if whole {
            let extra = self.look(&into, &from, None).await?;
            if extra.count > 0 && self.are_of_the_source().await? {
                proven.gone_from_source = extra.count;
            } else {
                proven.extra = extra.count;
                tell(&format!("only on the target: database {route}"), &extra);
            }
        }
        Ok(proven)
    }

    /// Whether keys that only the target holds came from the source, which has lost them since: nobody but
    /// this run wrote to the target.
    async fn are_of_the_source(&self) -> Result<bool> {
        let now = Evidence::gather(self.run, self.probed).await?;
        Ok(!now.source_stood_still() && now.only_we_wrote(self.run, self.probed).await?)
    }

    /// Names of the source that the target lacks, once those that can be copied are.
    async fn missing(&self, route: Route) -> Result<Lacking> {
        let (from, into) = self.links(route);
        let mut round = 1;
        loop {
            let missing = self.look(&from, &into, None).await?;
            if missing.count == 0 || round > LATE_ROUNDS || !self.copies_late(route) {
                return Ok(missing);
            }
            let late = self.late_of(route, missing.keys.clone());
            if late.is_empty() {
                return Ok(missing);
            }
            self.copy_late(route, late).await?;
            if missing.is_whole() {
                return self.look(&from, &into, Some(&missing.keys)).await;
            }
            round += 1;
        }
    }

    /// Copies keys that are missing. Those that the run has counted already, as far as that is known, the
    /// target has lost since: SCAN names each key that is there all the time.
    async fn copy_late(&self, route: Route, keys: Vec<Vec<u8>>) -> Result<()> {
        let stood_still = self.evidence.source_stood_still();
        let stats = self.run.stats.of_route(route.source, route.target);
        let is_own = |wire: &[u8]| stats.as_ref().is_some_and(|of| of.is_own(name_of(wire)));
        let (lost, new): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|wire| stood_still || is_own(wire));
        let count = |keys: &[Vec<u8>]| units::keys(keys.len() as u64);
        if !lost.is_empty() {
            tracing::warn!(
                "database {route}: {} that the target has lost again: copied once more",
                count(&lost)
            );
            copy::late(self.run, self.probed, route, lost, true).await?;
        }
        if !new.is_empty() {
            tracing::info!(
                "database {route}: {} that the scan did not name, created during the copy: copied, too",
                count(&new)
            );
            copy::late(self.run, self.probed, route, new, false).await?;
        }
        Ok(())
    }

    /// By values and expiries.
    async fn values(&self, met: &Arc<Met>, routes: &[Route]) -> Result<Vec<Proven>> {
        let run = self.run;
        let late = Late::default();
        let collects = routes.iter().all(|&route| self.copies_late(route));
        let own = |target| routes.iter().any(|r| r.target == target && self.is_own(*r));
        compare::prove(run, met, routes, own, collects.then_some(&late)).await?;
        for ((source, target), keys) in late.take() {
            let route = Route { source, target };
            self.copy_late(route, self.late_of(route, keys.clone())).await?;
            compare::prove_keys(run, met, route, keys).await?;
        }
        Ok(routes.iter().map(|&route| self.by_value(route)).collect())
    }

    fn by_value(&self, route: Route) -> Proven {
        let of = self.run.stats.of_route(route.source, route.target);
        let counts = of.as_ref().map(|database| database.counts()).unwrap_or_default();
        let kept = of.map_or(0, |database| database.own());
        let mode = if kept == 0 { Mode::Full } else { Mode::Names };
        let proven = Proven::new(route.source, route.target, mode, self.is_own(route));
        let mut proven = proven.with_differences(&self.run.stats);
        proven.by_value = (kept > 0).then_some(counts.copied);
        proven
    }

    fn links(&self, route: Route) -> (Link, Link) {
        let Self { run, probed, .. } = self;
        (run.source_link(route.source, probed), run.target_link(route.target, probed))
    }

    /// Looks for names of one side on the other: these, or all; connections that break are made
    /// again, and the names are begun again.
    async fn look(&self, one: &Link, other: &Link, keys: Option<&[Vec<u8>]>) -> Result<Lacking> {
        let mut tries = 1;
        loop {
            let looked = match keys {
                Some(keys) => self.look_for(one, other, keys).await,
                None => self.look_for_all(one, other).await,
            };
            let error = match looked {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if tries == TRIES {
                return Err(error);
            }
            tries += 1;
            one.reconnect(error, Instant::now()).await?;
            other.connect().await?;
        }
    }

    async fn look_for_all(&self, one: &Link, other: &Link) -> Result<Lacking> {
        let (mut here, mut there) = (one.connect().await?, other.connect().await?);
        let (task, names) = self.run.names_of(one, true, uncounted()).await?;
        let looking = lacking(&mut here, &mut there, names, &self.run.stop);
        let (found, ()) = tokio::try_join!(looking, task.run())?;
        Ok(found)
    }

    async fn look_for(&self, one: &Link, other: &Link, keys: &[Vec<u8>]) -> Result<Lacking> {
        let (mut here, mut there) = (one.connect().await?, other.connect().await?);
        let (sender, names) = key_queue(1);
        let listed = Listed { names: keys.to_vec(), keys: sender, ledger: uncounted() };
        let looking = lacking(&mut here, &mut there, names, &self.run.stop);
        tokio::join!(looking, listed.run()).0
    }
}

/// Names some of the keys.
fn tell(what: &str, found: &Lacking) {
    for wire in found.keys.iter().take(NAMED) {
        tracing::warn!("{what}, key \"{}\"", printable(name_of(wire)));
    }
}
