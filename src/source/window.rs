//! How much may be asked of a source at once.
//!
//! The source executes whatever is pipelined and holds the replies in its own memory, so a window
//! is counted in the bytes that are expected to come back, learned from those that came.

/// Bytes expected back on one connection: covers a round trip of 20 ms at 50 MB/s.
const BYTES: usize = 1 << 20;
/// Keys asked for on one connection: more gain nothing once a round trip is covered.
const KEYS: usize = 512;

/// The window of one fetch connection. It opens from a single key: before any payload has come,
/// every one could be large.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    typical: usize,
    learned: usize,
}

impl Window {
    /// Learns the size of a payload: up at once, down slowly, so that large values among small ones
    /// keep the window cautious.
    pub(super) fn learn(&mut self, size: usize) {
        self.learned = self.learned.saturating_add(1);
        self.typical = if size > self.typical {
            self.typical.midpoint(size)
        } else {
            self.typical - (self.typical - size) / 16
        };
    }

    /// How many keys may be outstanding.
    pub(super) fn keys(self) -> usize {
        let opened = self.learned.saturating_mul(2).saturating_add(1);
        (BYTES / self.typical.max(1)).min(opened).clamp(1, KEYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payloads_open_the_window_and_a_large_one_closes_it() {
        let mut window = Window::default();
        assert_eq!(window.keys(), 1);
        window.learn(100);
        assert_eq!(window.keys(), 3);
        (0..300).for_each(|_| window.learn(100));
        assert_eq!(window.keys(), KEYS);
        window.learn(20 << 20);
        assert_eq!(window.keys(), 1);
        (0..20).for_each(|_| window.learn(100));
        assert!(window.keys() < 4, "{}", window.keys());
    }
}
