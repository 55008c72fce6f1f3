//! What a lane does with keys that the target holds already.
//!
//! Where such a key may be our own, that is asked of somebody who looks at it; the lane goes on
//! meanwhile. What is not shown to be ours is somebody else's, and is treated as the policy says.

use std::collections::VecDeque;
use std::future::pending;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::restore::{Lane, Tools};
use super::sending::Sending;
use crate::config::IfExists;
use crate::flow::{Held, Question};
use crate::net::Backoff;
use crate::report::Count;

/// Said of a key that appeared on a target that was empty.
pub const APPEARED: &str = "appeared on the target during the copy, with another value or expiry, and was left alone (or it \
     changed on the source since an earlier run copied it)";
/// Said of a key that nobody looks at any more.
const NOT_FOUND_OUT: &str = "exists on the target, and the run ended before it was compared";

/// Entries whose keys exist, while it is found out what the target holds.
pub(super) struct Asked {
    sending: Sending,
    answer: oneshot::Receiver<Vec<Held>>,
}

impl Asked {
    /// The entries; nobody waits for the answer any more.
    pub(super) fn give_up(self) -> Sending {
        self.sending
    }
}

/// The answer that comes next; `None`: there is nobody to give it. Cancel-safe.
pub(super) async fn next_answer(asked: &mut VecDeque<Asked>) -> Option<Vec<Held>> {
    match asked.front_mut() {
        Some(front) => (&mut front.answer).await.ok(),
        None => pending().await,
    }
}

impl Tools {
    /// Whether every key that exists may be our own. Where nothing was said about such keys, each of
    /// them is looked at before it is called somebody else's.
    pub(super) fn may_be_ours(&self) -> bool {
        self.policy == IfExists::Refuse || self.repeated.any()
    }
}

impl Lane {
    /// Asks what the target holds instead of entries that may be there already.
    pub(super) async fn ask_whose(&mut self, sending: &mut Sending) {
        if sending.unclear.is_empty() {
            return;
        }
        let mut unclear = Sending::some(sending.batch.clone(), Vec::new(), Backoff::default());
        unclear.unclear = std::mem::take(&mut sending.unclear);
        let (answer, awaited) = oneshot::channel();
        if let Some(existing) = &self.tools.hooks.existing {
            let places = unclear.unclear.iter().map(|(at, _)| *at).collect();
            // Refused: the answer is dropped with it.
            let _ = existing.send(Question { batch: sending.batch.clone(), places, answer }).await;
        }
        self.asked.push_back(Asked { sending: unclear, answer: awaited });
    }

    /// Settles the entries that were asked about first.
    pub(super) async fn judge(&mut self, held: Option<Vec<Held>>) {
        let Some(Asked { mut sending, .. }) = self.asked.pop_front() else { return };
        let unclear = std::mem::take(&mut sending.unclear);
        let Some(held) = held else {
            // First, so that nobody takes the keys for settled.
            self.tools.stop.cancel();
            let places: Vec<u32> = unclear.iter().map(|(at, _)| *at).collect();
            for entry in sending.entries(&places) {
                self.tools.ledger.give_up(sending.batch.name(entry), NOT_FOUND_OUT);
            }
            return;
        };
        let refuses = self.tools.policy == IfExists::Refuse;
        let mut older = Vec::new();
        for ((at, road), held) in unclear.into_iter().zip(held) {
            match held {
                Held::Same => sending.arrived(at, road),
                // It was there a moment ago: it is written as any other key.
                Held::Nothing => sending.refuse(at, true),
                // An earlier value of our own, perhaps; that it may not be is told.
                Held::Other if refuses && self.tools.repeated.may_replace() => older.push(at),
                Held::Unknown(why) if refuses => {
                    let why = format!("exists on the target, and cannot be compared: {why}");
                    for entry in sending.entries(&[at]) {
                        self.tools.ledger.fail(sending.batch.name(entry), &why);
                    }
                }
                Held::Other | Held::Unknown(_) => sending.exist.push(at),
            }
        }
        sending.alone = true;
        if !older.is_empty() {
            let mut again = Sending::some(sending.batch.clone(), Vec::new(), Backoff::default());
            (again.refused, again.replaces, again.alone) = (older, true, true);
            self.send_again(again);
        }
        self.last_taken = Instant::now();
        self.finish(sending).await;
    }

    /// What the policy says of a key that is somebody else's.
    pub(super) async fn settle_existing(&self, key: &[u8]) {
        let ledger = &self.tools.ledger;
        match (self.tools.policy, &self.tools.hooks.merge) {
            (IfExists::Skip, _) => ledger.keep_own(Count::Skipped, key),
            (IfExists::Merge, Some(merge)) => {
                if merge.send(key.to_vec()).await.is_err() {
                    self.tools.stop.cancel();
                    ledger.give_up(key, "the merge has ended");
                }
            }
            (IfExists::Refuse, _) => ledger.fail(key, APPEARED),
            _ => ledger.fail(key, "exists on the target"),
        }
    }
}
