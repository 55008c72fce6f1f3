//! How far a scan has come for good: its cursor, at a moment when every key that it named is settled.
//!
//! A key passes through several tasks, and none of them knows the page that named it. So from time to
//! time a scan waits, between two pages, until as many keys are settled as it named: then nothing is
//! on its way, and whoever begins at that cursor misses nothing. That costs some
//! hundredths of the time. Tasks that give up keys because the run ends cancel its token first: what they count is
//! not taken for settled.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::Route;
use crate::flow::Repeated;
use crate::report::{Kept, Ledger};

/// The least time between two marks.
const LEAST: Duration = Duration::from_millis(50);
/// The most time between two marks, if nothing large is on its way: what a killed run loses.
const MOST: Duration = Duration::from_secs(1);
/// A scan waits for this part of the time, at most, where that does not make more than [`MOST`].
const PART: u32 = 20;
/// How often it looks whether all is settled.
const LOOK: Duration = Duration::from_millis(1);

/// How far a scan has come.
#[derive(Debug)]
pub struct Mark {
    /// The database.
    pub route: Route,
    /// Where the scan goes on; `None`: it is done.
    pub cursor: Option<Vec<u8>>,
    /// The database's counters at that moment.
    pub counters: Kept,
}

/// Where a scan begins, and what becomes of how far it has come; as it is, from the beginning, and
/// nothing.
#[derive(Debug, Default)]
pub struct Course {
    /// The cursor that an earlier run had come to.
    pub from: Option<Vec<u8>>,
    /// Tells how far it has come.
    pub marks: Option<Marks>,
    /// Set before keys are named that were named already.
    pub repeated: Repeated,
}

/// Makes the marks of one scan.
#[derive(Debug)]
pub struct Marks {
    route: Route,
    told: mpsc::Sender<Mark>,
    ledger: Ledger,
    named: u64,
    /// Keys that an earlier run counted as settled and not as scanned: none, but for its mistakes.
    unscanned: u64,
    due: Instant,
}

impl Marks {
    /// Marks of a scan that begins now, told to `told`.
    pub fn new(route: Route, told: mpsc::Sender<Mark>, ledger: Ledger) -> Self {
        let counts = ledger.counts();
        let named = counts.settled();
        let unscanned = named.saturating_sub(counts.scanned);
        Self { route, told, ledger, named, unscanned, due: Instant::now() + LEAST }
    }

    /// So many keys were named.
    pub fn name(&mut self, keys: usize) {
        self.named += keys as u64;
    }

    /// Tells that the scan has come to `cursor`, if it is time for that, once all is settled.
    pub async fn tell(&mut self, cursor: &[u8], stop: &CancellationToken) {
        let began = Instant::now();
        if began < self.due {
            return;
        }
        if self.settle(stop).await {
            let (route, cursor) = (self.route, Some(cursor.to_vec()));
            let mark = Mark { route, cursor, counters: self.ledger.keep() };
            // Gone when nothing is kept any more.
            let _ = self.told.send(mark).await;
        }
        self.due = Instant::now() + (began.elapsed() * PART).clamp(LEAST, MOST);
    }

    /// Waits until everything that was named is settled; `false`: it is not going to be.
    async fn settle(&self, stop: &CancellationToken) -> bool {
        loop {
            let counts = self.ledger.counts();
            // After the counts: what was counted when the run ended does not count.
            if stop.is_cancelled() {
                return false;
            }
            // Of a large value the target's side may be counted before the source's.
            if counts.settled() >= self.named && counts.scanned + self.unscanned >= counts.settled()
            {
                return true;
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::{Count, Stats};

    #[tokio::test]
    async fn a_mark_waits_until_every_account_is_closed() {
        let stats = Arc::new(Stats::default());
        let ledger = Ledger::new(stats.clone(), stats.database(0, 0, 1));
        let (told, mut marks) = mpsc::channel(1);
        let route = Route { source: 0, target: 0 };
        let mut scan = Marks::new(route, told, ledger.clone());
        scan.name(1);
        scan.due = Instant::now();
        // The lane has a large value's ack, and its reader has not counted the key yet.
        ledger.add(Count::Copied, 1);
        let stop = CancellationToken::new();
        let telling = tokio::spawn(async move { scan.tell(b"7", &stop).await });
        sleep(LOOK * 20).await;
        assert!(marks.try_recv().is_err(), "it is not counted as scanned");
        ledger.add(Count::Scanned, 1);
        telling.await.unwrap();
        let mark = marks.recv().await.unwrap();
        let of = |count| mark.counters.get(count).copied();
        assert_eq!((of("scanned"), of("copied")), (Some(1), Some(1)), "{mark:?}");
    }
}
