//! Reads keys: expiry first, then the payload, pipelined in a window counted in bytes.
//!
//! Strings are asked for by MGET, many at once: it costs the source a third of a DUMP. It answers nil
//! for a key that is no string, without an error, and such a key is dumped then. Where strings turn
//! out to be rare, only a sample is asked for that way. A key is counted as scanned when it ends
//! here: as expired, as failed, or as an entry that goes on.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, Payload, time_ms};
use super::clock::{Expiry, ExpiryClock};
use super::mix::Mix;
use super::row::{Row, Way};
use super::waits::Waits;
use super::window::Window;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{Batch, Form, KeyQueue, Keys, channel, name_of};
use crate::net::{Backoff, Connection, Link};
use crate::report::{Count, Ledger, Stage};
use crate::resp::escape::printable;
use crate::resp::{self, Token, Value};

/// Keys in a group where PTTL is asked for: the source's clock, the expiries, the clock again, then
/// the payloads. A key that is made anew between its two answers would get a wrong expiry: the
/// smaller the group, the smaller that gap.
const GROUP: usize = 16;
/// Between the two clocks no more than this may have passed, or the expiries are asked for again,
/// alone: the source may have served somebody else for long in between.
const CLOCKS_APART_MS: i64 = 20;
/// Keys in one MGET: more gain nothing, and the source answers all of them before anybody else.
const VALUES: usize = 64;
/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);

/// What a source is asked about each key.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// How expiries are read.
    pub clock: ExpiryClock,
    /// Whether there are expiries at all. Where the database has none, the question is saved, and
    /// asked at the end for the whole database.
    pub expiries: bool,
    /// Whether strings are asked for by value.
    pub by_value: bool,
}

/// One fetch connection of one database.
pub struct Fetch {
    link: Link,
    connection: Connection,
    keys: KeyQueue,
    out: channel::Sender,
    asking: Asking,
    ledger: Ledger,
    stop: CancellationToken,
    window: Window,
    row: Row,
    outstanding: usize,
    /// How many keys each group asked for has, and how; and how far the answers to the first are.
    groups: VecDeque<(usize, Way)>,
    answer: Answer,
    /// The source's clock when the expiries of the group at hand were told.
    source_ms: i64,
    /// What was told of the expiries of the group at hand.
    told: Vec<Option<i64>>,
    /// The expiries of the keys whose payloads are awaited.
    expiries: VecDeque<Expiry>,
    mix: Mix,
    /// The nodes of the MGET reply at hand.
    values: Vec<Token>,
    /// Keys that are no strings, in wire form.
    no_strings: Vec<Vec<u8>>,
    batch: Batch,
    /// Keys that a busy source will be asked for again, in wire form.
    again: Vec<Vec<u8>>,
    backoff: Backoff,
    /// How long the source may say that it is busy, without telling anything.
    patience: Duration,
    last_told: Instant,
    busy: Option<ServerError>,
    waits: Waits,
}

impl Fetch {
    /// A fetch task that takes keys from `keys` and sends what it read to `out`.
    pub fn new(
        link: Link,
        connection: Connection,
        keys: KeyQueue,
        out: channel::Sender,
        asking: Asking,
        ledger: Ledger,
        stop: CancellationToken,
    ) -> Self {
        let patience = connection.timeouts().retry;
        Self {
            link,
            connection,
            keys,
            out,
            asking,
            ledger,
            stop,
            window: Window::default(),
            row: Row::default(),
            outstanding: 0,
            groups: VecDeque::new(),
            answer: Answer::Begin,
            source_ms: 0,
            told: Vec::new(),
            expiries: VecDeque::new(),
            mix: Mix::default(),
            values: Vec::new(),
            no_strings: Vec::new(),
            batch: Batch::default(),
            again: Vec::new(),
            backoff: Backoff::default(),
            patience,
            last_told: Instant::now(),
            busy: None,
            waits: Waits::default(),
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
        self.ledger.add_latency(Stage::Fetch, self.waits.latency());
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
            let hungry = more && self.again.is_empty() && self.row.is_all_asked();
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
                        let by_value = self.asking.by_value;
                        let way = if by_value { self.mix.next_way() } else { Way::Dump };
                        self.row.push(keys, way);
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
        self.row.rewind();
        self.groups.clear();
        self.answer = Answer::Begin;
        self.told.clear();
        self.expiries.clear();
        self.waits.forget();
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
            self.waits.begin(asked);
        }
    }

    /// Asks for a group of at most `most` keys; `false` if there are none to ask for.
    fn ask_group(&mut self, most: usize) -> bool {
        let Asking { clock, expiries, .. } = self.asking;
        let remaining = expiries && clock.command == ExpiryCommand::Remaining;
        let size = |way| match way {
            Way::Value => VALUES.min(most),
            Way::Dump if remaining => GROUP.min(most),
            Way::Dump | Way::Alone => 1,
        };
        let Some((way, keys, wires)) = self.row.take(size) else { return false };
        let output = self.connection.output();
        if remaining {
            keyspace::time(output);
        }
        if expiries {
            for wire in wires {
                keyspace::expiry(output, clock.command, wire.of(&keys.slab));
            }
        }
        if remaining {
            keyspace::time(output);
        }
        match way {
            Way::Value => keyspace::mget(output, wires.iter().map(|wire| wire.of(&keys.slab))),
            Way::Dump | Way::Alone => {
                wires.iter().for_each(|wire| keyspace::dump(output, wire.of(&keys.slab)));
            }
        }
        self.outstanding += wires.len();
        self.groups.push_back((wires.len(), way));
        true
    }

    /// Reads every whole reply that has come.
    fn absorb(&mut self) -> Result<()> {
        let (outstanding, again) = (self.outstanding, self.again.len());
        let mut expired = 0;
        let remaining = self.asking.clock.command == ExpiryCommand::Remaining;
        while let Some(&(group, way)) = self.groups.front() {
            if matches!(self.answer, Answer::Begin) && !self.asking.expiries {
                self.expiries.resize(group, Expiry::At(0));
                self.answer = Answer::Payloads;
            }
            let Some(reply) = self.connection.next_reply()? else { break };
            match (self.answer, way) {
                (Answer::Begin, _) if remaining => {
                    self.source_ms = time_ms(&Value::of(&reply)).unwrap_or_default();
                    self.answer = Answer::Expiries;
                }
                (Answer::Begin | Answer::Expiries, _) => {
                    let error = reply.error().map(ServerError::parse);
                    let told = match reply.integer() {
                        Some(told) => Some(told),
                        None => self.without_expiry(error)?,
                    };
                    self.told.push(told);
                    self.answer = match self.told.len() == group {
                        false => Answer::Expiries,
                        true if remaining => Answer::Clock,
                        true => {
                            self.read_expiries(self.source_ms);
                            Answer::Payloads
                        }
                    };
                }
                (Answer::Clock, _) => {
                    let now = time_ms(&Value::of(&reply)).unwrap_or_default();
                    self.read_clocks(now);
                    self.answer = Answer::Payloads;
                }
                (Answer::Payloads, Way::Dump | Way::Alone) => {
                    let payload = Payload::of(&reply);
                    let expiry = self.expiries.pop_front().unwrap_or(Expiry::Gone);
                    if self.expiries.is_empty() {
                        self.groups.pop_front();
                        self.answer = Answer::Begin;
                    }
                    expired += u64::from(self.settle(expiry, payload)?);
                }
                (Answer::Payloads, Way::Value) => {
                    self.values.clear();
                    self.values.extend_from_slice(reply.tokens());
                    let busy = reply.error().map(ServerError::parse);
                    self.groups.pop_front();
                    self.answer = Answer::Begin;
                    expired += self.settle_values(group, busy);
                }
            }
        }
        let answered = outstanding - self.outstanding;
        let later = self.again.len() - again + self.no_strings.len();
        if answered > self.again.len() - again {
            self.last_told = Instant::now();
        }
        let no_strings = Keys::copied(self.no_strings.iter().map(Vec::as_slice));
        self.no_strings.clear();
        self.row.push(no_strings, Way::Dump);
        self.ledger.add(Count::Scanned, (answered - later) as u64);
        self.ledger.add(Count::Expired, expired);
        Ok(())
    }

    /// What becomes of the keys of an MGET; answers how many are gone.
    fn settle_values(&mut self, group: usize, refused: Option<ServerError>) -> u64 {
        let mut gone = 0;
        let mut strings = 0;
        let busy = refused.as_ref().is_some_and(|error| error.cause == Cause::Transient);
        for place in 0..group {
            let expiry = self.expiries.pop_front().unwrap_or(Expiry::Gone);
            let value = self.values.get(place + 1).filter(|token| token.kind == resp::Kind::Bulk);
            let wire = self.row.awaited();
            match (value, expiry) {
                (Some(&value), Expiry::At(expiry)) => {
                    strings += 1;
                    self.window.learn(value.wire.len());
                    self.batch.push(wire, value, Form::Value, expiry);
                }
                _ if busy => self.again.push(wire.to_vec()),
                (None, Expiry::Gone) => gone += 1,
                // Made anew between the two answers.
                (Some(_), Expiry::Gone) => self.again.push(wire.to_vec()),
                // No string, a key that this user may not read, an expiry that is not sure.
                (_, Expiry::At(_) | Expiry::Unknown) => self.no_strings.push(wire.to_vec()),
            }
            self.outstanding -= 1;
            self.row.step();
            self.waits.answered();
        }
        if busy {
            self.busy = refused;
        } else {
            self.mix.learn(strings, group);
        }
        gone
    }

    /// The clock after the expiries of a group: close enough to the one before, or all is asked again.
    fn read_clocks(&mut self, after: i64) {
        let apart = after.saturating_sub(self.source_ms);
        match self.told.len() {
            // Alone: a long name may have taken its time to arrive behind the first clock.
            1 => self.read_expiries(after),
            _ if (0..=CLOCKS_APART_MS).contains(&apart) => {
                self.read_expiries(self.source_ms + apart / 2);
            }
            _ => {
                self.told.fill(None);
                self.read_expiries(after);
            }
        }
    }

    fn read_expiries(&mut self, now: i64) {
        let clock = self.asking.clock;
        let read = |told: Option<i64>| told.map_or(Expiry::Unknown, |told| clock.read(told, now));
        self.expiries.extend(self.told.drain(..).map(read));
    }

    /// The source did not tell an expiry: DUMP's answer decides what becomes of the key.
    fn without_expiry(&self, error: Option<ServerError>) -> Result<Option<i64>> {
        match error {
            Some(error) if error.cause.hits_every_key() => {
                Err(self.connection.refused(self.asking.clock.command.name().as_bytes(), &error))
            }
            Some(_) => Ok(None),
            None => Err(self.out_of_step()),
        }
    }

    /// What becomes of the key whose replies are both there; `true`: it is gone.
    fn settle(&mut self, expiry: Expiry, read: Payload) -> Result<bool> {
        let wire = self.row.awaited();
        let mut gone = false;
        match (read, expiry) {
            (Payload::None, _) => gone = true,
            (Payload::Bulk(token), Expiry::At(expiry)) => {
                self.window.learn(token.wire.len());
                self.backoff = Backoff::default();
                self.busy = None;
                self.batch.push(wire, token, Form::Dump, expiry);
            }
            // It was made anew between the two questions: ask both again.
            (Payload::Bulk(_), Expiry::Gone | Expiry::Unknown) => self.again.push(wire.to_vec()),
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
        self.row.step();
        self.waits.answered();
        Ok(gone)
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
        if self.busy.is_some() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = sleep(self.backoff.next_delay()) => {}
            }
        }
        self.row.push(Keys::copied(self.again.iter().map(Vec::as_slice)), Way::Alone);
        self.again.clear();
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
            self.ledger.fail(printable(name_of(self.row.awaited())), error.message());
            self.outstanding -= 1;
            self.row.step();
        }
        self.give_up_again();
    }

    fn out_of_step(&self) -> Error {
        self.connection.place(Error::new(Kind::Protocol, "a reply does not fit its request"))
    }
}
