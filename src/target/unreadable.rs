//! Handles payloads that the target cannot read: its error does not say why.
//!
//! The value is decoded here. A sound value is sent once more, encoded as types that the target is known to take;
//! any other fails, with the reason.

use tokio::time::Instant;

use super::crossing::{Road, explain};
use super::outcome::Outcome;
use super::restore::Lane;
use super::sending::Sending;
use crate::command::ServerError;
use crate::payload::{self, PayloadError};

/// A version whose types all servers share, those of modules among them.
const COMMON_VERSION: u16 = 9;
/// The words in front of the reason.
pub(super) const REFUSED: &str = "the target cannot read it: ";

impl Sending {
    /// The target could not read an entry's payload. `Some`: it was encoded for this target already, and the key
    /// has failed, for this reason.
    pub(super) fn is_unreadable(
        &mut self,
        at: u32,
        road: Road,
        error: &ServerError,
    ) -> Option<String> {
        if self.encoded || matches!(road, Road::Reencoded(_)) {
            let text = "the target cannot read it, and nothing is wrong with it that is known here";
            return Some(format!("{text}: {error}"));
        }
        self.unreadable.push(at);
        None
    }
}

impl Lane {
    /// The outcome for a value that the target could not read and that is not held. A file sends it once more,
    /// whole. A server's stream is read entry by entry, which finds the inconsistency; a hash with a duplicate field
    /// would lose one of the two that way.
    pub(super) fn unreadable(&self, head: &[u8], error: ServerError) -> Outcome {
        let is_stream = head.first().is_some_and(|&byte| payload::type_name(byte) == "stream");
        if is_stream || self.tools.hooks.pieces.is_none() {
            return Outcome::Unreadable(error);
        }
        let cause = match payload::decode_body(head, COMMON_VERSION) {
            Err(module @ PayloadError::Module(_)) => explain(&module.into()),
            _ => format!("it is inconsistent, or of a type that is not known there: {error}"),
        };
        Outcome::Failed(format!("{REFUSED}{cause}"))
    }

    /// Sends entries once more whose payloads the target could not read, encoded for it.
    pub(super) fn send_encoded(&mut self, sending: &mut Sending) {
        let places = std::mem::take(&mut sending.unreadable);
        if places.is_empty() {
            return;
        }
        if self.fatal.is_some() {
            for entry in sending.entries(&places) {
                let text = "the run ended before it was sent once more";
                self.tools.ledger.give_up(sending.batch.name(entry), text);
            }
            return;
        }
        let mut again = Sending::some(sending.batch.clone(), places, sending.backoff);
        (again.encoded, again.replaces, again.alone) = (true, sending.replaces, sending.alone);
        // No attempt without an answer can have been carried out: the payload was the same.
        self.again.push_back((Instant::now(), again));
    }
}
