//! Holds what was read from the source against the target: the same keys, asked for in the same form.
//!
//! A comparer stands where a copy has its lane: it takes batches from the channel, asks the target
//! for expiries and values ahead of the answers, as far as its window allows, and compares the
//! answers in the read buffer. A key that agrees is counted; one that does not is a doubt, and is
//! looked at again by somebody else ([`super::settle`]).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::asked::{Asked, Seen, ask, told_expiry};
use super::doubt::Doubt;
use super::equal::Judge;
use crate::command::ServerError;
use crate::command::keyspace::ExpiryCommand;
use crate::error::{Error, Kind, Result};
use crate::flow::{Batch, Load, channel, name_of};
use crate::net::{Connection, Link};
use crate::report::{Count, Latency, Ledger, Stage};
use crate::resp::{self, Value};
use crate::source::{CLOCKS_APART_MS, time_ms};

/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);
/// Said of a key when the connection that should have told is gone.
const LOST: &str = "the target connection is lost";

/// What a comparer works with.
pub struct Tools {
    /// The way back, should the connection break.
    pub link: Link,
    /// On the target database.
    pub connection: Connection,
    /// What was read from the source.
    pub loads: channel::Receiver,
    /// When expiries are the same.
    pub judge: Judge,
    /// Takes keys that seem to differ.
    pub doubts: mpsc::Sender<Doubt>,
    /// The place of the source database among those that belong to the target database.
    pub source: usize,
    /// Bytes that may be expected of the target at once.
    pub window: usize,
    /// A longer answer, in bytes, is not held.
    pub large: usize,
    /// The size of a read buffer, in bytes.
    pub slab: usize,
    /// Where keys that agree are counted.
    pub ledger: Ledger,
    /// Ends the comparing.
    pub stop: CancellationToken,
}

/// One comparing connection.
pub struct Comparer {
    pub(super) tools: Tools,
    asked: VecDeque<Asked>,
    /// Bytes expected for what was asked.
    outstanding: usize,
    awaited: Awaited,
    /// Doubts that are not yet sent.
    doubts: Vec<Doubt>,
    pub(super) last_told: Instant,
    latency: Latency,
}

/// What the next answer is, of the batch at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// TIME, where it was asked for, or the first expiry.
    Begin,
    Expiries,
    /// The second TIME.
    Clock,
    /// A DUMP's answer, or the header of an MGET's.
    Value,
    /// So many values of an MGET.
    Values(usize),
}

impl Awaited {
    /// Behind a value.
    fn next_value(self) -> Self {
        match self {
            Self::Values(left) if left > 1 => Self::Values(left - 1),
            _ => Self::Value,
        }
    }
}

impl Comparer {
    /// A comparer that takes batches and compares them.
    pub fn new(mut tools: Tools) -> Self {
        tools.connection.limit_slab(tools.slab);
        Self {
            tools,
            asked: VecDeque::new(),
            outstanding: 0,
            awaited: Awaited::Begin,
            doubts: Vec::new(),
            last_told: Instant::now(),
            latency: Latency::default(),
        }
    }

    /// Compares until there are no more batches.
    ///
    /// # Errors
    /// The connection broke, or the target refuses what every key needs. Entries that were not
    /// compared are counted as failed.
    pub async fn run(mut self) -> Result<()> {
        let result = self.compare_all().await;
        if let Err(error) = &result {
            self.tools.stop.cancel();
            self.fail_rest(error).await;
        }
        self.tools.ledger.add_latency(Stage::Restore, &self.latency);
        result
    }

    async fn compare_all(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        let mut more = true;
        let mut large = None;
        loop {
            self.absorb()?;
            self.send_doubts().await?;
            if self.is_long() {
                if let Err(error) = self.pass_over().await {
                    self.recover(error).await?;
                }
                continue;
            }
            let waiting = !self.asked.is_empty();
            if !waiting && let Some(large) = large.take() {
                self.compare_large(large).await?;
                continue;
            }
            if !waiting && !more {
                return Ok(());
            }
            let hungry =
                more && large.is_none() && (!waiting || self.outstanding < self.tools.window);
            tokio::select! {
                biased;
                load = self.tools.loads.next(), if hungry => match load {
                    Some(Load::Batch(batch)) => self.take(batch),
                    Some(Load::Large(announced)) => large = Some(announced),
                    None => more = false,
                },
                turn = self.tools.connection.turn(), if waiting => if let Err(error) = turn {
                    self.recover(error).await?;
                },
                _ = tick.tick(), if waiting => {
                    if let Err(error) = self.tools.connection.check_silence(self.tools.stop.is_cancelled()) {
                        self.recover(error).await?;
                    }
                }
            }
        }
    }

    /// Asks for the keys of a batch.
    fn take(&mut self, batch: Batch) {
        if batch.entries.is_empty() {
            return;
        }
        if self.asked.is_empty() {
            self.tools.connection.expect_replies();
            self.last_told = Instant::now();
        }
        ask(&mut self.tools.connection, self.tools.judge.target.command, &batch);
        self.outstanding += batch.cost();
        self.asked.push_back(Asked::new(batch));
    }

    /// Connects again and asks again for what was not answered.
    pub(super) async fn recover(&mut self, error: Error) -> Result<()> {
        let again = self.tools.link.reconnect(error, self.last_told).await?;
        self.tools.connection = again.connection;
        self.tools.connection.limit_slab(self.tools.slab);
        self.awaited = Awaited::Begin;
        for asked in &mut self.asked {
            asked.told.clear();
            asked.at = 0;
            ask(&mut self.tools.connection, self.tools.judge.target.command, &asked.batch);
        }
        self.tools.connection.expect_replies();
        Ok(())
    }

    /// Reads every answer that has come.
    fn absorb(&mut self) -> Result<()> {
        let remaining = self.tools.judge.target.command == ExpiryCommand::Remaining;
        let (mut same, mut bytes) = (0, 0);
        let mut told = false;
        while let Some(front) = self.asked.front_mut() {
            let connection = &mut self.tools.connection;
            let values = matches!(self.awaited, Awaited::Value | Awaited::Values(_));
            let reply = if values { connection.next_node()? } else { connection.next_reply()? };
            let Some(reply) = reply else { break };
            told = true;
            match self.awaited {
                Awaited::Begin if remaining => {
                    front.clock_ms = time_ms(&Value::of(&reply)).unwrap_or_default();
                    self.awaited = Awaited::Expiries;
                }
                Awaited::Begin | Awaited::Expiries => {
                    match told_expiry(&reply) {
                        Ok(answer) => front.told.push(answer),
                        Err(Some(error)) => {
                            let name = self.tools.judge.target.command.name();
                            return Err(self.tools.connection.refused(name.as_bytes(), &error));
                        }
                        Err(None) => return Err(self.out_of_step()),
                    }
                    self.awaited = match front.told.len() < front.batch.entries.len() {
                        true => Awaited::Expiries,
                        false if remaining => Awaited::Clock,
                        false => Awaited::Value,
                    };
                }
                Awaited::Clock => {
                    let now = time_ms(&Value::of(&reply)).unwrap_or_default();
                    let apart = now.saturating_sub(front.clock_ms);
                    if (0..=CLOCKS_APART_MS).contains(&apart) {
                        front.clock_ms += apart / 2;
                    } else {
                        // Somebody else was served for long: nobody knows when each was told.
                        let unsure = |told: &mut Option<i64>| *told = told.filter(|told| *told < 0);
                        front.told.iter_mut().for_each(unsure);
                    }
                    self.awaited = Awaited::Value;
                }
                Awaited::Value | Awaited::Values(_) => {
                    let run = front.run();
                    let head = reply.head();
                    if self.awaited == Awaited::Value && run > 0 {
                        if head.kind == resp::Kind::Array && head.number == run as i64 {
                            self.awaited = Awaited::Values(run);
                            continue;
                        }
                        let Some(error) = reply.error().map(ServerError::parse) else {
                            return Err(self.out_of_step());
                        };
                        if error.cause.hits_every_key() {
                            return Err(self.tools.connection.refused(b"MGET", &error));
                        }
                        // Of one of them, or for now: each is looked at by itself.
                        (0..run).for_each(|_| {
                            front.settle(Seen::Doubtful, &self.tools, &mut self.doubts);
                        });
                    } else {
                        let seen = front.compare(&reply, self.tools.judge);
                        let (seen, entry_bytes) = match seen {
                            Ok(seen) => seen,
                            Err(Some(error)) => {
                                return Err(self.tools.connection.refused(b"DUMP", &error));
                            }
                            Err(None) => return Err(self.out_of_step()),
                        };
                        if front.settle(seen, &self.tools, &mut self.doubts) {
                            same += 1;
                            bytes += u64::from(entry_bytes);
                        }
                        self.awaited = self.awaited.next_value();
                    }
                    if let Some(done) = self.take_answered() {
                        self.latency.record(Stage::Restore, done.since.elapsed(), 1);
                    }
                }
            }
        }
        if told {
            self.last_told = Instant::now();
        }
        self.tools.ledger.add(Count::Compared, same);
        self.tools.ledger.add_bytes(bytes);
        if self.tools.connection.decoded() > 0 {
            drop(self.tools.connection.take_slab());
        }
        Ok(())
    }

    /// The batch in front, once every entry of it has its answer.
    fn take_answered(&mut self) -> Option<Asked> {
        self.asked.pop_front_if(|front| front.at == front.batch.entries.len()).inspect(|done| {
            self.awaited = Awaited::Begin;
            self.outstanding -= done.batch.cost();
        })
    }

    /// Whether a value is at hand that is longer than any that was read from the source whole.
    fn is_long(&self) -> bool {
        let values = matches!(self.awaited, Awaited::Value | Awaited::Values(_));
        let long = self.tools.connection.announced().is_some_and(|long| long > self.tools.large);
        !self.asked.is_empty() && values && long
    }

    /// Reads over the value at hand: it is another one, or in another form.
    async fn pass_over(&mut self) -> Result<()> {
        let mut pieces = self.tools.connection.begin_pieces();
        let stop = self.tools.stop.clone();
        while self.tools.connection.next_piece(&mut pieces, &stop).await?.is_some() {}
        self.last_told = Instant::now();
        let Some(front) = self.asked.front_mut() else { return Ok(()) };
        front.settle(Seen::Doubtful, &self.tools, &mut self.doubts);
        self.awaited = self.awaited.next_value();
        self.take_answered();
        Ok(())
    }

    /// Hands keys that seem to differ to the one who looks again.
    async fn send_doubts(&mut self) -> Result<()> {
        for doubt in std::mem::take(&mut self.doubts) {
            self.doubt(doubt.key).await?;
        }
        Ok(())
    }

    /// Hands a key to the one who looks again.
    pub(super) async fn doubt(&self, key: Vec<u8>) -> Result<()> {
        let doubt = Doubt { source: Some(self.tools.source), key };
        if let Err(refused) = self.tools.doubts.send(doubt).await {
            // It has ended and said why.
            self.tools.ledger.fail(name_of(&refused.0.key), LOST);
            self.tools.stop.cancel();
        }
        Ok(())
    }

    /// What was not compared has failed.
    async fn fail_rest(&mut self, error: &Error) {
        for doubt in std::mem::take(&mut self.doubts) {
            self.tools.ledger.fail(name_of(&doubt.key), error.message());
        }
        for asked in std::mem::take(&mut self.asked) {
            for entry in asked.batch.entries.iter().skip(asked.settled) {
                self.tools.ledger.fail(asked.batch.name(entry), error.message());
            }
        }
        self.tools.loads.close();
        while let Some(load) = self.tools.loads.next().await {
            // A large one is counted by its fetch, which learns here that nobody takes it.
            let Load::Batch(batch) = load else { continue };
            for entry in &batch.entries {
                self.tools.ledger.fail(batch.name(entry), LOST);
            }
        }
    }

    fn out_of_step(&self) -> Error {
        let text = "a reply does not fit its request";
        self.tools.connection.place(Error::new(Kind::Protocol, text))
    }
}
