//! What a copy would do: SCAN and TYPE on both sides; hashes are read where their fields may expire, and the
//! target's cannot.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::Run;
use super::probe::Probed;
use crate::command::keyspace;
use crate::config::{IfExists, Route};
use crate::error::Result;
use crate::flow::{Form, Keys, name_of};
use crate::net::{Connection, probe_key};
use crate::payload::Losses;
use crate::report::{Count, Ledger};
use crate::resp::Value;
use crate::source::elements::Collection;
use crate::source::expiry::Moment;
use crate::source::reading::{Held, Manner, read};
use crate::target::building::is_unknown;
use crate::target::crossing::Crossing;

/// The longest hash that is looked into, in bytes. Longer ones go in pieces.
const HELD: usize = 1 << 20;

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
    let mut hashes = Hashes::of(link.connect().await?, probed).await?;
    let look = async {
        let mut existing = 0;
        while let Some(chunk) = keys.next().await {
            let foreseen = match &mut hashes {
                Some(hashes) => hashes.foresee(&chunk, &run.stop).await?,
                None => Foreseen::new(),
            };
            existing +=
                look_at(&mut target, &chunk, policy, (ledger, &foreseen), &run.stop).await?;
        }
        Ok(existing)
    };
    let (existing, ()) = tokio::try_join!(look, task.run())?;
    Ok(existing)
}

/// What keys would lose on their way, by their places, or why they would fail.
pub(super) type Foreseen = BTreeMap<usize, Result<Losses, String>>;

/// A source whose hashes are looked into.
struct Hashes {
    source: Connection,
    manner: Manner,
    crossing: Crossing,
}

impl Hashes {
    /// `None`: fields do not expire on the source, or they do on the target, too.
    async fn of(mut source: Connection, probed: &Probed) -> Result<Option<Self>> {
        let (crossing, clock) = (probed.crossing, probed.clock);
        if crossing.target.latest_field_expiry().is_some() {
            return Ok(None);
        }
        if is_unknown(&source.call(&[b"HPEXPIRETIME", probe_key(), b"FIELDS", b"1", b""]).await?) {
            return Ok(None);
        }
        let form = Form::Dump;
        let manner = Manner { clock, moment: Moment::of(clock), form, hold: HELD };
        Ok(Some(Self { source, manner, crossing }))
    }

    async fn foresee(&mut self, keys: &Keys, stop: &CancellationToken) -> Result<Foreseen> {
        let mut foreseen = Foreseen::new();
        for wire in &keys.wires {
            keyspace::key_type(self.source.output(), wire.of(&keys.slab));
        }
        let types = self.source.receive(keys.wires.len()).await?;
        for (at, wire) in keys.wires.iter().enumerate() {
            if types.get(at).and_then(Value::text) != Some("hash") {
                continue;
            }
            // One by one: so there is never more than one of them here.
            let read = read(&mut self.source, self.manner, &[wire.of(&keys.slab)], stop).await?;
            if let Some(Held::Whole(payload)) = read.first().map(|reading| &reading.held) {
                foreseen.insert(at, self.crossing.foresee(payload));
            }
        }
        Ok(foreseen)
    }
}

/// Asks the target for the types of some keys and counts what would become of them.
pub(super) async fn look_at(
    target: &mut Connection,
    keys: &Keys,
    policy: IfExists,
    (ledger, foreseen): (&Ledger, &Foreseen),
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
    for (at, (wire, reply)) in keys.wires.iter().zip(types).enumerate() {
        ledger.add(Count::Scanned, 1);
        let held = match &reply {
            Value::Simple(name) if name != "none" => Some(name.as_str()),
            _ => None,
        };
        existing += u64::from(held.is_some());
        match (held, policy) {
            (None, _) | (_, IfExists::Replace) => {
                count_copied(ledger, name_of(wire.of(&keys.slab)), foreseen.get(&at));
            }
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

fn count_copied(ledger: &Ledger, name: &[u8], foreseen: Option<&Result<Losses, String>>) {
    match foreseen {
        Some(Err(why)) => return ledger.fail(name, why),
        Some(Ok(lost)) if *lost != Losses::default() => {
            ledger.add(Count::LostFieldExpiries, lost.field_expiries);
            ledger.lose(name, lost.to_string());
        }
        _ => {}
    }
    ledger.add(Count::Copied, 1);
}
