//! A lane: one connection that writes RESTOREs in order and reads their acks in order.
//!
//! What is written and not yet acknowledged stays in memory, so that it can be sent again when the
//! server says that it is busy; the batch's permit comes back when its last entry is settled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::outcome::{Outcome, outcome};
use crate::command::keyspace::RestoreForm;
use crate::config::IfExists;
use crate::error::{Error, Kind, Result};
use crate::flow::{Acked, Batch, channel, name_of};
use crate::net::{Backoff, Connection, Link};
use crate::report::{Count, Latency, Ledger, Stage};
use crate::resp::escape::printable;

/// Bytes written and not yet acknowledged: covers a round trip of 20 ms at 50 MB/s.
const WINDOW: usize = 1 << 20;
/// RDB version and checksum at the end of a payload, in bytes.
const FOOTER: usize = 10;
/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// One connection to one target database.
pub struct Lane {
    link: Link,
    connection: Connection,
    batches: channel::Receiver,
    policy: IfExists,
    form: RestoreForm,
    ledger: Ledger,
    /// Tells everybody to stop, when nothing more can be written.
    stop: CancellationToken,
    hooks: Hooks,
    /// In the order of writing; acks come for the front.
    row: VecDeque<Sending>,
    /// Place in `row` of what is written next.
    writing: usize,
    unacked_bytes: usize,
    unacked: usize,
    /// What a busy target refused, and when to send it again.
    again: VecDeque<(Instant, Sending)>,
    /// How long the target may say that it is busy, without taking anything.
    patience: Duration,
    last_taken: Instant,
    fatal: Option<Error>,
    latency: Latency,
}

/// Where a lane reports keys that are not done with their ack.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Takes acknowledged entries, to delete them from the source.
    pub acked: Option<mpsc::Sender<Acked>>,
    /// Takes the names of keys that exist and are to be merged.
    pub merge: Option<mpsc::Sender<Vec<u8>>>,
}

/// Entries of one batch on their way.
struct Sending {
    batch: Arc<Batch>,
    /// Places in the batch, in the order of writing.
    order: Vec<u32>,
    written: usize,
    answered: usize,
    /// Entries in front of this place may have been carried out without an ack.
    doubtful: usize,
    copied: Vec<u32>,
    refused: Vec<u32>,
    exist: Vec<u32>,
    maybe_ours: Vec<u32>,
    since: Instant,
    backoff: Backoff,
}

impl Lane {
    /// A lane that takes batches and writes them.
    pub fn new(
        link: Link,
        connection: Connection,
        batches: channel::Receiver,
        policy: IfExists,
        ledger: Ledger,
        stop: CancellationToken,
        hooks: Hooks,
    ) -> Self {
        let patience = connection.timeouts().retry;
        Self {
            link,
            connection,
            batches,
            policy,
            form: RestoreForm { replace: policy == IfExists::Replace, absolute: true },
            ledger,
            stop,
            hooks,
            row: VecDeque::new(),
            writing: 0,
            unacked_bytes: 0,
            unacked: 0,
            again: VecDeque::new(),
            patience,
            last_taken: Instant::now(),
            fatal: None,
            latency: Latency::default(),
        }
    }

    /// Writes until there are no more batches and every entry is settled.
    ///
    /// # Errors
    /// The connection broke, or the target refuses what every key needs. Entries that were not
    /// acknowledged are counted as failed.
    pub async fn run(mut self) -> Result<()> {
        let result = self.write_all().await;
        let result = match (result, self.fatal.take()) {
            (Ok(()), Some(fatal)) => Err(fatal),
            (result, _) => result,
        };
        if let Err(error) = &result {
            self.stop.cancel();
            self.fail_rest(error).await;
        }
        self.ledger.add_latency(Stage::Restore, &self.latency);
        result
    }

    async fn write_all(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        let mut more = true;
        loop {
            self.absorb()?;
            self.settle_front().await;
            if self.fatal.is_some() && self.unacked == 0 {
                return Ok(());
            }
            self.write();
            let waiting = self.unacked > 0;
            let hungry = more && self.fatal.is_none() && self.writing == self.row.len();
            if !waiting && !more && self.again.is_empty() {
                return Ok(());
            }
            let due = self.again.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                turn = self.connection.turn(), if waiting => if let Err(error) = turn {
                    self.recover(error).await?;
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.row.extend(self.again.pop_front().map(|(_, sending)| sending));
                }
                batch = self.batches.next(), if hungry => match batch {
                    Some(batch) => self.row.push_back(Sending::all(batch)),
                    None => more = false,
                },
                _ = tick.tick(), if waiting => {
                    if let Err(error) = self.connection.check_silence(self.stop.is_cancelled()) {
                        self.recover(error).await?;
                    }
                }
            }
        }
    }

    /// Connects again and writes again what has no ack.
    async fn recover(&mut self, error: Error) -> Result<()> {
        let again = self.link.reconnect(error, self.last_taken).await?;
        if !again.same_process {
            let text = "the target was restarted, or another server took its place: what was \
                        written before may be lost";
            let error = again.connection.place(Error::new(Kind::Server, text));
            return Err(error.advise("copy again with --if-exists replace"));
        }
        self.connection = again.connection;
        for sending in &mut self.row {
            // Written, but was it carried out? A key that exists from here on may be our own.
            sending.doubtful = sending.doubtful.max(sending.written);
            sending.written = sending.answered;
        }
        self.writing = 0;
        self.unacked = 0;
        self.unacked_bytes = 0;
        Ok(())
    }

    /// Writes entries while the window has room.
    fn write(&mut self) {
        while self.fatal.is_none() && (self.unacked == 0 || self.unacked_bytes < WINDOW) {
            let Some(sending) = self.row.get_mut(self.writing) else { return };
            let next = sending.order.get(sending.written).copied();
            let Some(entry) = next.and_then(|at| sending.batch.entries.get(at as usize)) else {
                self.writing += 1;
                continue;
            };
            if sending.written == 0 {
                sending.since = Instant::now();
            }
            if self.unacked == 0 {
                self.connection.expect_replies();
                if self.again.is_empty() && sending.backoff.tries() == 0 {
                    self.last_taken = Instant::now();
                }
            }
            let output = self.connection.output();
            output.copy(self.form.prefix());
            output.copy(entry.key.of(&sending.batch.keys));
            output.number(entry.expiry);
            output.lay(&sending.batch.payloads, entry.payload.range());
            output.copy(self.form.suffix());
            sending.written += 1;
            self.unacked += 1;
            self.unacked_bytes += entry.payload.len();
        }
    }

    /// Reads every ack that has come.
    fn absorb(&mut self) -> Result<()> {
        let mut front = 0;
        let mut taken = false;
        while self.unacked > 0 {
            let Some(reply) = self.connection.next_reply()? else { break };
            let result = outcome(&reply);
            while self.row.get(front).is_some_and(Sending::is_answered) {
                front += 1;
            }
            let Some(sending) = self.row.get_mut(front) else { break };
            let Some(&at) = sending.order.get(sending.answered) else { break };
            let Some(entry) = sending.batch.entries.get(at as usize) else { break };
            let doubtful = sending.answered < sending.doubtful;
            sending.answered += 1;
            self.unacked -= 1;
            self.unacked_bytes -= entry.payload.len();
            let fatal = match result {
                Outcome::Again(error) => {
                    sending.refused.push(at);
                    let waited_enough = self.last_taken.elapsed() >= self.patience;
                    Some(error).filter(|_| waited_enough || self.fatal.is_some())
                }
                Outcome::Fatal(error) => {
                    self.ledger.fail(printable(sending.batch.name(entry)), &error.line);
                    Some(error)
                }
                Outcome::Failed(reason) => {
                    self.ledger.fail(printable(sending.batch.name(entry)), &reason);
                    None
                }
                Outcome::Copied => {
                    sending.copied.push(at);
                    taken = true;
                    None
                }
                Outcome::Exists => {
                    let places =
                        if doubtful { &mut sending.maybe_ours } else { &mut sending.exist };
                    places.push(at);
                    None
                }
            };
            if let Some(error) = fatal {
                self.stop.cancel();
                let error = self.connection.refused(b"RESTORE", &error);
                self.fatal.get_or_insert(error);
            }
        }
        if taken {
            self.last_taken = Instant::now();
        }
        if self.connection.decoded() > 0 {
            drop(self.connection.take_slab());
        }
        Ok(())
    }

    /// Finishes the batches in front whose entries all have an answer.
    async fn settle_front(&mut self) {
        while self.row.front().is_some_and(Sending::is_answered) {
            let Some(mut sending) = self.row.pop_front() else { return };
            self.writing = self.writing.saturating_sub(1);
            self.find_ours(&mut sending).await;
            let bytes: u64 = sending.entries(&sending.copied).map(|e| u64::from(e.bytes)).sum();
            self.ledger.add(Count::Copied, sending.copied.len() as u64);
            self.ledger.add_bytes(bytes);
            self.latency.record(Stage::Restore, sending.since.elapsed(), 1);
            self.settle_existing(&sending).await;
            let copied = std::mem::take(&mut sending.copied);
            if let Some(acked) = self.hooks.acked.as_ref().filter(|_| !copied.is_empty()) {
                // Gone when the source connection is lost: then the keys stay, which is safe.
                let _ = acked.send(Acked { batch: sending.batch.clone(), entries: copied }).await;
            }
            self.send_again(sending);
        }
    }

    /// Keys that exist and were perhaps written by us, before a connection broke: equal values are.
    async fn find_ours(&mut self, sending: &mut Sending) {
        for at in std::mem::take(&mut sending.maybe_ours) {
            let Some(entry) = sending.batch.entries.get(at as usize) else { continue };
            let payload = name_of(entry.payload.of(&sending.batch.payloads));
            let held = match self.link.connect().await {
                Ok(mut apart) => apart.call(&[b"DUMP", sending.batch.name(entry)]).await,
                Err(error) => Err(error),
            };
            let ours = held.is_ok_and(|held| {
                held.bytes().is_some_and(|held| value_of(held) == value_of(payload))
            });
            if ours { sending.copied.push(at) } else { sending.exist.push(at) }
        }
    }

    /// What the policy says of keys that the target holds.
    async fn settle_existing(&mut self, sending: &Sending) {
        for entry in sending.entries(&sending.exist) {
            let key = sending.batch.name(entry);
            match (self.policy, &self.hooks.merge) {
                (IfExists::Skip, _) => self.ledger.add(Count::Skipped, 1),
                (IfExists::Merge, Some(merge)) => {
                    if merge.send(key.to_vec()).await.is_err() {
                        self.ledger.fail(printable(key), "the merge has ended");
                    }
                }
                _ => self.ledger.fail(printable(key), "exists on the target"),
            }
        }
    }

    fn send_again(&mut self, sending: Sending) {
        if sending.refused.is_empty() {
            return;
        }
        if self.fatal.is_some() {
            for entry in sending.entries(&sending.refused) {
                let text = "the target stayed busy";
                self.ledger.fail(printable(sending.batch.name(entry)), text);
            }
            return;
        }
        let mut backoff = sending.backoff;
        let due = Instant::now() + backoff.next_delay();
        self.again.push_back((due, Sending::some(sending.batch, sending.refused, backoff)));
    }

    /// Counts everything that is not acknowledged and will not be, also what still comes in.
    async fn fail_rest(&mut self, error: &Error) {
        let again = self.again.drain(..).map(|(_, sending)| sending);
        let unsettled: Vec<Sending> = self.row.drain(..).chain(again).collect();
        for sending in &unsettled {
            let bytes: u64 = sending.entries(&sending.copied).map(|e| u64::from(e.bytes)).sum();
            self.ledger.add(Count::Copied, sending.copied.len() as u64);
            self.ledger.add_bytes(bytes);
            let open = sending.order.get(sending.answered..).unwrap_or_default();
            for places in [open, &sending.refused, &sending.exist, &sending.maybe_ours] {
                for entry in sending.entries(places) {
                    self.ledger.fail(printable(sending.batch.name(entry)), error.message());
                }
            }
        }
        drop(unsettled);
        self.batches.close();
        while let Some(batch) = self.batches.next().await {
            for entry in &batch.entries {
                self.ledger.fail(printable(batch.name(entry)), error.message());
            }
        }
    }
}

/// A payload without its footer, which is the server's own.
fn value_of(payload: &[u8]) -> &[u8] {
    payload.get(..payload.len().saturating_sub(FOOTER)).unwrap_or_default()
}

impl Sending {
    fn all(batch: Batch) -> Self {
        let count = u32::try_from(batch.entries.len()).unwrap_or(u32::MAX);
        Self::some(Arc::new(batch), (0..count).collect(), Backoff::default())
    }

    fn some(batch: Arc<Batch>, order: Vec<u32>, backoff: Backoff) -> Self {
        Self {
            batch,
            copied: Vec::with_capacity(order.len()),
            order,
            written: 0,
            answered: 0,
            doubtful: 0,
            refused: Vec::new(),
            exist: Vec::new(),
            maybe_ours: Vec::new(),
            since: Instant::now(),
            backoff,
        }
    }

    fn is_answered(&self) -> bool {
        self.answered == self.order.len()
    }

    fn entries<'a>(&'a self, places: &'a [u32]) -> impl Iterator<Item = &'a crate::flow::Entry> {
        places.iter().filter_map(|&at| self.batch.entries.get(at as usize))
    }
}
