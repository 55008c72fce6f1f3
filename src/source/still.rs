//! Whether a source that had no expiry when the copy began has certainly none yet, so that the question
//! need not be asked for each key.
//!
//! The answer lies behind the values, in the same stream of replies: a reading of the source's count of
//! changes (`rdb_changes_since_last_save`). If it stands where it stood when INFO said that nothing
//! expires, nobody changed anything since, and every value before it has no expiry. Only then does a
//! value go on. INFO's word alone counts for nothing: of some keys the question is asked all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::command::changes::Changes;

/// Of so many groups of keys one is asked for its expiries all the same.
pub(super) const SAMPLE_EVERY: usize = 64;
/// So many strings are in such a group: each costs the source a command, as much as ten of the others.
pub(super) const SAMPLED: usize = 32;
/// So many keys are asked for between two readings: a reading costs the source as much as some 20 keys.
pub(super) const KEYS: usize = 1_024;
/// Or fewer, where values come to so many bytes: they are held until then, by each connection.
pub(super) const BYTES: usize = 1 << 20;

/// A source without expiries, as long as its count of changes stands still.
#[derive(Debug)]
pub struct Still {
    since: Changes,
    /// The last answer that showed that: the same bytes show it again, and need not be read.
    shown: Mutex<Vec<u8>>,
    lied: AtomicBool,
}

impl Still {
    /// A source that had no expiry when its count was read.
    pub fn since(since: Changes) -> Self {
        Self { since, shown: Mutex::default(), lied: AtomicBool::new(false) }
    }

    /// Whether the answer to `INFO persistence` shows that nothing has changed since.
    pub(super) fn stands(&self, info: &[u8]) -> bool {
        if self.has_lied() {
            return false;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if !info.is_empty() && *shown == info {
            return true;
        }
        let now = Changes::parse(&String::from_utf8_lossy(info));
        let stands = now.is_some_and(|now| now.stands_still_since(self.since));
        if stands {
            info.clone_into(&mut shown);
        }
        stands
    }

    /// An expiry was seen, and nothing had changed: what INFO said of expiries is not true.
    pub(super) fn lies(&self) {
        self.lied.store(true, Ordering::Relaxed);
    }

    /// Whether keys have to be read again, since INFO was wrong.
    pub fn has_lied(&self) -> bool {
        self.lied.load(Ordering::Relaxed)
    }
}
