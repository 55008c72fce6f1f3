//! Entries of one batch on their way to the target, and what became of them.

use std::sync::Arc;

use tokio::time::Instant;

use super::crossing::Road;
use crate::flow::{Batch, Entry, Form};
use crate::net::Backoff;
use crate::payload::Losses;

/// Strings in one MSET or MSETNX: more gain nothing, and the target does all of them before anybody else.
const MSET_PAIRS: usize = 128;
/// Their bytes; a larger string goes by SET.
const MSET_BYTES: usize = 128 << 10;

/// Entries of one batch on their way.
pub(super) struct Sending {
    pub(super) batch: Arc<Batch>,
    /// Places in the batch, in the order of writing.
    pub(super) order: Vec<u32>,
    pub(super) written: usize,
    pub(super) answered: usize,
    /// Entries in front of this place may have been carried out without an ack.
    pub(super) doubtful: usize,
    pub(super) copied: Vec<u32>,
    pub(super) refused: Vec<u32>,
    /// So many of the refused, the first ones, may have been carried out before.
    pub(super) refused_doubtful: usize,
    /// The target holds their keys, and they are somebody else's.
    pub(super) exist: Vec<u32>,
    /// The target holds their keys, and it is to be found out whether they are ours; how each was sent.
    pub(super) unclear: Vec<(u32, Road)>,
    /// Takes the place of what the target holds.
    pub(super) replaces: bool,
    /// The target could not read their payloads as they came.
    pub(super) unreadable: Vec<u32>,
    /// Each value is decoded and encoded for the target, whatever its payload is.
    pub(super) encoded: bool,
    /// Their elements go one by one.
    pub(super) elements: Vec<u32>,
    /// How many of the copied got another footer, or were encoded anew.
    pub(super) footers: u64,
    pub(super) reencoded: u64,
    /// Of the copied, those that lost something.
    pub(super) lessened: Vec<(u32, Losses)>,
    /// Strings go one by one: several in one command were refused, and one of them is to blame.
    pub(super) alone: bool,
    pub(super) since: Instant,
    pub(super) backoff: Backoff,
}

impl Sending {
    /// All entries of a batch.
    pub(super) fn all(batch: Batch) -> Self {
        let count = u32::try_from(batch.entries.len()).unwrap_or(u32::MAX);
        let doubtful = if batch.doubtful { batch.entries.len() } else { 0 };
        let all = Self::some(Arc::new(batch), (0..count).collect(), Backoff::default());
        Self { doubtful, ..all }
    }

    /// Some entries of a batch, at these places.
    pub(super) fn some(batch: Arc<Batch>, order: Vec<u32>, backoff: Backoff) -> Self {
        Self {
            batch,
            copied: Vec::with_capacity(order.len()),
            order,
            written: 0,
            answered: 0,
            doubtful: 0,
            refused: Vec::new(),
            refused_doubtful: 0,
            exist: Vec::new(),
            unclear: Vec::new(),
            replaces: false,
            unreadable: Vec::new(),
            encoded: false,
            elements: Vec::new(),
            footers: 0,
            reencoded: 0,
            lessened: Vec::new(),
            alone: false,
            since: Instant::now(),
            backoff,
        }
    }

    /// An entry is on the target, by this road.
    pub(super) fn arrived(&mut self, at: u32, road: Road) {
        self.copied.push(at);
        match road {
            Road::Verbatim => {}
            Road::Footer => self.footers += 1,
            Road::Reencoded(lost) => {
                self.reencoded += 1;
                if !lost.is_none() {
                    self.lessened.push((at, lost));
                }
            }
        }
    }

    /// An entry goes again; an answer to an earlier attempt may have been lost.
    pub(super) fn refuse(&mut self, at: u32, doubtful: bool) {
        self.refused.push(at);
        self.refused_doubtful += usize::from(doubtful);
    }

    /// How many entries from the next one on can go in one MSET: strings without an expiry.
    pub(super) fn run_of_values(&self) -> usize {
        let mut bytes = 0;
        let rest = self.order.get(self.written..).unwrap_or_default();
        let fitting = self.entries(rest).take(MSET_PAIRS).take_while(|entry| {
            bytes += entry.payload.len();
            entry.form == Form::Value && entry.expiry == 0 && bytes <= MSET_BYTES
        });
        if self.alone { 1 } else { fitting.count() }
    }

    /// Whether every entry has an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.answered == self.order.len()
    }

    /// The entries at these places.
    pub(super) fn entries<'a>(&'a self, places: &'a [u32]) -> impl Iterator<Item = &'a Entry> {
        places.iter().filter_map(|&at| self.batch.entries.get(at as usize))
    }
}
