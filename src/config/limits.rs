//! The bounds of a run and the time a server gets, each with its reason.

use std::time::Duration;

/// Connections, windows and the pace of one run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Fetch connections, and as many lanes, for each database; `None`: chosen from the number of
    /// databases.
    pub connections: Option<usize>,
    /// What the process may have resident, in bytes: bounds what is on its way.
    pub memory: u64,
    /// Payload bytes a second, all databases and connections together; `None`: as fast as it goes.
    pub bytes_per_second: Option<u64>,
    /// Keys a second, likewise.
    pub keys_per_second: Option<u64>,
    /// How long the source may keep a PING waiting, beyond the network's own time; what is slower
    /// throttles the copy.
    pub source_latency: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            memory: Self::DEFAULT_MEMORY,
            bytes_per_second: None,
            keys_per_second: None,
            source_latency: None,
        }
    }
}

impl Limits {
    /// What a run may have resident when nothing else is asked for, in bytes.
    pub const DEFAULT_MEMORY: u64 = 64 << 20;
    /// The least a run can do with, in bytes.
    pub const LEAST_MEMORY: u64 = 24 << 20;
    /// Fetch connections of a whole run when none are asked for: enough that one is always being
    /// served while the others wait for the wire (see `keyferry bench`'s table in docs/benchmarks.md).
    pub const DEFAULT_CONNECTIONS: usize = 4;
    /// More than this for one database helps no single-threaded server.
    pub const MOST_CONNECTIONS: usize = 64;
    /// Databases copied at the same time; the others wait. Bounds sockets and buffers on servers
    /// that were configured with thousands of databases.
    pub const DATABASES_AT_ONCE: usize = 16;

    /// Whether anything may slow the run.
    pub fn paced(self) -> bool {
        self.bytes_per_second.or(self.keys_per_second).is_some() || self.source_latency.is_some()
    }

    /// Fetch connections for each of `databases` databases.
    pub fn connections_for(self, databases: usize) -> usize {
        let shared =
            Self::DEFAULT_CONNECTIONS.div_ceil(databases.clamp(1, Self::DATABASES_AT_ONCE));
        self.connections.unwrap_or(shared).clamp(1, Self::MOST_CONNECTIONS)
    }
}

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to stand: name look-up, TCP, TLS, AUTH, SELECT.
    pub connect: Duration,
    /// For the next byte of an outstanding reply.
    pub reply: Duration,
    /// For what passes by itself (LOADING, BUSY, NOREPLICAS …) to pass: how long there may be no
    /// progress.
    pub retry: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // A DUMP of a value of hundreds of MB may keep a server silent for seconds, hardly for a
        // minute.
        Self {
            connect: Duration::from_secs(5),
            reply: Duration::from_secs(60),
            retry: Duration::from_secs(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_share_the_default_connections() {
        let default = Limits::default();
        let asked = |connections| Limits { connections: Some(connections), ..default };
        assert_eq!(default.connections_for(1), 4);
        assert_eq!(default.connections_for(3), 2);
        assert_eq!(default.connections_for(1_000), 1);
        assert_eq!(asked(9).connections_for(3), 9);
        assert_eq!(asked(999).connections_for(1), 64);
    }
}
