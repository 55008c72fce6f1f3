//! The second half of a move (`--delete-source`): when all keys are copied, those that both sides hold
//! equal are deleted from the source, as `cleanup` does it.
//!
//! The selection is that of the copy. A key that failed, was skipped or merged, that was written
//! meanwhile, or that the target lost goes only if it is equal at that moment; else it stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::acquaint::Meant;
use super::checkpoint::Checkpoint;
use super::cleanup::{Accounts, Deletion, delete_equal};
use super::probe::Probed;
use super::reckoning::Ledgers;
use super::target_watch::{Look, TargetWatch};
use super::{Run, again};
use crate::config::Route;
use crate::error::{Error, Kind, Result};
use crate::report::json::Peer;
use crate::report::{Ledger, Mode, Proven, Verified};

/// How often it is kept in the checkpoint how far it has come.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Deletes what the copy has copied; `before`: what the target said of itself when the copy began.
pub(super) async fn delete_copied(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Arc<Ledgers>,
    before: Option<&Look>,
) -> Result<Verified> {
    tracing::info!(
        "all keys are copied; deleting those of the source that are equal on both sides"
    );
    let [mut source, mut target] = [Peer::default(), Peer::default()];
    // Again: the copy may have begun with other processes.
    let met = again::met(run, Meant::These(&probed.routes), &mut source, &mut target).await;
    let met = met.map_err(after_the_copy)?;
    let removal = again::removal(run, &met).await.map_err(after_the_copy)?;
    let watch = TargetWatch::begin(met.lasting_target_link(run), &met.routes, before).await?;
    let watch = Arc::new(watch);
    let checkpoint = run.checkpoint.clone();
    let keep = async |checkpoint: &Arc<Checkpoint>| {
        let (checkpoint, look) = (checkpoint.clone(), watch.last());
        let counts: Vec<_> = ledgers.iter().map(|(route, of)| (*route, of.keep())).collect();
        let kept = spawn_blocking(move || checkpoint.keep_deleting(look, &counts)).await;
        kept.unwrap_or(Ok(()))
    };
    if let Some(checkpoint) = &checkpoint {
        // Before the first is deleted.
        keep(checkpoint).await?;
    }
    let watched = Some(watch.clone());
    let deletion = Deletion { removal: Some(removal), accounts: Accounts::Move, watch: watched };
    let done = CancellationToken::new();
    let keeping = async {
        while done.run_until_cancelled(sleep(KEEP_EVERY)).await.is_some() {
            if let Some(checkpoint) = &checkpoint
                && let Err(error) = keep(checkpoint).await
            {
                tracing::warn!("how far the deletion has come is not kept: {error}");
            }
        }
    };
    let deleting = async {
        let deleted = delete_equal(run, &met, deletion, ledgers).await;
        done.cancel();
        deleted
    };
    let (deleted, ()) = tokio::join!(deleting, keeping);
    if let Some(checkpoint) = &checkpoint {
        keep(checkpoint).await?;
    }
    deleted?;
    if run.wish.is_cancelled() {
        tracing::warn!(
            "stopped while keys were being deleted from the source; all of them are copied, and \
             `keyferry cleanup` deletes the rest"
        );
        return Ok(Verified::none());
    }
    // Of the keys that were deleted; the others are counted as kept.
    let of =
        |&(route, _): &(Route, Ledger)| Proven::new(route.source, route.target, Mode::Full, false);
    Ok(Verified::of(Mode::Full, ledgers.iter().map(of).collect()))
}

/// Nothing was deleted, but the copy has written.
fn after_the_copy(error: Error) -> Error {
    match error.kind() {
        Kind::Refused => error.as_kind(Kind::Server),
        Kind::Connect => error.as_kind(Kind::Transport),
        _ => error,
    }
}
