//! The second half of a move (`--delete-source`): when all keys are copied, those that both sides hold
//! equal are deleted from the source, as `cleanup` does it.
//!
//! The selection is that of the copy. A key that failed, was skipped or merged, that was written
//! meanwhile, or that the target lost goes only if it is equal at that moment; else it stays.

use std::sync::Arc;

use super::acquaint::Meant;
use super::cleanup::{Accounts, Deletion, delete_equal, may_delete};
use super::probe::Probed;
use super::reckoning::Ledgers;
use super::{Run, again, guard};
use crate::error::Result;
use crate::report::json::{Peer, Verified};

/// Deletes what the copy has copied.
pub(super) async fn delete_copied(
    run: &Arc<Run>,
    probed: &Probed,
    ledgers: &Ledgers,
) -> Result<Verified> {
    let [mut source, mut target] = [Peer::default(), Peer::default()];
    // Again: the copy may have begun with other processes.
    let met = again::met(run, Meant::These(&probed.routes), &mut source, &mut target).await?;
    let link = met.source_link(run, 0);
    let removal = Some(may_delete(&link).await?);
    let guard = guard::start(run, link).await?;
    let deletion = Deletion { removal, accounts: Accounts::Move };
    let deleted = delete_equal(run, &met, deletion, ledgers).await;
    match guard {
        Some(guard) => deleted.and(guard.end().await)?,
        None => deleted?,
    }
    // Of the keys that were deleted; the others are counted as kept.
    Ok(Verified { mode: "full", ..Verified::none() })
}
