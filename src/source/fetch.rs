//! Reads keys: expiry first, then the payload, pipelined in a window counted in bytes.
//!
//! Replies come in the order of the requests, so what is outstanding needs no bookkeeping of its
//! own: two positions in a row of keys, one where requests are, one where replies are. A key is
//! counted as scanned when it ends here: as expired, as failed, or as an entry that goes on.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::clock::{Expiry, ExpiryClock};
use super::window::Window;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{Batch, KeyQueue, Keys, channel, name_of};
use crate::net::{Backoff, Connection, Link};
use crate::report::{Count, Latency, Ledger, Stage};
use crate::resp::escape::printable;
use crate::resp::{self, Reply, Value};

/// Keys in a group where PTTL is asked for: the source's clock, the expiries, then the payloads, so
/// that no payload's time falls between the clock and an expiry. A key that is made anew between
/// its two answers would get a wrong expiry: the smaller the group, the smaller that gap.
const GROUP: usize = 16;
/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// One fetch connection of one database.
pub struct Fetch {
    link: Link,
    connection: Connection,
    keys: KeyQueue,
    out: channel::Sender,
    clock: ExpiryClock,
    ledger: Ledger,
    stop: CancellationToken,
    window: Window,
    /// Keys in the order they were taken; the front is the one replies are at.
    row: VecDeque<Keys>,
    /// Place in the front of `row` that the next payload belongs to.
    answered: usize,
    /// Chunk and place in it that will be asked for next.
    requested: (usize, usize),
    outstanding: usize,
    /// How many keys each group asked for has, and how far the answers to the first have come.
    groups: VecDeque<usize>,
    answer: Answer,
    /// The source's clock when the expiries of the group at hand were told.
    source_ms: i64,
    /// The expiries of the keys whose payloads are awaited.
    expiries: VecDeque<Expiry>,
    batch: Batch,
    /// Keys that a busy source will be asked for again, in wire form.
    again: Vec<Vec<u8>>,
    backoff: Backoff,
    /// How long the source may say that it is busy, without telling anything.
    patience: Duration,
    last_told: Instant,
    busy: Option<ServerError>,
    /// When the outstanding requests were made, and for how many keys each.
    asked: VecDeque<(Instant, usize)>,
    latency: Latency,
}

impl Fetch {
    /// A fetch task that takes keys from `keys` and sends what it read to `out`.
    pub fn new(
        link: Link,
        connection: Connection,
        keys: KeyQueue,
        out: channel::Sender,
        clock: ExpiryClock,
        ledger: Ledger,
        stop: CancellationToken,
    ) -> Self {
        let patience = connection.timeouts().retry;
        Self {
            link,
            connection,
            keys,
            out,
            clock,
            ledger,
            stop,
            window: Window::default(),
            row: VecDeque::new(),
            answered: 0,
            requested: (0, 0),
            outstanding: 0,
            groups: VecDeque::new(),
            answer: Answer::Begin,
            source_ms: 0,
            expiries: VecDeque::new(),
            batch: Batch::default(),
            again: Vec::new(),
            backoff: Backoff::default(),
            patience,
            last_told: Instant::now(),
            busy: None,
            asked: VecDeque::new(),
            latency: Latency::default(),
        }
    }

    /// Reads until there are no more keys, or, when stopped, until nothing is outstanding.
    ///
    /// # Errors
    /// The connection broke, or the source refuses what every key needs. Keys that were asked for
    /// and not answered are counted as failed.
    pub async fn run(mut self) -> Result<()> {
        let result = self.read_all().await;
        if let Err(error) = &result {
            self.fail_outstanding(error);
        }
        self.ledger.add_latency(Stage::Fetch, &self.latency);
        result
    }

    async fn read_all(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        let mut more = true;
        loop {
            self.absorb()?;
            self.hand_over().await?;
            self.ask_again().await?;
            if self.stop.is_cancelled() {
                more = false;
            } else if self.again.is_empty() {
                self.ask();
            }
            let waiting = self.outstanding > 0;
            let hungry = more && self.again.is_empty() && self.row.get(self.requested.0).is_none();
            if !waiting && !hungry {
                if more || (!self.again.is_empty() && !self.stop.is_cancelled()) {
                    continue;
                }
                self.give_up_again();
                return Ok(());
            }
            tokio::select! {
                biased;
                turn = self.connection.turn(), if waiting => if let Err(error) = turn {
                    self.recover(error).await?;
                },
                keys = self.keys.next(), if hungry => match keys {
                    Some(keys) => {
                        self.row.push_back(keys);
                        self.last_told = Instant::now();
                    }
                    None => more = false,
                },
                () = self.stop.cancelled(), if more => more = false,
                _ = tick.tick(), if waiting => {
                    if let Err(error) = self.connection.check_silence(self.stop.is_cancelled()) {
                        self.recover(error).await?;
                    }
                }
            }
        }
    }

    /// Connects again and goes back to the first key without an answer.
    async fn recover(&mut self, error: Error) -> Result<()> {
        // Whatever was read whole is good; its spans point into the old connection's buffer.
        self.hand_over().await?;
        self.connection = self.link.reconnect(error, self.last_told).await?.connection;
        self.outstanding = 0;
        self.requested = (0, self.answered);
        self.groups.clear();
        self.answer = Answer::Begin;
        self.expiries.clear();
        self.asked.clear();
        Ok(())
    }

    /// Fills the window once it is half empty, so that requests leave in long writes.
    fn ask(&mut self) {
        let most = self.window.keys();
        if self.outstanding > most / 2 {
            return;
        }
        let before = self.outstanding;
        while self.outstanding < most && self.ask_group(most - self.outstanding) {}
        let asked = self.outstanding - before;
        if asked > 0 {
            if before == 0 {
                self.connection.expect_replies();
            }
            self.asked.push_back((Instant::now(), asked));
        }
    }

    /// Asks for a group of at most `most` keys; `false` if there are none to ask for.
    fn ask_group(&mut self, most: usize) -> bool {
        while self
            .row
            .get(self.requested.0)
            .is_some_and(|keys| self.requested.1 == keys.wires.len())
        {
            self.requested = (self.requested.0 + 1, 0);
        }
        let (chunk, place) = self.requested;
        let Some(keys) = self.row.get(chunk) else { return false };
        let remaining = self.clock.command == ExpiryCommand::Remaining;
        let size = if remaining { GROUP.min(most) } else { 1 };
        let wires = keys.wires.get(place..).unwrap_or_default();
        let wires = wires.get(..size).unwrap_or(wires);
        let output = self.connection.output();
        if remaining {
            keyspace::time(output);
        }
        for wire in wires {
            keyspace::expiry(output, self.clock.command, wire.of(&keys.slab));
        }
        for wire in wires {
            keyspace::dump(output, wire.of(&keys.slab));
        }
        self.requested = (chunk, place + wires.len());
        self.outstanding += wires.len();
        self.groups.push_back(wires.len());
        true
    }

    /// Reads every whole reply that has come.
    fn absorb(&mut self) -> Result<()> {
        let mut expired = 0;
        let (outstanding, again) = (self.outstanding, self.again.len());
        while let Some(&group) = self.groups.front() {
            let Some(reply) = self.connection.next_reply()? else { break };
            match self.answer {
                Answer::Begin if self.clock.command == ExpiryCommand::Remaining => {
                    let Some(now) = time_ms(&Value::of(&reply)) else {
                        return Err(self.out_of_step());
                    };
                    self.source_ms = now;
                    self.answer = Answer::Expiries;
                }
                Answer::Begin | Answer::Expiries => {
                    let expiry = match reply.integer() {
                        Some(answer) => self.clock.read(answer, self.source_ms),
                        None => {
                            let error = reply.error().map(ServerError::parse);
                            self.without_expiry(error)?
                        }
                    };
                    self.expiries.push_back(expiry);
                    let all = self.expiries.len() == group;
                    self.answer = if all { Answer::Payloads } else { Answer::Expiries };
                }
                Answer::Payloads => {
                    let payload = Payload::of(&reply);
                    let expiry = self.expiries.pop_front().unwrap_or(Expiry::Gone);
                    if self.expiries.is_empty() {
                        self.groups.pop_front();
                        self.answer = Answer::Begin;
                    }
                    expired += u64::from(self.settle(expiry, payload)?);
                }
            }
        }
        let answered = outstanding - self.outstanding;
        let asked_again = self.again.len() - again;
        if answered > asked_again {
            self.last_told = Instant::now();
        }
        self.ledger.add(Count::Scanned, (answered - asked_again) as u64);
        self.ledger.add(Count::Expired, expired);
        Ok(())
    }

    /// The source did not tell an expiry: DUMP's answer will decide what becomes of the key.
    fn without_expiry(&self, error: Option<ServerError>) -> Result<Expiry> {
        match error {
            Some(error) if error.cause.hits_every_key() => {
                Err(self.connection.refused(self.clock.command.name().as_bytes(), &error))
            }
            // Without its expiry a key could become immortal: ask for it again, as if it had gone.
            Some(_) => Ok(Expiry::Gone),
            None => Err(self.out_of_step()),
        }
    }

    /// What becomes of the key whose replies are both there; `true`: it is gone.
    fn settle(&mut self, expiry: Expiry, read: Payload) -> Result<bool> {
        let wire = self.row.front().and_then(|keys| keys.wire(self.answered)).unwrap_or_default();
        let mut gone = false;
        match (read, expiry) {
            (Payload::None, _) => gone = true,
            (Payload::Bulk(token), Expiry::At(expiry)) => {
                self.window.learn(token.wire.len());
                self.backoff = Backoff::default();
                self.batch.push(wire, token, expiry);
            }
            // It was made anew between the two questions: ask both again.
            (Payload::Bulk(_), Expiry::Gone) => self.again.push(wire.to_vec()),
            (Payload::Refused(error), _) if error.cause == Cause::Transient => {
                self.again.push(wire.to_vec());
                self.busy = Some(error);
            }
            (Payload::Refused(error), _) if error.cause.hits_every_key() => {
                return Err(self.connection.refused(b"DUMP", &error));
            }
            (Payload::Refused(error), _) => {
                let text = format!("the source refused DUMP: {error}");
                self.ledger.fail(printable(name_of(wire)), &text);
            }
            (Payload::Other, _) => return Err(self.out_of_step()),
        }
        self.outstanding -= 1;
        self.step();
        self.measure();
        Ok(gone)
    }

    /// Moves the place of replies on by one key.
    fn step(&mut self) {
        self.answered += 1;
        if self.row.front().is_some_and(|keys| self.answered == keys.wires.len()) {
            self.row.pop_front();
            self.answered = 0;
            self.requested = match self.requested {
                // All of the front was asked for, nothing behind it yet.
                (0, _) => (0, 0),
                (chunk, place) => (chunk - 1, place),
            };
        }
    }

    fn measure(&mut self) {
        let Some((since, keys)) = self.asked.front_mut() else { return };
        *keys -= 1;
        if *keys == 0 {
            self.latency.record(Stage::Fetch, since.elapsed(), 1);
            self.asked.pop_front();
        }
    }

    /// Sends the entries that were read to the lane; waits while the lane has enough.
    async fn hand_over(&mut self) -> Result<()> {
        if self.connection.decoded() == 0 {
            return Ok(());
        }
        let slab = self.connection.take_slab();
        if self.batch.entries.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.payloads = slab;
        match self.out.send(batch).await {
            Ok(()) => Ok(()),
            Err(batch) => {
                for entry in &batch.entries {
                    self.ledger.fail(printable(batch.name(entry)), "the target connection is lost");
                }
                // The lane says why; more keys would only fail too.
                self.stop.cancel();
                Ok(())
            }
        }
    }

    /// Puts the keys of a busy source back into the row, after a while. New keys wait meanwhile.
    async fn ask_again(&mut self) -> Result<()> {
        if self.again.is_empty() || self.outstanding > 0 {
            return Ok(());
        }
        if self.last_told.elapsed() >= self.patience {
            let busy = self.busy.take().unwrap_or_else(|| ServerError::parse(b"BUSY"));
            return Err(self.connection.refused(b"DUMP", &busy));
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Ok(()),
            () = sleep(self.backoff.next_delay()) => {}
        }
        let mut slab = Vec::new();
        let mut wires = Vec::new();
        for wire in self.again.drain(..) {
            let start = slab.len();
            slab.extend_from_slice(&wire);
            wires.extend(resp::Span::new(start, slab.len()));
        }
        self.row.push_back(Keys { slab: slab.into(), wires });
        Ok(())
    }

    /// At the end: what a source was too busy for until now has failed.
    fn give_up_again(&mut self) {
        self.ledger.add(Count::Scanned, self.again.len() as u64);
        for wire in self.again.drain(..) {
            let text = "the source stayed busy, or the key kept changing";
            self.ledger.fail(printable(name_of(&wire)), text);
        }
    }

    fn fail_outstanding(&mut self, error: &Error) {
        let batch = std::mem::take(&mut self.batch);
        for entry in &batch.entries {
            self.ledger.fail(printable(batch.name(entry)), error.message());
        }
        self.ledger.add(Count::Scanned, self.outstanding as u64);
        while self.outstanding > 0 {
            let wire = self.row.front().and_then(|keys| keys.wire(self.answered));
            self.ledger.fail(printable(name_of(wire.unwrap_or_default())), error.message());
            self.outstanding -= 1;
            self.step();
        }
        self.give_up_again();
    }

    fn out_of_step(&self) -> Error {
        self.connection.place(Error::new(Kind::Protocol, "a reply does not fit its request"))
    }
}

/// How far the answers to a group have come.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// Nothing yet: TIME, where it was asked for, else the first expiry.
    Begin,
    Expiries,
    Payloads,
}

/// What DUMP answered.
enum Payload {
    Bulk(resp::Token),
    None,
    Refused(ServerError),
    Other,
}

impl Payload {
    fn of(reply: &Reply<'_>) -> Self {
        let head = reply.head();
        match head.kind {
            resp::Kind::Bulk => Self::Bulk(head),
            resp::Kind::Null => Self::None,
            resp::Kind::Error => Self::Refused(ServerError::parse(reply.body(head))),
            _ => Self::Other,
        }
    }
}

/// TIME's two numbers, seconds and microseconds, as Unix milliseconds.
pub fn time_ms(reply: &Value) -> Option<i64> {
    let [seconds, micros] = reply.elements()? else { return None };
    seconds.integer()?.checked_mul(1000)?.checked_add(micros.integer()? / 1000)
}
