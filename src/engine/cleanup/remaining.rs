//! What the source still holds when all is deleted that could be: a look, since a key that was deleted
//! may be there again, and one that was never named is counted nowhere.

use super::super::acquaint::Met;
use super::super::reckoning::Ledgers;
use super::super::upheaval::Before;
use super::super::{Run, again, census, uncounted};
use super::deletion::Accounts;
use crate::config::{Mapping, Route};
use crate::error::{Error, Kind, Result};
use crate::net::Line;
use crate::report::{Count, Ledger};
use crate::units;

/// What was known of the source before the first key was deleted.
pub(super) struct AtFirst {
    said: Before,
    /// Keys that do not go by themselves, and how many were deleted before.
    lasting: u64,
    deleted: u64,
}

impl AtFirst {
    /// Looks now.
    ///
    /// # Errors
    /// The source cannot be looked at.
    pub(super) async fn now(line: &mut Line, met: &Met, ledgers: &Ledgers) -> Result<Self> {
        let held = ledgers.iter().filter_map(|(route, _)| met.source.get(&route.source));
        let lasting = held.map(|held| held.persistent()).sum();
        Ok(Self { said: Before::now(line).await?, lasting, deleted: deleted(ledgers) })
    }

    /// How many keys are gone that this run did not delete, at least: selected or not.
    async fn lost(&self, run: &Run, met: &Met, ledgers: &Ledgers) -> Result<u64> {
        let now = again::holdings(&met.source_link(run, 0), &met.routes).await?;
        let held: u64 = now.values().map(|held| held.keys).sum();
        let deleted = deleted(ledgers).saturating_sub(self.deleted);
        Ok(self.lasting.saturating_sub(held + deleted))
    }
}

/// Fails where the source holds selected keys that were not counted as kept, or where its databases
/// were exchanged or emptied meanwhile, or it was restarted and has lost keys.
///
/// # Errors
/// That, or the source cannot be looked at.
pub(super) async fn refuse_remaining(
    run: &Run,
    met: &Met,
    (line, first): (&mut Line, &AtFirst),
    (accounts, ledgers): (Accounts, &Ledgers),
) -> Result<()> {
    let mut uncounted_keys = count_remaining(run, met, accounts, ledgers).await?;
    uncounted_keys += in_other_databases(run, met, line, ledgers).await?;
    let now = Before::now(line).await?;
    let place =
        |error: Error| error.at(run.plan.source.side, &run.plan.source.endpoint.to_string());
    if let Some(error) = first.said.until(&now).while_read() {
        return Err(place(error.advise("see what both servers hold, then run `keyferry cleanup`")));
    }
    let lost = match first.said.is_of_another_process(&now) {
        true => first.lost(run, met, ledgers).await?,
        false => 0,
    };
    if lost > 0 {
        let text = format!(
            "it was restarted while keys were deleted, and {} that it held are gone from it without \
             having been deleted by this run",
            units::keys(lost)
        );
        let advice = "see what both servers hold; the target has them as they were copied";
        return Err(place(Error::new(Kind::Server, text).advise(advice)));
    }
    if uncounted_keys == 0 {
        return Ok(());
    }
    let text = format!(
        "it still holds {}, not there, or not yet, when keys were compared: created since then, or back \
         since it was restarted",
        units::keys(uncounted_keys)
    );
    Err(place(Error::new(Kind::Server, text)).advise(
        "stop the writers, copy again with --if-exists replace, then run `keyferry cleanup`",
    ))
}

fn deleted(ledgers: &Ledgers) -> u64 {
    ledgers.iter().map(|(_, ledger)| ledger.counts().deleted_from_source).sum()
}

/// Keys that are counted as kept.
fn stayed(accounts: Accounts, ledger: &Ledger) -> u64 {
    let counts = ledger.counts();
    match accounts {
        Accounts::Cleanup => counts.kept_on_source + counts.failed,
        Accounts::Move => counts.kept_on_source,
    }
}

/// Selected keys in databases that are meant and held none when it began.
async fn in_other_databases(
    run: &Run,
    met: &Met,
    line: &mut Line,
    ledgers: &Ledgers,
) -> Result<u64> {
    let mapping = &run.plan.mapping;
    if matches!(mapping, Mapping::Routes(_)) {
        return Ok(0);
    }
    let info = line.info().await?;
    let holding = loop {
        match census::of_mapping(line.open().await?, &run.source, &info, mapping).await {
            Ok(holding) => break holding,
            Err(error) => line.recover(error).await?,
        }
    };
    let mut keys = 0;
    for &database in holding.keys() {
        if !ledgers.iter().any(|(route, _)| route.source == database) {
            keys += held(run, met, Route { source: database, target: database }).await?;
        }
    }
    Ok(keys)
}

/// How many selected keys the source holds that are not counted as kept; after a copy, they are then.
///
/// # Errors
/// The source cannot be looked at.
pub(super) async fn count_remaining(
    run: &Run,
    met: &Met,
    accounts: Accounts,
    ledgers: &Ledgers,
) -> Result<u64> {
    let mut remaining = 0;
    for (route, ledger) in ledgers {
        let more = held(run, met, *route).await?.saturating_sub(stayed(accounts, ledger));
        if accounts == Accounts::Move {
            ledger.add(Count::KeptOnSource, more);
        }
        remaining += more;
    }
    Ok(remaining)
}

/// How many of the selected keys a database of the source holds.
async fn held(run: &Run, met: &Met, route: Route) -> Result<u64> {
    // Some names of a list are of keys that are gone.
    if run.plan.letters.is_some() {
        return Ok(0);
    }
    let link = met.source_link(run, route.source);
    let (task, keys) = run.names_of(&link, true, uncounted()).await?;
    let counting = async {
        let mut held = 0;
        while let Some(chunk) = keys.next().await {
            held += chunk.wires.len() as u64;
        }
        Ok(held)
    };
    let ((), held) = tokio::try_join!(task.run(), counting)?;
    Ok(held)
}
