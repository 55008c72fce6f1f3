//! Keys that the target holds already: is it what was sent?
//!
//! A key may exist because this copy wrote it: the answer was lost, an earlier run or pass came as far,
//! or its name came twice. Lanes do not decide that; they ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Whether keys of a database may have been written by this copy before they are sent: by an earlier run
/// or pass, or because all names were begun again.
#[derive(Clone, Debug, Default)]
pub struct Repeated(Arc<AtomicBool>);

impl Repeated {
    /// From now on they may.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether they may.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl From<bool> for Repeated {
    fn from(repeated: bool) -> Self {
        Self(Arc::new(AtomicBool::new(repeated)))
    }
}
