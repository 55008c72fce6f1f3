//! A lane: one connection that writes RESTOREs in order and reads their acks in order.
//!
//! What is written and not yet acknowledged stays in memory, so that it can be sent again when the
//! server says that it is busy; the batch's permit comes back when its last entry is settled.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::crossing::{Crossing, Road};
use super::existing::{Asked, next_answer};
use super::large::Tries;
use super::outcome::{Outcome, outcome};
use super::recovering::{OtherProcess, read_only};
use super::sending::Sending;
use super::writing::{Written, write};
use crate::command::keyspace::RestoreForm;
use crate::config::IfExists;
use crate::error::{Error, Result};
use crate::flow::{Form, HandOver, Large, Load, Question, Repeated, channel, name_of};
use crate::net::{Connection, Link};
use crate::report::{Count, Latency, Ledger, Stage};

/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// What a lane works with.
pub struct Tools {
    /// The way back, should the connection break.
    pub link: Link,
    /// On the target database.
    pub connection: Connection,
    /// What is to be written.
    pub batches: channel::Receiver,
    /// What happens to a key that exists.
    pub policy: IfExists,
    /// Whether strings may go several at once, by MSET, or by MSETNX where nothing is replaced.
    pub several: bool,
    /// How payloads get across.
    pub crossing: Crossing,
    /// Bytes that may be written and not yet acknowledged.
    pub window: usize,
    /// Whether any key that exists may be our own.
    pub repeated: Repeated,
    /// Where keys are counted.
    pub ledger: Ledger,
    /// Tells everybody to stop, when nothing more can be written.
    pub stop: CancellationToken,
    /// Where keys are reported that are not done with their ack.
    pub hooks: Hooks,
    /// What happens when the target is restarted, or fails over.
    pub other_process: OtherProcess,
}

/// One connection to one target database.
pub struct Lane {
    pub(super) tools: Tools,
    pub(super) form: RestoreForm,
    /// In the order of writing; acks come for the front.
    pub(super) row: VecDeque<Sending>,
    /// Place in `row` of what is written next.
    pub(super) writing: usize,
    pub(super) unacked_bytes: usize,
    /// Commands without an ack.
    pub(super) unacked: usize,
    /// What each of them carries, and between them entries that were not sent.
    pub(super) commands: VecDeque<Written>,
    /// What a busy target refused, and when to send it again.
    pub(super) again: VecDeque<(Instant, Sending)>,
    /// Entries whose keys exist, in the order in which it was asked what the target holds.
    pub(super) asked: VecDeque<Asked>,
    /// An entry that comes in pieces, to be written once all before it has an ack.
    large: Option<Large>,
    pub(super) tries: Tries,
    /// How long the target may say that it is busy, without taking anything.
    pub(super) patience: Duration,
    pub(super) last_taken: Instant,
    pub(super) fatal: Option<Error>,
    pub(super) latency: Latency,
    /// Commands that wrote keys, as their acks say.
    pub(super) acknowledged: u64,
}

/// Where a lane reports keys that are not done with their ack.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Takes entries whose keys exist and may be our own.
    pub existing: Option<mpsc::Sender<Question>>,
    /// Takes the names of keys that exist and are to be merged.
    pub merge: Option<mpsc::Sender<Vec<u8>>>,
    /// Takes the names of keys that are too long to be written at once.
    pub pieces: Option<HandOver>,
}

impl Lane {
    /// A lane that takes batches and writes them.
    pub fn new(tools: Tools) -> Self {
        let patience = tools.connection.timeouts().retry;
        Self {
            form: RestoreForm { replace: tools.policy == IfExists::Replace, absolute: true },
            tools,
            row: VecDeque::new(),
            writing: 0,
            unacked_bytes: 0,
            unacked: 0,
            commands: VecDeque::new(),
            again: VecDeque::new(),
            asked: VecDeque::new(),
            large: None,
            tries: Tries::default(),
            patience,
            last_taken: Instant::now(),
            fatal: None,
            latency: Latency::default(),
            acknowledged: 0,
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
            self.tools.stop.cancel();
            self.fail_rest(error).await;
        }
        self.tools.ledger.add_latency(Stage::Restore, &self.latency);
        self.tools.ledger.add_written(self.acknowledged);
        result
    }

    async fn write_all(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        let mut more = true;
        loop {
            if let Err(error) = self.absorb() {
                self.recover(error).await?;
            }
            self.settle_front().await;
            if self.fatal.is_some() && self.unacked == 0 {
                return Ok(());
            }
            self.write();
            if self.commands.front().is_some_and(|written| written.answer.is_some()) {
                continue;
            }
            let waiting = self.unacked > 0;
            let written = self.writing == self.row.len();
            if !waiting
                && written
                && let Some(large) = self.large.take()
            {
                self.write_large(large).await?;
                continue;
            }
            let hungry = more && self.fatal.is_none() && written && self.large.is_none();
            if !waiting && !more && self.again.is_empty() && self.asked.is_empty() {
                return Ok(());
            }
            let due = self.again.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                // First: what is there already leaves in one write.
                batch = self.tools.batches.next(), if hungry => match batch {
                    Some(load) => self.take(load),
                    None => more = false,
                },
                turn = self.tools.connection.turn(), if waiting => if let Err(error) = turn {
                    self.recover(error).await?;
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.row.extend(self.again.pop_front().map(|(_, sending)| sending));
                }
                held = next_answer(&mut self.asked), if !self.asked.is_empty() => {
                    self.judge(held).await;
                }
                _ = tick.tick(), if waiting => {
                    if let Err(error) = self.tools.connection.check_silence(self.tools.stop.is_cancelled()) {
                        self.recover(error).await?;
                    }
                }
            }
        }
    }

    /// Takes up what was read. Before, it was not the target that kept the lane from progress.
    fn take(&mut self, load: Load) {
        if self.row.is_empty() && self.again.is_empty() {
            self.last_taken = Instant::now();
        }
        match load {
            Load::Batch(batch) => self.row.push_back(Sending::all(batch)),
            Load::Large(large) => self.large = Some(large),
        }
    }

    /// Writes entries while the window has room.
    fn write(&mut self) {
        while self.fatal.is_none() && (self.unacked == 0 || self.unacked_bytes < self.tools.window)
        {
            let Some(sending) = self.row.get_mut(self.writing) else { return };
            if sending.written == sending.order.len() {
                self.writing += 1;
                continue;
            }
            if sending.written == 0 {
                sending.since = Instant::now();
            }
            if self.unacked == 0 {
                self.tools.connection.expect_replies();
            }
            let run = if self.tools.several { sending.run_of_values() } else { 1 };
            let form = RestoreForm { replace: self.form.replace || sending.replaces, ..self.form };
            let places = sending.order.get(sending.written..).unwrap_or_default();
            let places = places.get(..run.max(1)).unwrap_or(places);
            let output = self.tools.connection.output();
            let written = write(output, sending, places, form, &self.tools.crossing);
            let Some(written) = written else { return };
            sending.written += written.entries;
            self.unacked += usize::from(written.answer.is_none());
            self.unacked_bytes += written.bytes;
            self.commands.push_back(written);
        }
    }

    /// Reads every ack that has come; an error is the connection's, or that of a server that takes no
    /// writes any more.
    fn absorb(&mut self) -> Result<()> {
        let mut front = 0;
        let mut taken = false;
        while let Some(next) = self.commands.front_mut() {
            let result = match next.answer.take() {
                Some(known) => *known,
                None => {
                    let Some(reply) = self.tools.connection.next_reply()? else { break };
                    self.unacked -= 1;
                    let result = outcome(&reply);
                    self.acknowledged += u64::from(result == Outcome::Copied);
                    result
                }
            };
            let Some(Written { entries, bytes, road, .. }) = self.commands.pop_front() else {
                break;
            };
            self.unacked_bytes -= bytes;
            if let Outcome::ReadOnly(error) = &result {
                // Nothing of it was done: it goes again, before all that is behind it.
                if taken {
                    self.last_taken = Instant::now();
                }
                return Err(read_only(&self.tools.connection, b"RESTORE", error));
            }
            while self.row.get(front).is_some_and(Sending::is_answered) {
                front += 1;
            }
            taken |= !matches!(result, Outcome::Again(_));
            for _ in 0..entries {
                self.settle(front, &result, road, entries > 1);
            }
        }
        if taken {
            self.last_taken = Instant::now();
        }
        if self.tools.connection.decoded() > 0 {
            drop(self.tools.connection.take_slab());
        }
        Ok(())
    }

    /// Settles the next entry of a batch; `shared`: its command carried others as well.
    fn settle(&mut self, front: usize, result: &Outcome, road: Road, shared: bool) {
        let Some(sending) = self.row.get_mut(front) else { return };
        let Some(&at) = sending.order.get(sending.answered) else { return };
        let Some(&entry) = sending.batch.entries.get(at as usize) else { return };
        let doubtful = sending.answered < sending.doubtful;
        sending.answered += 1;
        let fatal = match result {
            Outcome::Copied => {
                sending.arrived(at, road);
                return;
            }
            Outcome::Exists if shared => {
                // One of them is there, and nothing was written.
                sending.refuse(at, doubtful);
                sending.alone = true;
                return;
            }
            Outcome::Exists if doubtful || self.tools.may_be_ours() => {
                sending.unclear.push((at, road));
                return;
            }
            Outcome::Exists => {
                sending.exist.push(at);
                return;
            }
            Outcome::Elements => {
                sending.elements.push(at);
                return;
            }
            Outcome::Failed(_) | Outcome::Unreadable(_) if shared => {
                sending.refuse(at, doubtful);
                sending.alone = true;
                return;
            }
            Outcome::Unreadable(error) => {
                if let Some(reason) = sending.is_unreadable(at, road, error) {
                    self.tools.ledger.fail(sending.batch.name(&entry), &reason);
                }
                return;
            }
            Outcome::Failed(reason) => {
                self.tools.ledger.fail(sending.batch.name(&entry), reason);
                return;
            }
            Outcome::Again(error) => {
                sending.refuse(at, doubtful);
                if self.last_taken.elapsed() < self.patience && self.fatal.is_none() {
                    return;
                }
                error
            }
            Outcome::Fatal(error) | Outcome::ReadOnly(error) => {
                // First, so that nobody takes the key for settled.
                self.tools.stop.cancel();
                self.tools.ledger.give_up(sending.batch.name(&entry), &error.line);
                error
            }
        };
        self.tools.stop.cancel();
        let command = if entry.form == Form::Value { b"SET".as_slice() } else { b"RESTORE" };
        let error = self.tools.connection.refused(command, fatal);
        self.fatal.get_or_insert(error);
    }

    /// Finishes the batches in front whose entries all have an answer.
    async fn settle_front(&mut self) {
        while self.row.front().is_some_and(Sending::is_answered) {
            let Some(sending) = self.row.pop_front() else { return };
            self.writing = self.writing.saturating_sub(1);
            self.latency.record(Stage::Restore, sending.since.elapsed(), 1);
            self.finish(sending).await;
        }
    }

    /// Counts what became of entries that were answered, and sends those on that are not done.
    pub(super) async fn finish(&mut self, mut sending: Sending) {
        self.ask_whose(&mut sending).await;
        let (mut bytes, mut values) = (0, 0);
        for entry in sending.entries(&sending.copied) {
            bytes += u64::from(entry.bytes);
            values += u64::from(entry.form == Form::Value);
        }
        self.tools.ledger.add(Count::ByCommands, values);
        self.tools.ledger.add(Count::ByFooter, sending.footers);
        self.tools.ledger.add(Count::Reencoded, sending.reencoded);
        self.tell_losses(&sending);
        self.tools.ledger.add_bytes(bytes);
        if sending.replaces {
            self.tools.ledger.add(Count::Replaced, sending.copied.len() as u64);
        }
        // Last: whoever sees that they are settled sees the rest, too.
        self.tools.ledger.add(Count::Copied, sending.copied.len() as u64);
        for entry in sending.entries(&sending.exist) {
            self.settle_existing(sending.batch.name(entry)).await;
        }
        for entry in sending.entries(&sending.elements) {
            self.send_elements(sending.batch.name(entry)).await;
        }
        self.send_encoded(&mut sending);
        self.send_again(sending);
    }

    fn tell_losses(&self, sending: &Sending) {
        for &(at, lost) in &sending.lessened {
            let Some(entry) = sending.batch.entries.get(at as usize) else { continue };
            self.tools.ledger.add(Count::LostFieldExpiries, lost.field_expiries);
            self.tools.ledger.lose(sending.batch.name(entry), lost.to_string());
        }
    }

    /// Hands a key on whose value cannot go by one command.
    async fn send_elements(&self, key: &[u8]) {
        let taken = match &self.tools.hooks.pieces {
            Some(way) => way.send(key, true, false).await,
            None => false,
        };
        if !taken {
            let text = "its payload is longer than the target takes at once (proto-max-bulk-len)";
            self.tools.ledger.fail(key, text);
        }
    }

    pub(super) fn send_again(&mut self, sending: Sending) {
        if sending.refused.is_empty() {
            return;
        }
        if self.fatal.is_some() {
            for entry in sending.entries(&sending.refused) {
                let text = "the target stayed busy";
                self.tools.ledger.give_up(sending.batch.name(entry), text);
            }
            return;
        }
        let mut backoff = sending.backoff;
        let now = Instant::now();
        // One of them is to blame, not the target's being busy: at once.
        let due = if sending.alone { now } else { now + backoff.next_delay() };
        let mut again = Sending::some(sending.batch, sending.refused, backoff);
        again.alone = sending.alone;
        again.doubtful = sending.refused_doubtful;
        again.replaces = sending.replaces;
        again.encoded = sending.encoded;
        self.again.push_back((due, again));
    }

    /// Counts everything that is not acknowledged and will not be, also what still comes in.
    async fn fail_rest(&mut self, error: &Error) {
        let again = self.again.drain(..).map(|(_, sending)| sending);
        let asked = self.asked.drain(..).map(Asked::give_up);
        let unsettled: Vec<Sending> = self.row.drain(..).chain(again).chain(asked).collect();
        for sending in &unsettled {
            let bytes: u64 = sending.entries(&sending.copied).map(|e| u64::from(e.bytes)).sum();
            self.tools.ledger.add_bytes(bytes);
            self.tools.ledger.add(Count::Copied, sending.copied.len() as u64);
            let open = sending.order.get(sending.answered..).unwrap_or_default();
            let unclear: Vec<u32> = sending.unclear.iter().map(|(at, _)| *at).collect();
            let Sending { refused, exist, elements, unreadable, .. } = sending;
            let others = [refused, exist, elements, unreadable, &unclear];
            for places in others.into_iter().map(Vec::as_slice).chain([open]) {
                for entry in sending.entries(places) {
                    self.tools.ledger.give_up(sending.batch.name(entry), error.message());
                }
            }
        }
        drop(unsettled);
        self.tools.batches.close();
        if let Some(large) = self.large.take() {
            self.fail_load(Load::Large(large), error);
        }
        while let Some(load) = self.tools.batches.next().await {
            self.fail_load(load, error);
        }
    }

    fn fail_load(&self, load: Load, error: &Error) {
        match load {
            Load::Batch(batch) => {
                for entry in &batch.entries {
                    self.tools.ledger.give_up(batch.name(entry), error.message());
                }
            }
            Load::Large(large) => {
                self.give_up(name_of(&large.key), error.message(), large.verdict);
            }
        }
    }
}
