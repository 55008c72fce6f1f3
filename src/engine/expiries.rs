//! Where a database had no expiry, the question was saved for every key; here it is asked, once for
//! the whole database, at the end.
//!
//! Nothing has an expiry and nothing has expired since the run began: then no key had an expiry when
//! it was read. Else every key of the source is asked, and those that have an expiry get it on the
//! target. A key that was given an expiry and expired within the run is told by the verification: it
//! is one too many on the target.

use tokio::time::Instant;

use super::again::info;
use super::probe::Probed;
use super::{Run, uncounted};
use crate::command::ServerError;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::config::Route;
use crate::error::{Kind, Result};
use crate::flow::{KeyQueue, Keys, name_of};
use crate::net::{Connection, Link};
use crate::resp::Value;
use crate::source::{CLOCKS_APART_MS, ExpiryClock, time_ms};

/// How often keys are asked again because the clocks around them were too far apart.
const TRIES: u32 = 5;

/// Looks at the databases whose expiries were not asked for.
pub(super) async fn settle(run: &Run, probed: &Probed) -> Result<()> {
    let spared = spared(run, probed);
    if spared.is_empty() || run.stop.is_cancelled() {
        return Ok(());
    }
    let now = info(run, &run.source_link(0, probed)).await?;
    let expired = now.expired_keys != probed.expired_keys;
    for route in spared {
        let expires = now.keyspace.get(&route.source).map_or(0, |keyspace| keyspace.expires);
        if expires > 0 || expired {
            tracing::info!("database {route}: {expires} keys were given an expiry meanwhile");
            give(run, probed, route).await?;
        }
    }
    Ok(())
}

/// The databases whose expiries were not asked for, by this run or an earlier one.
pub(super) fn spared(run: &Run, probed: &Probed) -> Vec<Route> {
    let earlier = |route| run.checkpoint.as_ref().is_some_and(|earlier| earlier.spared(route));
    let spared = |&route: &Route| probed.spares_expiries(run, route) || earlier(route);
    probed.routes.iter().copied().filter(spared).collect()
}

/// Gives every key of a database its expiry; begun again when a connection breaks.
async fn give(run: &Run, probed: &Probed, route: Route) -> Result<()> {
    let from = run.source_link(route.source, probed);
    let into = run.target_link(route.target, probed);
    let mut tries = 1;
    while let Err(error) = give_once(run, probed.clock, &from, &into).await {
        if tries == TRIES {
            return Err(error);
        }
        tries += 1;
        if error.kind() == Kind::Server && error.passes() {
            into.connect_for_writing().await?;
        } else {
            from.reconnect(error, Instant::now()).await?;
        }
    }
    Ok(())
}

async fn give_once(run: &Run, clock: ExpiryClock, from: &Link, into: &Link) -> Result<()> {
    // A key that is named twice gets the same expiry twice.
    let (task, keys) = run.names_of(from, false, uncounted()).await?;
    let (source, target) = (from.connect().await?, into.connect().await?);
    tokio::try_join!(task.run(), give_all(source, target, keys, clock))?;
    Ok(())
}

async fn give_all(
    mut source: Connection,
    mut target: Connection,
    keys: KeyQueue,
    clock: ExpiryClock,
) -> Result<()> {
    while let Some(chunk) = keys.next().await {
        let mut given = 0;
        for (wire, at) in read(&mut source, &chunk, clock).await? {
            let at = at.to_string();
            target.output().command(&[b"PEXPIREAT", name_of(&wire), at.as_bytes()]);
            given += 1;
        }
        for reply in target.receive(given).await? {
            if let Value::Error(line) = reply {
                return Err(target.refused(b"PEXPIREAT", &ServerError::parse(line.as_bytes())));
            }
        }
    }
    Ok(())
}

/// The keys of a chunk that have an expiry, with it, by the target's clock.
async fn read(
    source: &mut Connection,
    chunk: &Keys,
    clock: ExpiryClock,
) -> Result<Vec<(Vec<u8>, i64)>> {
    let remaining = clock.command == ExpiryCommand::Remaining;
    let mut tries = 1;
    loop {
        keyspace::time(source.output());
        for wire in &chunk.wires {
            keyspace::expiry(source.output(), clock.command, wire.of(&chunk.slab));
        }
        keyspace::time(source.output());
        let replies = source.receive(chunk.wires.len() + 2).await?;
        let clocks = (replies.first().and_then(time_ms), replies.last().and_then(time_ms));
        let (before, after) = (clocks.0.unwrap_or_default(), clocks.1.unwrap_or_default());
        if remaining && after - before > CLOCKS_APART_MS && tries < TRIES {
            tries += 1;
            continue;
        }
        let told = replies.iter().skip(1).take(chunk.wires.len());
        let expiring = chunk.wires.iter().zip(told).filter_map(|(wire, told)| {
            let at = clock.expiry(told.integer()?, after)?;
            Some((wire.of(&chunk.slab).to_vec(), at))
        });
        return Ok(expiring.collect());
    }
}
