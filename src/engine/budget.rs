//! How the memory of a run is divided, and how wide the windows are: by `--memory` and round trips.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::command::ServerInfo;
use crate::config::Limits;
use crate::flow::Pace;
use crate::source::scan::{CHUNK, FIRST_COUNT, LARGEST_COUNT};

/// What a run needs beside the entries on their way: code, stacks, TLS, names of keys, counters.
const RESERVED: usize = 16 << 20;
/// Bytes on their way on each side that keep both servers busy where there is no distance.
const NEAR_WINDOW: usize = 4 << 20;
/// COUNT where every key is dumped: names for 20 ms of a source's DUMPs.
const DUMP_COUNT: u32 = 2_000;
/// Chunks of keys that wait where there is no distance: each connection can have the next at once.
const LEAST_WAITING: usize = 4;
/// What distance has to be made up for: the rates of the fastest servers seen, in bytes and keys for
/// each microsecond of a round trip.
const BYTES_PER_MICRO: usize = 400;
const KEYS_PER_MICRO: f64 = 1.0;
/// The most bytes that a source may be made to hold for us while its values are small.
const FARTHEST_WINDOW: usize = 24 << 20;
/// A longer round trip is not made up for.
const FARTHEST: Duration = Duration::from_millis(200);
/// The longest payload that is held whole, and the shortest that may have to come in pieces, in
/// bytes: below, a piece is hardly worth its announcement.
const LARGE: (usize, usize) = (64 << 10, 1 << 20);

/// The least that one pair of connections needs on its road, in bytes: a payload at each end of it, and
/// a read buffer.
const LEAST_ROAD: usize = 2 * LARGE.0;
/// Connections to one server beside those that read and write keys: for questions, for keys that go in
/// pieces, for a look at keys that exist.
const BESIDE: usize = 3;

/// How many connections a run makes: each to the source has one to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pairs {
    /// For each database.
    pub(crate) each: usize,
    /// Databases at the same time.
    pub(crate) databases: usize,
}

impl Pairs {
    /// For so many databases, where payloads of so many `sides` are held: what `limits` allow, what their memory has room for, and what is left of the
    /// servers' `maxclients`, where they tell.
    pub(crate) fn new(
        limits: Limits,
        databases: usize,
        sides: usize,
        servers: &[&ServerInfo],
    ) -> Self {
        let mut pairs = Self::asked_for(limits, databases);
        let affordable = road(limits.memory) / LEAST_ROAD / sides;
        if pairs.reduce(|pairs| pairs.all() <= affordable) && limits.connections.is_some() {
            let Self { each, databases } = pairs;
            tracing::info!(
                "--memory has room for {each} of the connections that --connections asks for, for each of \
                 {databases} databases at a time"
            );
        }
        for free in servers.iter().filter_map(|info| info.room_for_clients()) {
            if pairs.reduce(|pairs| pairs.clients() <= free) {
                tracing::info!(
                    "a server has room for {free} more clients (its maxclients): fewer connections are used"
                );
            }
        }
        pairs
    }

    /// What `limits` ask for.
    pub(crate) fn asked_for(limits: Limits, databases: usize) -> Self {
        let databases = databases.clamp(1, Limits::DATABASES_AT_ONCE);
        Self { each: limits.connections_for(databases), databases }
    }

    /// Clients of one server that they are, with the scan of each database and what is beside.
    pub(crate) fn clients(&self) -> u64 {
        (self.all() + self.databases + BESIDE) as u64
    }

    /// All of them.
    pub(crate) fn all(&self) -> usize {
        self.each * self.databases
    }

    /// As few as it takes; whether that is fewer.
    fn reduce(&mut self, fit: impl Fn(&Self) -> bool) -> bool {
        let before = *self;
        while !fit(self) {
            match *self {
                Self { each: 2.., .. } => self.each -= 1,
                Self { databases: 2.., .. } => self.databases -= 1,
                _ => break,
            }
        }
        *self != before
    }
}

/// What may be on its way, over all connections. A third of the memory; the rest is room for read buffers
/// that grow, for slabs that a few entries keep whole, and for what the allocator does not give back.
fn road(memory: u64) -> usize {
    let memory = usize::try_from(memory.max(Limits::LEAST_MEMORY)).unwrap_or(usize::MAX);
    (memory - RESERVED) / 3
}

/// The longest name of a key that is held, in bytes: it is held several times on its way, and others beside it.
pub(crate) fn longest_name(memory: u64) -> usize {
    road(memory) / 2
}

/// What `--memory` has to be for names of so many bytes.
pub(crate) fn memory_for_name(length: usize) -> u64 {
    (RESERVED + 6 * length) as u64
}

/// The shares of one run, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// What is expected back from the source at once, over all connections.
    pub(crate) source_window: usize,
    /// The same in keys.
    pub(crate) source_keys: usize,
    /// The largest COUNT of a SCAN.
    pub(crate) largest_count: u32,
    /// Chunks of keys that wait to be fetched.
    pub(crate) waiting: usize,
    /// Between a fetch and the ack of its lane, for each pair of connections.
    pub(crate) channel: usize,
    /// Written and without an ack, for each lane.
    pub(crate) lane: usize,
    /// Payloads longer than this come in pieces.
    pub(crate) large: usize,
    /// One read buffer.
    pub(crate) slab: usize,
    /// The longest name of a key that is held.
    pub(crate) longest_name: usize,
}

impl Budget {
    /// Keys on their way that keep the source busy where there is no distance.
    pub(crate) const NEAR_KEYS: usize = 2_048;

    /// The largest COUNT of a SCAN, and how many chunks of keys may wait. Where all is dumped, the
    /// source's caches matter less than that there are names: behind some milliseconds of DUMPs SCAN
    /// waits for its turn.
    pub(crate) fn pages(&self, by_value: bool) -> (u32, usize) {
        match by_value {
            true => (self.largest_count, self.waiting),
            false => {
                let count = self.largest_count.max(DUMP_COUNT);
                (count, self.waiting.max(count as usize / CHUNK))
            }
        }
    }

    /// Divides `memory` among `connections` pairs of connections, whose servers are so far away.
    pub(crate) fn new(memory: u64, connections: usize, source: Duration, target: Duration) -> Self {
        let connections = connections.max(1);
        let far = |distance: Duration| {
            usize::try_from(distance.min(FARTHEST).as_micros()).unwrap_or_default()
        };
        let longest_name = longest_name(memory);
        let road = road(memory) / connections;
        let lane = (NEAR_WINDOW + BYTES_PER_MICRO * far(target)) / connections;
        let keys = KEYS_PER_MICRO * far(source) as f64;
        let largest_count = (FIRST_COUNT + (keys / 2.0) as u32).min(LARGEST_COUNT);
        let channel = (2 * lane).min(road).max(LARGE.0);
        Self {
            source_window: (NEAR_WINDOW + BYTES_PER_MICRO * far(source)).min(FARTHEST_WINDOW),
            source_keys: Self::NEAR_KEYS + keys as usize,
            largest_count,
            waiting: (largest_count as usize / CHUNK).max(LEAST_WAITING),
            channel,
            lane: lane.min(channel / 2),
            large: (channel / 4).clamp(LARGE.0, LARGE.1),
            slab: road / 4,
            longest_name,
        }
    }
}

/// How fast a run may be that ends with `stop`, if there is anything to say about that.
pub(super) fn pace(limits: Limits, stop: &CancellationToken) -> Option<Arc<Pace>> {
    let Limits { bytes_per_second, keys_per_second, .. } = limits;
    limits.paced().then(|| Arc::new(Pace::new(bytes_per_second, keys_per_second, stop.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_servers_and_few_connections_get_what_they_need() {
        let budget = Budget::new(Limits::DEFAULT_MEMORY, 4, Duration::ZERO, Duration::ZERO);
        assert_eq!((budget.source_window, budget.source_keys), (NEAR_WINDOW, Budget::NEAR_KEYS));
        assert_eq!((budget.channel, budget.lane), (2 << 20, 1 << 20));
        assert_eq!(budget.large, 512 << 10);
    }

    #[test]
    fn the_memory_that_a_name_asks_for_has_room_for_it() {
        for length in [2 << 20, 5_000_001, 512 << 20] {
            let memory = memory_for_name(length);
            assert!(longest_name(memory) >= length && longest_name(memory - 6) < length);
        }
    }

    #[test]
    fn distance_widens_the_windows_within_the_memory() {
        let far = Duration::from_millis(20);
        let budget = Budget::new(Limits::DEFAULT_MEMORY, 4, far, far);
        assert_eq!(budget.source_window, NEAR_WINDOW + 8_000_000);
        assert_eq!(budget.channel, (16 << 20) / 4);
        assert_eq!(budget.lane, (16 << 20) / 8);
        let wide = Budget::new(1 << 30, 4, far, far);
        assert_eq!(wide.lane, (NEAR_WINDOW + 8_000_000) / 4);
    }

    #[test]
    fn no_number_of_connections_goes_past_the_memory() {
        for memory in [Limits::LEAST_MEMORY, Limits::DEFAULT_MEMORY] {
            for connections in [1, 64, 1_024] {
                let far = Duration::from_secs(9);
                let budget = Budget::new(memory, connections, far, far);
                let held = connections * (budget.channel + budget.slab);
                // What is on its way, a read buffer each, and the least there can be of both.
                let least = connections * (LARGE.0 + (16 << 10));
                assert!(held <= (memory as usize / 2).max(least), "{connections}: {budget:?}");
            }
        }
    }
}
