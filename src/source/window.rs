//! How much may be asked of a source at once, over all its connections.
//!
//! The source executes whatever is pipelined and holds the replies in its own memory until they are
//! read, so the window is counted in the bytes that are expected to come back, learned from those
//! that came. All connections share it: what one learned the others need not find out, each at the
//! source's expense.
//!
//! Over a distance it is also counted in time: what the source answers in two and a half round trips
//! keeps it busy; more would only wait there, and everybody else's questions behind it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes that a source may be made to hold for us where its values are large: fewer of them are
/// asked for at once, down to a single one.
const HELD: usize = 44 << 20;
/// Sizes are forgotten by this part with each key: small ones after a large one open it again.
const FORGOTTEN: f64 = 15.0 / 16.0;

/// How long the source's pace is measured at a time: answers come in bursts, many times as fast.
const PACE: Duration = Duration::from_millis(50);
/// A slower pace is believed by this part each time: it may be ours.
const BELIEVED: f64 = 0.3;
/// What may wait at the source beside what is on its way, as time.
const QUEUE: Duration = Duration::from_millis(10);

/// The least that a source is asked for at once that closes connections when it is asked for more, in bytes.
const NARROWEST: usize = 32 << 10;
/// After so long without that it is asked for twice as much again.
const WIDENED: Duration = Duration::from_secs(30);

/// The window of a source.
#[derive(Debug)]
pub struct Window {
    bytes: usize,
    /// The most keys; and how many are enough where there is no distance.
    keys: usize,
    near_keys: usize,
    /// What the source should have to do, as time.
    ahead: Duration,
    connections: usize,
    state: Mutex<State>,
    freed: Notify,
}

/// It opens from a single key: before any payload has come, every one could be large.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// What a payload is expected to have, in bytes.
    typical: usize,
    /// The largest of late.
    largest: usize,
    answered: usize,
    outstanding: usize,
    /// Keys that the source answers in a second; 0: not known yet.
    pace: f64,
    /// When the measurement at hand began, and the keys answered since.
    measured: Option<Instant>,
    lately: usize,
    /// Bytes that the source can send, where that is less than was meant; and since when.
    narrow: Option<(usize, Instant)>,
}

impl State {
    /// Counts answered keys, and learns the source's pace by them.
    fn answer(&mut self, keys: usize, now: Instant) {
        self.answered = self.answered.saturating_add(keys);
        let Some(since) = self.measured else {
            self.measured = Some(now);
            return;
        };
        self.lately += keys;
        let time = now.saturating_duration_since(since);
        if time < PACE {
            return;
        }
        let pace = self.lately as f64 / time.as_secs_f64();
        let slower = self.pace + (pace - self.pace) * BELIEVED;
        self.pace = pace.max(slower);
        (self.measured, self.lately) = (Some(now), 0);
    }
}

/// Payloads that have come since the last time the window was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    count: usize,
    bytes: usize,
    largest: usize,
}

impl Seen {
    /// One more.
    pub fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.largest = self.largest.max(bytes);
    }

    /// How many bytes they had.
    pub fn bytes(self) -> u64 {
        self.bytes as u64
    }
}

impl Window {
    /// A window of about `bytes` bytes, for so many connections, and of at most `keys` keys, of which
    /// `near_keys` are enough for a source that is not `far` away.
    pub fn new(
        bytes: usize,
        (near_keys, keys): (usize, usize),
        connections: usize,
        far: Duration,
    ) -> Self {
        let connections = connections.max(1);
        Self {
            bytes,
            keys: keys.max(connections),
            near_keys,
            ahead: far * 5 / 2 + QUEUE,
            connections,
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// How many keys one connection may have outstanding.
    pub(super) fn share(&self) -> usize {
        self.allowed(*self.state()).div_ceil(self.connections)
    }

    /// How many keys of late would fit so many bytes: one, before any has come.
    pub(super) fn fitting(&self, bytes: usize) -> usize {
        let state = *self.state();
        let expected = state.typical.max(state.largest / 4);
        if state.answered == 0 { 1 } else { bytes / expected.max(1) }
    }

    /// Takes room for up to `most` keys, or for none.
    pub fn claim(&self, most: usize) -> usize {
        let mut state = self.state();
        let free = self.allowed(*state).saturating_sub(state.outstanding);
        let granted = free.min(most);
        state.outstanding += granted;
        drop(state);
        if granted < free {
            // Others who wait may have the rest.
            self.freed.notify_one();
        }
        granted
    }

    /// Likewise, for one key at least, as soon as there is room; `None`: it is stopped.
    pub async fn claim_some(&self, most: usize, stop: &CancellationToken) -> Option<usize> {
        while !stop.is_cancelled() {
            match self.claim(most) {
                0 => tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = self.freed() => {}
                },
                claimed => return Some(claimed),
            }
        }
        None
    }

    /// Gives back room that was not used, or whose answers will not come.
    pub fn give_back(&self, keys: usize) {
        if keys > 0 {
            let mut state = self.state();
            state.outstanding = state.outstanding.saturating_sub(keys);
            drop(state);
            self.freed.notify_one();
        }
    }

    /// Gives back the room of keys that were answered, and tells what was seen of them: nothing of
    /// those that are gone, which open the window all the same.
    pub fn release(&self, keys: usize, seen: Seen) {
        if keys == 0 && seen.count == 0 {
            return;
        }
        let mut state = self.state();
        state.outstanding = state.outstanding.saturating_sub(keys);
        let now = Instant::now();
        state.answer(keys, now);
        if let Some((bytes, since)) = state.narrow.filter(|(_, since)| now - *since >= WIDENED) {
            let wider = bytes.saturating_mul(2);
            state.narrow = (wider < self.bytes).then_some((wider, since + WIDENED));
        }
        if seen.count > 0 {
            let kept = FORGOTTEN.powi(i32::try_from(seen.count).unwrap_or(i32::MAX));
            let average = seen.bytes / seen.count;
            // Up at once, down slowly: large values among small ones keep the window cautious.
            state.typical = if seen.largest > state.typical.saturating_mul(4) {
                state.typical.midpoint(seen.largest)
            } else {
                average.saturating_add_signed(weighed(state.typical, average, kept))
            };
            let less = average.saturating_add_signed(weighed(state.largest, average, kept));
            state.largest = less.max(seen.largest);
        }
        drop(state);
        self.freed.notify_one();
    }

    /// The source closed connections that were asked for as much as now: from here on it is less.
    pub(super) fn narrow(&self) {
        let mut state = self.state();
        let bytes = state.narrow.map_or(self.bytes, |(bytes, _)| bytes);
        state.narrow = Some(((bytes / 2).max(NARROWEST), Instant::now()));
    }

    /// Waits until there may be room again. Cancel-safe.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    fn allowed(&self, state: State) -> usize {
        let opened = state.answered.saturating_mul(2).saturating_add(1);
        let bytes = state.narrow.map_or(self.bytes, |(bytes, _)| bytes);
        let fitting = bytes / state.typical.max(1);
        let bearable = (HELD / state.largest.max(1)).min(self.connections);
        let timely = match state.pace {
            0.0 => self.keys,
            pace => (pace * self.ahead.as_secs_f64()) as usize,
        };
        let most = timely.clamp(self.near_keys.min(self.keys), self.keys);
        fitting.max(bearable).min(opened).clamp(1, most)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Numbers cannot be left half-way by a panic of another task.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of the way from `new` to `old` that is still remembered.
fn weighed(old: usize, new: usize, kept: f64) -> isize {
    ((old as f64 - new as f64) * kept) as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near() -> Window {
        Window::new(4 << 20, (2_048, 2_048), 4, Duration::ZERO)
    }

    #[test]
    fn over_a_distance_the_window_is_what_the_source_answers_meanwhile() {
        let window = Window::new(1 << 30, (2_048, 50_000), 4, Duration::from_millis(20));
        let mut state = State { answered: 1_000_000, typical: 1, ..State::default() };
        assert_eq!(window.allowed(state), 50_000, "before anything is known");
        let mut now = Instant::now();
        for _ in 0..200 {
            state.answer(5_000, now);
            now += PACE;
        }
        // 100,000 in a second, for 60 ms.
        assert!((5_900..=6_000).contains(&window.allowed(state)), "{}", window.allowed(state));
        state.answer(500, now + PACE);
        assert!(window.allowed(state) > 4_000, "a slower pace is not believed at once");
        for _ in 0..200 {
            state.answer(1, now);
            now += PACE;
        }
        assert_eq!(window.allowed(state), 2_048, "what is enough without a distance");
    }

    const MB: usize = 1_000_000;

    fn tell(window: &Window, keys: usize, size: usize) {
        for _ in 0..keys {
            window.state().outstanding += 1;
            let mut seen = Seen::default();
            seen.add(size);
            window.release(1, seen);
        }
    }

    #[test]
    fn it_opens_from_a_single_key_over_all_connections() {
        let window = near();
        assert_eq!((window.share(), window.claim(9), window.claim(9)), (1, 1, 0));
        let mut seen = Seen::default();
        seen.add(100);
        window.release(1, seen);
        assert_eq!((window.share(), window.claim(9)), (1, 3));
        tell(&window, 2_000, 100);
        assert_eq!((window.share(), window.claim(9_999)), (512, 2_048 - 3));
    }

    #[test]
    fn large_values_close_it_and_small_ones_open_it_again() {
        let window = near();
        tell(&window, 2_000, 1_000);
        let open = window.share();
        assert!(open > 400, "{open}");
        tell(&window, 1, 20 * MB);
        assert_eq!(window.claim(9), 2);
        tell(&window, 40, 20 * MB);
        assert_eq!(window.claim(9), 0);
        window.release(2, Seen::default());
        tell(&window, 1, 400 * MB);
        assert_eq!(window.claim(9), 1);
        window.release(1, Seen::default());
        tell(&window, 300, 1_000);
        assert!(window.share() > 400, "{}", window.share());
    }

    #[test]
    fn keys_that_are_gone_open_it_too() {
        let window = near();
        for _ in 0..20 {
            let granted = window.claim(usize::MAX);
            window.release(granted, Seen::default());
        }
        assert_eq!(window.claim(usize::MAX), 2_048);
    }

    #[test]
    fn middling_values_keep_every_connection_busy() {
        let window = near();
        tell(&window, 100, 8 * MB);
        assert_eq!((window.share(), window.claim(9)), (1, 4));
    }
}
