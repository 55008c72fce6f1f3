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

use super::asked::Asked;
use super::doubt::Doubt;
use super::equal::Judge;
use crate::error::{Error, Result};
use crate::flow::{Batch, Load, channel, name_of};
use crate::net::{Connection, Link};
use crate::report::{Latency, Ledger, Stage};
use crate::source::Step;
use crate::source::expiry::{Ending, refusal};

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
    /// Doubts that are not yet sent.
    doubts: Vec<Doubt>,
    pub(super) last_told: Instant,
    latency: Latency,
}

impl Comparer {
    /// A comparer that takes batches and compares them.
    pub fn new(mut tools: Tools) -> Self {
        tools.connection.limit_slab(tools.slab);
        Self {
            tools,
            asked: VecDeque::new(),
            outstanding: 0,
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
            if let Err(error) = self.absorb() {
                if !error.passes() {
                    return Err(error);
                }
                self.recover(error).await?;
            }
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
        self.outstanding += batch.cost();
        let mut asked = Asked::new(batch);
        asked.ask(&mut self.tools.connection, self.tools.judge);
        self.asked.push_back(asked);
    }

    /// Connects again and asks again for what was not answered.
    pub(super) async fn recover(&mut self, error: Error) -> Result<()> {
        let again = self.tools.link.reconnect(error, self.last_told).await?;
        self.tools.connection = again.connection;
        self.tools.connection.limit_slab(self.tools.slab);
        for asked in &mut self.asked {
            asked.ask(&mut self.tools.connection, self.tools.judge);
        }
        self.tools.connection.expect_replies();
        Ok(())
    }

    /// Reads every answer that has come.
    fn absorb(&mut self) -> Result<()> {
        let judge = self.tools.judge;
        while let Some(front) = self.asked.front_mut() {
            if front.is_answered() {
                self.outstanding -= front.batch.cost();
                self.latency.record(Stage::Restore, front.since.elapsed(), 1);
                self.asked.pop_front();
                continue;
            }
            let Some(answers) = front.answers(judge) else { break };
            match answers.next(&mut self.tools.connection)? {
                Step::Wait => break,
                Step::Value { told, payload } => {
                    let connection = &self.tools.connection;
                    front
                        .compare((told, payload), connection, judge)
                        .map_err(|error| connection.refused(b"DUMP", &error))?;
                }
                Step::End(ending) => {
                    if let Ending::Void(trouble) = &ending {
                        // What hits every key ends the run, what passes is waited for.
                        refusal(&self.tools.connection, trouble)?;
                    }
                    front.end_group(&ending, &self.tools, &mut self.doubts);
                    self.last_told = Instant::now();
                }
            }
        }
        if self.tools.connection.decoded() > 0 {
            drop(self.tools.connection.take_slab());
        }
        Ok(())
    }

    /// Whether a value is at hand that is longer than any that was read from the source whole.
    fn is_long(&mut self) -> bool {
        let judge = self.tools.judge;
        let long = self.tools.connection.announced().is_some_and(|long| long > self.tools.large);
        let front = self.asked.front_mut().and_then(|front| front.answers(judge));
        long && front.is_some_and(|answers| answers.awaits_value().is_some())
    }

    /// Reads over the value at hand: it is another one, or in another form.
    async fn pass_over(&mut self) -> Result<()> {
        let mut pieces = self.tools.connection.begin_pieces();
        let stop = self.tools.stop.clone();
        while self.tools.connection.next_piece(&mut pieces, &stop).await?.is_some() {}
        self.last_told = Instant::now();
        if let Some(front) = self.asked.front_mut() {
            front.passed_over();
        }
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
}
