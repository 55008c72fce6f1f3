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

    /// So many more keys are answered.
    pub(super) fn answered(&mut self, mut keys: usize) {
        while let Some((since, left)) = self.asked.front_mut().filter(|_| keys > 0) {
            let answered = keys.min(*left);
            keys -= answered;
            *left -= answered;
            if *left == 0 {
                self.latency.record(Stage::Fetch, since.elapsed(), 1);
                self.asked.pop_front();
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_belong_to_the_oldest_requests() {
        let mut waits = Waits::default();
        [3, 2, 4].into_iter().for_each(|keys| waits.begin(keys));
        waits.answered(1);
        waits.answered(5);
        let left: Vec<usize> = waits.asked.iter().map(|(_, keys)| *keys).collect();
        assert_eq!(left, [3]);
        waits.answered(9);
        assert!(waits.asked.is_empty());
    }
}
