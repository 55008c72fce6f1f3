//! What the source still holds when all is deleted that could be: a look, since a key that was deleted
//! may be there again, and one that was never named is counted nowhere.

use super::super::acquaint::Met;
use super::super::reckoning::Ledgers;
use super::super::upheaval::{Before, Upheaval};
use super::super::{Run, uncounted};
use super::deletion::Accounts;
use crate::config::Route;
use crate::error::{Error, Kind, Result};
use crate::net::Line;
use crate::report::Count;
use crate::units;

/// Fails where the source holds selected keys that were not counted as kept, or where its databases
/// were exchanged since `before`.
///
/// # Errors
/// That, or the source cannot be looked at.
pub(super) async fn refuse_remaining(
    run: &Run,
    met: &Met,
    (line, before): (&mut Line, &Before),
    (accounts, ledgers): (Accounts, &Ledgers),
) -> Result<()> {
    let uncounted_keys = count_remaining(run, met, accounts, ledgers).await?;
    let upheaval = before.until(&Before::now(line).await?);
    let place =
        |error: Error| error.at(run.plan.source.side, &run.plan.source.endpoint.to_string());
    if matches!(upheaval, Upheaval::Called("swapdb") | Upheaval::Reset)
        && let Some(error) = upheaval.of_source()
    {
        return Err(place(error.advise("see what both servers hold, then run `keyferry cleanup`")));
    }
    if uncounted_keys == 0 {
        return Ok(());
    }
    let text = format!(
        "it still holds {} that were not there, or not yet, when keys were compared: created since \
         then, or back since it was restarted",
        units::keys(uncounted_keys)
    );
    Err(place(Error::new(Kind::Server, text)).advise(
        "stop the writers, copy again with --if-exists replace, then run `keyferry cleanup`",
    ))
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
        let counts = ledger.counts();
        let stayed = match accounts {
            Accounts::Cleanup => counts.kept_on_source + counts.failed,
            Accounts::Move => counts.kept_on_source,
        };
        let more = held(run, met, *route).await?.saturating_sub(stayed);
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
