//! What a copy would do: SCAN and TYPE on both sides, and nothing else.

use tokio_util::sync::CancellationToken;

use super::Run;
use super::probe::Probed;
use crate::command::keyspace;
use crate::config::{IfExists, Route};
use crate::error::Result;
use crate::flow::{Keys, name_of};
use crate::net::Connection;
use crate::report::{Count, Ledger};
use crate::resp::Value;
use crate::source::elements::Collection;

/// Counts what a copy would do, database by database.
pub(super) async fn dry_run(run: &Run, probed: &Probed) -> Result<()> {
    for &route in &probed.routes {
        let expected = probed.source.get(&route.source).map_or(0, |keyspace| keyspace.keys);
        let stats = run.stats.database(route.source, route.target, expected);
        let ledger = Ledger::new(run.stats.clone(), stats);
        let existing = one_database(run, probed, route, &ledger).await?;
        tracing::info!("database {route}: {existing} keys exist on the target");
    }
    Ok(())
}

async fn one_database(run: &Run, probed: &Probed, route: Route, ledger: &Ledger) -> Result<u64> {
    let link = run.source_link(route.source, probed);
    let (task, keys) = run.names_of(&link, true, ledger.clone()).await?;
    let mut target = run.target_link(route.target, probed).connect().await?;
    let policy = run.plan.if_exists;
    let look = async {
        let mut existing = 0;
        while let Some(chunk) = keys.next().await {
            existing += look_at(&mut target, &chunk, policy, ledger, &run.stop).await?;
        }
        Ok(existing)
    };
    let (existing, ()) = tokio::try_join!(look, task.run())?;
    Ok(existing)
}

/// Asks the target for the types of some keys and counts what would become of them.
pub(super) async fn look_at(
    target: &mut Connection,
    keys: &Keys,
    policy: IfExists,
    ledger: &Ledger,
    stop: &CancellationToken,
) -> Result<u64> {
    if stop.is_cancelled() {
        return Ok(0);
    }
    for wire in &keys.wires {
        keyspace::key_type(target.output(), wire.of(&keys.slab));
    }
    let types = target.receive(keys.wires.len()).await?;
    let mut existing = 0;
    for (wire, reply) in keys.wires.iter().zip(types) {
        ledger.add(Count::Scanned, 1);
        let held = match &reply {
            Value::Simple(name) if name != "none" => Some(name.as_str()),
            _ => None,
        };
        existing += u64::from(held.is_some());
        match (held, policy) {
            (None, _) | (_, IfExists::Replace) => ledger.add(Count::Copied, 1),
            (Some(_), IfExists::Skip) => ledger.add(Count::Skipped, 1),
            (Some(name), IfExists::Merge) if Collection::from_type(name).is_some() => {
                ledger.add(Count::Merged, 1);
            }
            (Some(_), IfExists::Merge) => ledger.add(Count::Skipped, 1),
            (Some(_), IfExists::Fail | IfExists::Refuse) => {
                ledger.fail(name_of(wire.of(&keys.slab)), "exists on the target");
            }
        }
    }
    Ok(existing)
}
