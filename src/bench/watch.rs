//! What a contestant does to the source while it runs: the memory of its clients, and how long
//! another client waits.
//!
//! Every few milliseconds, on a connection of its own: a PING whose answer is timed, and CLIENT LIST,
//! whose `omem` and `tot-mem` are summed over the clients of the contestant.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::server::{OWN_NAME, Peer};
use crate::error::Result;
use crate::net::Connection;
use crate::report::Percentiles;

/// How often it is looked: a look costs the source some 50 µs, a quarter of a percent of its time.
const PAUSE: Duration = Duration::from_millis(20);
/// As often as that where replies are large: a loopback drains 64 MB in less than 20 ms.
const PAUSE_LARGE: Duration = Duration::from_millis(3);

/// Whose memory counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clients {
    /// Those named `keyferry`.
    Keyferry,
    /// All but the benchmark's own: other programs name their connections as they like.
    All,
}

/// What was seen on the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The most that the clients' output buffers held together; `None` if it was never told.
    pub(super) omem: Option<u64>,
    /// The most that the clients held together, input buffers and all.
    pub(super) total: Option<u64>,
    /// What PING took.
    pub(super) waits: Percentiles,
}

impl Seen {
    async fn look(&mut self, connection: &mut Connection, clients: Clients) -> Result<()> {
        let asked = Instant::now();
        connection.call(&[b"PING"]).await?;
        self.waits.record(asked.elapsed(), 1);
        let list = connection.call(&[b"CLIENT", b"LIST"]).await?;
        if let Some(bytes) = list.bytes() {
            let (omem, total) = sums(&String::from_utf8_lossy(bytes), clients);
            self.omem = self.omem.max(Some(omem));
            self.total = self.total.max(Some(total));
        }
        Ok(())
    }
}

/// A watch that goes on until it is asked what it saw, or dropped.
pub(super) struct Watch {
    task: JoinSet<Seen>,
    stop: CancellationToken,
}

impl Watch {
    /// Begins to look, more often where values are `large`.
    pub(super) async fn start(source: &Peer, clients: Clients, large: bool) -> Result<Self> {
        let pause = if large { PAUSE_LARGE } else { PAUSE };
        let mut connection = source.connect().await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut seen = Seen::default();
            // A source that does not tell leaves the figures empty; the contestant goes on.
            while seen.look(&mut connection, clients).await.is_ok() {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            seen
        });
        Ok(Self { task, stop })
    }

    /// What was seen until now.
    pub(super) async fn end(mut self) -> Seen {
        self.stop.cancel();
        match self.task.join_next().await {
            Some(Ok(seen)) => seen,
            _ => Seen::default(),
        }
    }
}

/// Sums of `omem` and `tot-mem` over the lines of CLIENT LIST that count.
fn sums(list: &str, clients: Clients) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in list.lines() {
        let field = |name: &str| {
            line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let counts = match clients {
            Clients::Keyferry => field("name") == Some("keyferry"),
            Clients::All => field("name") != Some(OWN_NAME),
        };
        if counts {
            let number = |name| field(name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            sums.0 += number("omem");
            sums.1 += number("tot-mem");
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clients_of_the_contestant_count() {
        let list = "id=3 name=keyferry sub=0 omem=100 tot-mem=1000 cmd=dump\n\
                    id=4 name=keyferry omem=20 tot-mem=200 cmd=scan\n\
                    id=5 name=keyferry-bench omem=7 tot-mem=70 cmd=client\n\
                    id=6 name= omem=1 tot-mem=10 cmd=get\n";
        assert_eq!(sums(list, Clients::Keyferry), (120, 1_200));
        assert_eq!(sums(list, Clients::All), (121, 1_210));
        assert_eq!(sums("", Clients::All), (0, 0));
    }
}
