//! The proof at the end of a copy, database by database.

use std::sync::Arc;

use tokio::time::Instant;

use super::acquaint::Met;
use super::again::info;
use super::probe::Probed;
use super::{Run, compare, uncounted};
use crate::config::Route;
use crate::config::mapping::shared_targets;
use crate::error::Result;
use crate::net::Link;
use crate::report::json::Verified;
use crate::verify::{Counted, count, counts_prove};

/// How often the proof of one database is begun; each time a connection broke.
const TRIES: u32 = 5;

/// Verifies routes by values and expiries, where what the target holds can only be the source's: a
/// key that was there before may have kept its own value, and one that came twice has one of both.
/// Such routes are verified by count.
pub(super) async fn prove_values(
    run: &Arc<Run>,
    probed: &Probed,
    met: &Arc<Met>,
) -> Result<Verified> {
    let shared = shared_targets(&probed.routes);
    let was_empty = |target| !probed.target.contains_key(&target);
    let sure = |route: &Route| {
        !shared.contains(&route.target) && (compare::owns_values(run) || was_empty(route.target))
    };
    let (sure, others): (Vec<Route>, Vec<Route>) = probed.routes.iter().partition(|r| sure(r));
    if let Some(route) = others.first() {
        tracing::warn!(
            "database {route} is verified by the names of its keys only: they may have values of \
             their own on the target"
        );
    }
    let found = compare::prove(run, met, &sure, was_empty).await?;
    let counted = prove(run, probed, &others).await?;
    Ok(Verified { missing: found.missing + counted.missing, ..found })
}

/// Verifies routes by count.
pub(super) async fn prove(run: &Run, probed: &Probed, routes: &[Route]) -> Result<Verified> {
    if routes.is_empty() {
        return Ok(Verified { mode: "count", ..Verified::none() });
    }
    let (from, into) = (run.source_link(0, probed), run.target_link(0, probed));
    let (source, target) = tokio::try_join!(info(run, &from), info(run, &into))?;
    // A replica's keys go by its primary's deletions, which it does not count.
    let expired = source.replica
        || probed.source_was_replica
        || probed.source_process.changes() > 0
        || probed.expired_keys.is_none()
        || source.expired_keys != probed.expired_keys;
    let (source, target) = (source.keyspace, target.keyspace);
    let mut sum = Verified { mode: "count", ..Verified::none() };
    let shared = shared_targets(&probed.routes);
    for &route in routes {
        let held = source.get(&route.source).copied().unwrap_or_default();
        let holds = target.get(&route.target).copied().unwrap_or_default();
        let was_empty =
            !probed.target.contains_key(&route.target) && !shared.contains(&route.target);
        let every = run.plan.filter.is_all() && run.plan.letters.is_none();
        let whole = every && was_empty;
        if whole && counts_prove(held, holds, expired) {
            continue;
        }
        let found = by_name(run, probed, route).await?;
        sum.missing += found.missing;
        for name in &found.names {
            tracing::warn!("missing on the target: database {route}, key \"{name}\"");
        }
        // Lasting keys beyond what the source holds: somebody else's, or keys that the source lost
        // during the copy.
        if whole {
            sum.extra += holds.persistent().saturating_sub(held.persistent());
        }
    }
    Ok(sum)
}

/// Looks for each key; connections that break are made again, and the database is begun again.
async fn by_name(run: &Run, probed: &Probed, route: Route) -> Result<Counted> {
    let (from, into) =
        (run.source_link(route.source, probed), run.target_link(route.target, probed));
    let mut tries = 1;
    loop {
        let error = match look(run, &from, &into).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        if tries == TRIES {
            return Err(error);
        }
        tries += 1;
        from.reconnect(error, Instant::now()).await?;
        into.connect().await?;
    }
}

async fn look(run: &Run, from: &Link, into: &Link) -> Result<Counted> {
    let (mut source, mut target) = (from.connect().await?, into.connect().await?);
    let (task, keys) = run.names_of(from, true, uncounted()).await?;
    let (found, ()) =
        tokio::try_join!(count(&mut source, &mut target, keys, &run.stop), task.run())?;
    Ok(found)
}
