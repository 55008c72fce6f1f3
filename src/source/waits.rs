//! How long the answers to a group of requests took.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::report::{Latency, Stage};

/// The waits of one fetch connection.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// When requests were made that are not all answered, and for how many keys each.
    asked: VecDeque<(Instant, usize)>,
    latency: Latency,
}

impl Waits {
    /// So many keys were asked for now.
    pub(super) fn begin(&mut self, keys: usize) {
        self.asked.push_back((Instant::now(), keys));
    }

    /// One more key is answered.
    pub(super) fn answered(&mut self) {
        let Some((since, keys)) = self.asked.front_mut() else { return };
        *keys -= 1;
        if *keys == 0 {
            self.latency.record(Stage::Fetch, since.elapsed(), 1);
            self.asked.pop_front();
        }
    }

    /// What was asked for will not be answered any more.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    /// All that was measured.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }
}
