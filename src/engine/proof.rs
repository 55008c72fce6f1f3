//! The proof at the end of a copy, database by database.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::probe::Probed;
use super::{Run, uncounted};
use crate::command::ServerInfo;
use crate::command::info::Keyspace;
use crate::config::Route;
use crate::config::mapping::shared_targets;
use crate::error::Result;
use crate::net::Link;
use crate::report::json::Verified;
use crate::source::scan::scan;
use crate::verify::{Counted, count, counts_prove};

/// How often the proof of one database is begun; each time a connection broke.
const TRIES: u32 = 5;

/// Verifies all routes by count.
pub(super) async fn prove(run: &Run, probed: &Probed) -> Result<Verified> {
    let (from, into) = (run.source_link(0, probed), run.target_link(0, probed));
    let (source, target) = tokio::try_join!(keyspaces(&from), keyspaces(&into))?;
    let mut sum = Verified { mode: "count", ..Verified::none() };
    let shared = shared_targets(&probed.routes);
    for &route in &probed.routes {
        let held = source.get(&route.source).copied().unwrap_or_default();
        let holds = target.get(&route.target).copied().unwrap_or_default();
        let was_empty =
            !probed.target.contains_key(&route.target) && !shared.contains(&route.target);
        let whole = run.plan.filter.is_all() && was_empty && !run.plan.delete_source;
        if whole && counts_prove(held, holds) {
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

async fn keyspaces(link: &Link) -> Result<BTreeMap<u32, Keyspace>> {
    let mut connection = link.connect().await?;
    let reply = connection.demand(&[b"INFO", b"keyspace"]).await?;
    let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default()).into_owned();
    Ok(ServerInfo::parse(&text).keyspace)
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
    let (task, keys) = run.scan_of(from, true, uncounted()).await?;
    let (found, ()) =
        tokio::try_join!(count(&mut source, &mut target, keys, &run.stop), scan(task))?;
    Ok(found)
}
