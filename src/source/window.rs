//! How much may be asked of a source at once.
//!
//! The source executes whatever is pipelined and holds the replies in its own memory, so a window
//! is counted in the bytes that are expected to come back, learned from those that came.

/// Bytes expected back on one connection: covers a round trip of 20 ms at 50 MB/s.
const BYTES: usize = 1 << 20;
/// Keys asked for on one connection: more gain nothing once a round trip is covered.
const KEYS: usize = 512;
/// The first guess of a payload's size, before any has come.
const FIRST_GUESS: usize = 16 << 10;

/// The window of one fetch connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    typical: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { typical: FIRST_GUESS }
    }
}

impl Window {
    /// Learns the size of a payload: up at once, down slowly, so that large values among small ones
    /// keep the window cautious.
    pub(super) fn learn(&mut self, size: usize) {
        self.typical = if size > self.typical {
            self.typical.midpoint(size)
        } else {
            self.typical - (self.typical - size) / 16
        };
    }

    /// How many keys may be outstanding.
    pub(super) fn keys(self) -> usize {
        (BYTES / self.typical.max(1)).clamp(1, KEYS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payloads_open_the_window_and_a_large_one_closes_it() {
        let mut window = Window::default();
        assert_eq!(window.keys(), 64);
        (0..200).for_each(|_| window.learn(100));
        assert_eq!(window.keys(), KEYS);
        window.learn(20 << 20);
        assert_eq!(window.keys(), 1);
        (0..20).for_each(|_| window.learn(100));
        assert!(window.keys() < 4, "{}", window.keys());
    }
}
