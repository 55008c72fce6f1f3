//! Keys that the target holds already: is it what was sent?
//!
//! A key may exist because this copy wrote it: the answer was lost, an earlier run or pass came as far,
//! or its name came twice. Lanes do not decide that; they ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;

use super::entry::Batch;

/// Entries of one batch whose keys the target holds already.
#[derive(Debug)]
pub struct Question {
    /// The batch.
    pub batch: Arc<Batch>,
    /// Their places in it.
    pub places: Vec<u32>,
    /// Takes what the target holds instead of each, in this order; dropped: that cannot be found out any
    /// more.
    pub answer: oneshot::Sender<Vec<Held>>,
}

/// What the target holds under the name of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The value of the entry, which expires at the same time.
    Same,
    /// Something else.
    Other,
    /// Nothing any more.
    Nothing,
    /// It does not tell; the reason.
    Unknown(String),
}

/// Whether keys of a database may have been written by this copy before they are sent.
#[derive(Clone, Debug, Default)]
pub struct Repeated(Arc<AtomicU8>);

/// None was.
const NO: u8 = 0;
/// Some were, by an earlier run.
const SOME: u8 = 1;
/// All names were begun again: earlier values of our own are the rule then.
const ALL: u8 = 2;

impl Repeated {
    /// In a run that goes on where an earlier one was, whose last keys may come once more.
    pub fn some() -> Self {
        Self(Arc::new(AtomicU8::new(SOME)))
    }

    /// In a further pass over all keys.
    pub fn all() -> Self {
        Self(Arc::new(AtomicU8::new(ALL)))
    }

    /// All names are begun again.
    pub fn begin_again(&self) {
        self.0.store(ALL, Ordering::Release);
    }

    /// Whether some may have been.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) != NO
    }

    /// Whether another value under a name is more likely an earlier one of ours than somebody else's.
    pub fn may_replace(&self) -> bool {
        self.0.load(Ordering::Acquire) == ALL
    }
}
