//! Values that do not go by one RESTORE or SET: element by element into a temporary name, which is
//! renamed in one step.
//!
//! The source's key is watched while it is read, and an empty transaction at the end says whether
//! it was written meanwhile: what gets its name on the target is the value of one moment.

mod key;
mod stream;
mod temporary;
mod there;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::IfExists;
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{HandedOver, Pace, Repeated};
use crate::net::{Backoff, Line, Link, given_up};
use crate::report::{Count, Ledger};
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::cuts::WHERE_TO_LOOK;
use crate::source::pages::{LEAST_PAGE, PAGE_BYTES, Pages};
use crate::target::building::Building;
use crate::target::existing::APPEARED;
use crate::units::{self, printable};
pub(super) use temporary::{TemporaryNames, remove as remove_temporary};

/// So often a key is begun anew because it was written meanwhile. With the growing delays between,
/// that is a quarter of a minute of other peoples' patience beside the reading itself.
const ROUNDS: u32 = 10;
/// So often a key is begun anew because a connection broke.
const BREAKS: u32 = 5;
/// Temporary names that are removed once more at the end, at most: there is one for each break.
const MOST_STALE: usize = 1_000;
/// What a target says to a string that would get longer than `proto-max-bulk-len`.
const STRING_TOO_LONG: &str = "exceeds maximum allowed size";

/// What the task works with.
pub(super) struct Tools {
    pub(super) source: Link,
    pub(super) target: Link,
    /// Names of the keys.
    pub(super) keys: mpsc::Receiver<HandedOver>,
    pub(super) clock: ExpiryClock,
    pub(super) ledger: Ledger,
    pub(super) policy: IfExists,
    /// Whether any key that exists may be our own.
    pub(super) repeated: Repeated,
    /// Takes keys that exist and are to be merged.
    pub(super) merge: Option<mpsc::Sender<Vec<u8>>>,
    /// Whether expiries of hash fields may be lost to a target that has none.
    pub(super) lossy: bool,
    /// The longest bulk string that the target takes, in bytes.
    pub(super) longest_bulk: u64,
    /// The names under which values are built.
    pub(super) names: Arc<TemporaryNames>,
    /// Counts the keys that are done.
    pub(super) copied: Arc<AtomicU64>,
    pub(super) pace: Option<Arc<Pace>>,
    /// One key at a time, all databases together: so the memory for it is there once.
    pub(super) place: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// Connections of its own to both sides, made when the first key comes.
struct Worker {
    tools: Tools,
    source: Option<Pages>,
    target: Option<Building>,
    /// The target's number of that connection, where it tells.
    client: Option<i64>,
    /// A temporary name that may still be there.
    leftover: Option<Vec<u8>>,
    /// Temporary names that were removed while the server could still have commands for them.
    stale: Vec<Vec<u8>>,
    /// To both sides, for a look at keys that exist.
    lines: [Line; 2],
    /// Whether the source knows expiries of fields.
    field_expiries: Option<bool>,
    /// Whether the target knows them.
    keeps_field_expiries: Option<bool>,
    /// The key at hand is counted as scanned already.
    scanned: bool,
    /// An earlier attempt to write it may have been carried out.
    doubtful: bool,
    /// The target makes no long strings by APPEND, whatever its limit was said to be.
    by_script: bool,
    /// What a page of the source should come to, in bytes.
    page_bytes: usize,
    /// Since when every key failed since the source closed the connection.
    cut_since: Option<Instant>,
}

/// What became of a key.
enum Fate {
    /// It is there: so many bytes.
    Copied(u64),
    /// The same, in the place of another value.
    Replaced(u64),
    /// It was there already.
    Ours,
    /// The target holds somebody else's key of this name.
    Exists,
    /// It vanished from the source.
    Gone,
}

/// Copies the keys until the lanes have ended.
///
/// # Errors
/// A connection broke for good: the run is stopped, and the keys that wait are not begun.
pub(super) async fn copy(tools: Tools) -> Result<()> {
    let lines = [&tools.source, &tools.target].map(|link| Line::new(link.clone()));
    let mut worker = Worker {
        tools,
        lines,
        source: None,
        target: None,
        client: None,
        leftover: None,
        stale: Vec::new(),
        field_expiries: None,
        keeps_field_expiries: None,
        scanned: false,
        doubtful: false,
        by_script: false,
        page_bytes: PAGE_BYTES,
        cut_since: None,
    };
    let mut broken = Ok(());
    while let Some(HandedOver { key, scanned, doubtful }) = worker.tools.keys.recv().await {
        (worker.scanned, worker.doubtful) = (scanned, doubtful);
        let _place = worker.tools.place.clone().acquire_owned().await;
        if worker.tools.stop.is_cancelled() {
            worker.leave(&key);
            continue;
        }
        if let Err(error) = Box::pin(worker.copy_key(&key)).await {
            worker.tools.stop.cancel();
            worker.give_up(&key, &error);
            broken = Err(error);
        }
    }
    worker.tidy_up().await;
    broken
}

impl Worker {
    /// The run ends before this key is done: it is in no count, as the keys that nobody has asked for
    /// yet, unless it was counted as scanned.
    fn leave(&self, key: &[u8]) {
        match self.scanned {
            true => self.tools.ledger.give_up(key, "the run was stopped before it was copied"),
            false => self.tools.ledger.leave(key),
        }
    }

    fn give_up(&self, key: &[u8], error: &Error) {
        self.count_scanned();
        self.tools.ledger.give_up(key, error.message());
    }

    fn count_scanned(&self) {
        self.tools.ledger.add(Count::Scanned, u64::from(!self.scanned));
    }

    fn failed(&self, key: &[u8], error: &Error) {
        self.count_scanned();
        let text = match error.advice() {
            Some(advice) => format!("{error} ({advice})"),
            None => error.to_string(),
        };
        self.tools.ledger.fail(key, &text);
    }

    /// Copies one key and counts what became of it; an error is one that ends the task.
    async fn copy_key(&mut self, key: &[u8]) -> Result<()> {
        let began = Instant::now();
        let (mut rounds, mut breaks) = (0, 0);
        let mut backoff = Backoff::default();
        loop {
            self.connect().await?;
            let error = match Box::pin(self.attempt(key)).await {
                Ok(Some(fate)) => {
                    self.cut_since = None;
                    self.settle(key, fate).await;
                    return Ok(());
                }
                Ok(None) => {
                    rounds += 1;
                    let text = format!("it was written on the source in each of {ROUNDS} attempts");
                    let error = Error::new(Kind::Server, text).passing();
                    error.advise("stop its writers, or copy it again later")
                }
                Err(error) => error,
            };
            self.clear_up().await;
            if self.tools.stop.is_cancelled() {
                match error.kind() {
                    // It may be done, and the answer lost.
                    Kind::Transport | Kind::Connect => self.give_up(key, &error),
                    // Nothing of it is left on the target.
                    _ => self.leave(key),
                }
                return Ok(());
            }
            if error.message().contains(STRING_TOO_LONG) && !self.by_script {
                self.by_script = true;
                continue;
            }
            let mut error = error;
            if error.kind() == Kind::Transport {
                breaks += 1;
                if error.side() == Some(Side::Source) {
                    // Perhaps for the length of its replies.
                    self.page_bytes = (self.page_bytes / 4).max(LEAST_PAGE);
                    error = error.saying(format!(
                        "the source closes the connection when this value is read, even in parts of {} \
                         ({WHERE_TO_LOOK})",
                        units::bytes(self.page_bytes as u64)
                    ));
                }
            }
            let over = match (rounds, breaks) {
                (0, 0) => began.elapsed() >= self.tools.target.patience(),
                _ => rounds >= ROUNDS || breaks >= BREAKS,
            };
            if breaks >= BREAKS && error.side() == Some(Side::Source) {
                let patience = self.tools.source.patience();
                if self.cut_since.get_or_insert(began).elapsed() >= patience {
                    // Whatever it is asked: that is no matter of one value.
                    return Err(given_up(error, patience));
                }
            }
            if over || !error.passes() {
                self.failed(key, &error);
                return Ok(());
            }
            tracing::debug!("{}: beginning anew: {error}", printable(key));
            tokio::select! {
                biased;
                () = self.tools.stop.cancelled() => {}
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn settle(&self, key: &[u8], fate: Fate) {
        let ledger = &self.tools.ledger;
        self.count_scanned();
        self.tools.copied.fetch_add(1, Ordering::Relaxed);
        let replaced = matches!(fate, Fate::Replaced(..));
        match (fate, self.tools.policy, &self.tools.merge) {
            (Fate::Copied(bytes) | Fate::Replaced(bytes), ..) => {
                ledger.add(Count::Replaced, u64::from(replaced));
                ledger.add(Count::ByCommands, 1);
                ledger.add_bytes(bytes);
                ledger.add(Count::Copied, 1);
            }
            (Fate::Ours, ..) => ledger.add(Count::Copied, 1),
            (Fate::Gone, ..) => ledger.add(Count::Expired, 1),
            (Fate::Exists, IfExists::Skip, _) => ledger.keep_own(Count::Skipped, key),
            (Fate::Exists, IfExists::Merge, Some(merge)) => {
                if merge.send(key.to_vec()).await.is_err() {
                    self.tools.stop.cancel();
                    ledger.give_up(key, "the merge has ended");
                }
            }
            (Fate::Exists, IfExists::Refuse, _) => ledger.fail(key, APPEARED),
            (Fate::Exists, ..) => ledger.fail(key, "exists on the target"),
        }
    }

    /// Makes the connections that are not there, and removes what an earlier one has left behind.
    async fn connect(&mut self) -> Result<()> {
        let tools = &self.tools;
        if self.source.is_none() {
            let connection = tools.source.connect().await?;
            self.source = Some(Pages::new(connection, self.page_bytes, tools.stop.clone()));
        }
        if self.target.is_none() {
            let mut connection = match &self.leftover {
                Some(_) => tools.target.connect_for_writing().await?,
                None => tools.target.connect().await?,
            };
            if let Some(leftover) = &self.leftover {
                // What the server still has of the old connection's commands would come after our
                // UNLINK and make the key again.
                let client = self.client.unwrap_or_default().to_string();
                let kill = [b"CLIENT".as_slice(), b"KILL", b"ID", client.as_bytes()];
                let refused = matches!(connection.call(&kill).await?, Value::Error(_));
                if refused && self.stale.len() < MOST_STALE {
                    self.stale.push(leftover.clone());
                }
                crate::target::temporary::remove(&mut connection, &[leftover]).await?;
                self.leftover = None;
            }
            self.client = connection.call(&[b"CLIENT", b"ID"]).await?.integer();
            tools.names.are_used_by(&tools.source, &tools.target, self.client);
            let stop = tools.stop.clone();
            self.target = Some(Building::new(connection, tools.longest_bulk, stop));
        }
        Ok(())
    }

    /// After an attempt that came to nothing: removes the temporary key. The source may be in the
    /// middle of a reply, and still watches: its connections are made anew.
    async fn clear_up(&mut self) {
        self.source = None;
        if let Some(mut target) = self.target.take() {
            let key = target.key().to_vec();
            if target.give_up().await {
                self.target = Some(target);
            } else {
                self.leftover = Some(key);
            }
        }
    }

    /// The last chance to remove what broken connections left behind.
    async fn tidy_up(&mut self) {
        if self.leftover.is_none() && self.stale.is_empty() {
            return;
        }
        let mut tidied = self.connect().await;
        if let (Ok(()), Some(target)) = (&tidied, &mut self.target) {
            tidied = target.remove(&self.stale).await;
        }
        if let Err(error) = tidied {
            let begin = self.tools.names.beginning();
            tracing::warn!(
                "the temporary key {begin}:… may stay on the target for an hour: {error}"
            );
        }
    }
}
