//! Reads keys: expiry first, then the payload, pipelined in a window counted in bytes.
//!
//! Strings are asked for by MGET, many at once: it costs the source a third of a DUMP. It answers nil
//! for a key that is no string, without an error, and such a key is dumped then. Where strings turn
//! out to be rare, only a sample is asked for that way. A key is counted as scanned when it ends
//! here: as expired, as failed, or as an entry that goes on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::answer::Payload;
use super::answers::Answers;
use super::clock::{ExpiryClock, Told};
use super::cuts::{Cuts, WHERE_TO_LOOK};
use super::expiry::Moment;
use super::mix::Mix;
use super::row::{Row, Way};
use super::still::Still;
use super::waits::Waits;
use super::window::{Seen, Window};
use crate::command::ServerError;
use crate::error::{Error, Result};
use crate::flow::{Batch, Form, HandOver, KeyQueue, Keys, channel, name_of};
use crate::net::{Backoff, Connection, Link};
use crate::report::{Count, Ledger, Stage};

/// How often silence is looked for.
const TICK: Duration = Duration::from_secs(1);
/// How long values wait for more keys, behind which one question is for all of them: twice that at most.
const MOST_HELD: Duration = Duration::from_millis(10);

/// What a source is asked about each key.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// How expiries are read.
    pub clock: ExpiryClock,
    /// Whether strings are asked for by value.
    pub by_value: bool,
    /// Payloads longer than this, in bytes, are not held whole but passed on as they come.
    pub large: usize,
    /// Whether somebody will want to compare such a payload.
    pub fingerprints: bool,
}

/// What a fetch works with.
pub struct Tools {
    /// The way back, should the connection break.
    pub link: Link,
    /// On the source database.
    pub connection: Connection,
    /// What is to be read.
    pub keys: KeyQueue,
    /// Takes what was read.
    pub out: channel::Sender,
    /// Takes keys whose values the source does not send in one reply.
    pub pieces: Option<HandOver>,
    /// What is asked.
    pub asking: Asking,
    /// Expiries are not asked for while this stands: the database has none.
    pub still: Option<Arc<Still>>,
    /// How much may be asked at once; shared by all connections to the source.
    pub window: Arc<Window>,
    /// The size of a read buffer, in bytes.
    pub slab: usize,
    /// Where keys are counted.
    pub ledger: Ledger,
    /// Ends the reading.
    pub stop: CancellationToken,
}

/// What is awaited from the source.
#[derive(Debug)]
pub(super) enum Group {
    /// Answers about keys.
    Keys(Way, Moment, Box<Answers>),
    /// Whether it stood still.
    Still,
}

/// One fetch connection of one database.
pub struct Fetch {
    pub(super) tools: Tools,
    pub(super) row: Row,
    pub(super) outstanding: usize,
    /// What was asked for, and how far the answers to the first are.
    pub(super) groups: VecDeque<Group>,
    /// Values of the group at hand that may not be of one moment with their expiries.
    pub(super) provisional: Vec<(Told, Payload)>,
    /// Keys that turned out to be gone, and are not counted yet.
    pub(super) expired: u64,
    /// The value at hand came without a question for its expiry.
    pub(super) spared: bool,
    /// Such values came since the source was last known to stand still; they wait here.
    pub(super) unconfirmed: bool,
    held: Vec<Batch>,
    /// Bytes of those since the source's count was last asked for.
    pub(super) held_bytes: usize,
    /// Keys asked for so since the source's count was last asked for, and when the first of them was;
    /// groups asked for in all.
    pub(super) unasked: usize,
    pub(super) unsure_since: Instant,
    pub(super) asked_groups: usize,
    /// Expiries are asked for whatever INFO said: it is not so, or not so any more.
    pub(super) asks: bool,
    /// One was seen; the next reading tells which.
    pub(super) suspicious: bool,
    pub(super) mix: Mix,
    /// Strings in the MGET reply at hand.
    pub(super) strings: usize,
    /// Keys that are no strings, in wire form.
    pub(super) no_strings: Vec<Vec<u8>>,
    pub(super) batch: Batch,
    /// Payloads that the window has not been told of.
    pub(super) seen: Seen,
    /// Keys that a busy source will be asked for again, in wire form.
    pub(super) again: Vec<Vec<u8>>,
    /// Large ones among them that may be on the target already.
    pub(super) doubts: HashSet<Vec<u8>>,
    /// Nothing is outstanding, and the window has no room.
    pub(super) starved: bool,
    /// The window was half empty, and is not full yet: keys come in chunks that are smaller than it.
    pub(super) filling: bool,
    pub(super) backoff: Backoff,
    /// Connections that the source closed, perhaps for what it was asked.
    pub(super) cuts: Cuts,
    /// Keys that had gone in pieces when the last one was handed on for that.
    copied_in_pieces: u64,
    /// How long the source may say that it is busy, without telling anything.
    patience: Duration,
    pub(super) last_told: Instant,
    pub(super) busy: Option<ServerError>,
    pub(super) waits: Waits,
}

impl Fetch {
    /// A fetch task.
    pub fn new(mut tools: Tools) -> Self {
        tools.connection.limit_slab(tools.slab);
        let patience = tools.connection.timeouts().retry;
        Self {
            tools,
            row: Row::default(),
            outstanding: 0,
            groups: VecDeque::new(),
            provisional: Vec::new(),
            expired: 0,
            spared: false,
            unconfirmed: false,
            held: Vec::new(),
            held_bytes: 0,
            unasked: 0,
            unsure_since: Instant::now(),
            asked_groups: 0,
            asks: false,
            suspicious: false,
            mix: Mix::default(),
            strings: 0,
            no_strings: Vec::new(),
            batch: Batch::default(),
            seen: Seen::default(),
            again: Vec::new(),
            doubts: HashSet::new(),
            starved: false,
            filling: true,
            backoff: Backoff::default(),
            cuts: Cuts::default(),
            copied_in_pieces: 0,
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
            // Before anything is given up: nobody may take these keys for settled.
            self.tools.stop.cancel();
            self.fail_outstanding(error);
        }
        let mut left = self.row.take_rest();
        if self.tools.stop.is_cancelled() {
            left.extend(self.tools.keys.rest().await);
        }
        for keys in left {
            keys.iter().for_each(|wire| self.tools.ledger.leave(name_of(wire)));
        }
        self.tools.ledger.add_latency(Stage::Fetch, self.waits.latency());
        result
    }

    async fn read_all(&mut self) -> Result<()> {
        let mut tick = interval(TICK);
        // No timer of its own for each wait: each that is due before all others costs a system call.
        let mut look = interval(MOST_HELD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = true;
        loop {
            let stood_still = self.absorb()?;
            self.hand_over().await;
            if let Some(stands) = stood_still {
                self.confirm(stands).await;
                continue;
            }
            if self.large_at_hand().is_some() {
                if let Err(error) = self.pass_large().await {
                    self.recover(error).await?;
                }
                continue;
            }
            self.ask_again().await?;
            if self.tools.stop.is_cancelled() {
                more = false;
                self.starved = false;
            } else if self.again.is_empty() {
                self.ask();
            }
            let hungry = more && self.again.is_empty() && self.row.is_all_asked();
            self.ask_still(hungry);
            let waiting = !self.groups.is_empty();
            let starved = self.starved && !waiting;
            if !waiting && !hungry && !starved {
                if more || (!self.again.is_empty() && !self.tools.stop.is_cancelled()) {
                    continue;
                }
                self.give_up_again();
                return Ok(());
            }
            tokio::select! {
                biased;
                turn = self.tools.connection.turn(), if waiting => if let Err(error) = turn {
                    self.recover(error).await?;
                },
                keys = self.tools.keys.next(), if hungry => match keys {
                    Some(keys) => {
                        let by_value = self.tools.asking.by_value;
                        let way = if by_value { self.mix.next_way() } else { Way::Dump };
                        self.row.push(keys, way);
                        self.last_told = Instant::now();
                    }
                    None => more = false,
                },
                // Whoever names keys may wait for those that are held.
                _ = look.tick(), if hungry && !waiting && self.is_unsure() => {
                    self.ask_still(self.unsure_since.elapsed() < MOST_HELD);
                }
                () = self.tools.window.freed(), if starved => {}
                () = self.tools.stop.cancelled(), if more || starved => more = false,
                _ = tick.tick(), if waiting => {
                    if let Err(error) = self.tools.connection.check_silence(self.tools.stop.is_cancelled()) {
                        self.recover(error).await?;
                    }
                }
            }
        }
    }

    /// Connects again and goes back to the first key without an answer.
    async fn recover(&mut self, error: Error) -> Result<()> {
        // Whatever was read whole is good; its spans point into the old connection's buffer.
        self.provisional.clear();
        self.hand_over().await;
        let again = self.tools.link.reconnect(error, self.last_told).await?;
        self.asks |= !again.same_process;
        if !again.same_process {
            self.cuts.forget();
        } else if self.cuts.cut(self.outstanding) {
            self.hand_on_too_long().await;
        }
        self.tools.connection = again.connection;
        self.tools.connection.limit_slab(self.tools.slab);
        self.tools.window.give_back(self.outstanding);
        self.outstanding = 0;
        self.row.rewind();
        self.groups.clear();
        self.waits.forget();
        // Nobody knows whether the source stood still behind these.
        self.unasked = 0;
        self.confirm(false).await;
        Ok(())
    }

    /// The key at hand is longer than the source sends in one reply.
    async fn hand_on_too_long(&mut self) {
        let wire = self.row.awaited().to_vec();
        // A value that was passed on while it came, and broke off: it may be on the target all the same.
        let doubtful = self.doubts.remove(&wire);
        let key = name_of(&wire).to_vec();
        let taken = match &self.tools.pieces {
            Some(pieces) => {
                let taken = pieces.send(&key, false, doubtful).await;
                // A source that closes whatever it is asked for is none that only sends no long replies.
                let copied = pieces.copied.load(Ordering::Relaxed);
                if copied != std::mem::replace(&mut self.copied_in_pieces, copied) {
                    self.last_told = Instant::now();
                }
                taken
            }
            None => false,
        };
        if !taken {
            self.tools.ledger.add(Count::Scanned, 1);
            let text = format!(
                "the source closes the connection when it is asked for this value; its reply may be longer \
                 than the source's limits allow ({WHERE_TO_LOOK})"
            );
            self.tools.ledger.fail(&key, &text);
        }
        self.tools.window.give_back(1);
        self.step(1);
    }

    /// The values that wait go on if the source stood still; else they are asked for again, with their
    /// expiries.
    async fn confirm(&mut self, stands: bool) {
        self.unconfirmed = false;
        let held = std::mem::take(&mut self.held);
        self.asks |= !stands && !held.is_empty();
        for batch in held {
            if stands {
                self.send(batch).await;
                continue;
            }
            for form in [Form::Value, Form::Dump] {
                let of_form = batch.entries.iter().filter(|entry| entry.form == form);
                let keys = Keys::copied(of_form.map(|entry| entry.key.of(&batch.keys)));
                self.row.push(keys, if form == Form::Value { Way::Value } else { Way::Dump });
            }
        }
    }

    /// Sends the entries that were read to the lane, or keeps them until they are confirmed; waits
    /// while the lane has enough.
    pub(super) async fn hand_over(&mut self) {
        if self.tools.connection.decoded() == 0 || !self.provisional.is_empty() {
            return;
        }
        let slab = self.tools.connection.take_slab();
        if self.batch.entries.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.payloads = slab;
        match self.unconfirmed {
            true => {
                self.held_bytes += batch.cost();
                self.held.push(batch);
            }
            false => self.send(batch).await,
        }
    }

    /// Sends entries to the lane, and counts them.
    async fn send(&mut self, batch: Batch) {
        // First: whoever counts what became of them counts them, too.
        self.tools.ledger.add(Count::Scanned, batch.entries.len() as u64);
        if let Err(batch) = self.tools.out.send(batch).await {
            for entry in &batch.entries {
                self.tools.ledger.give_up(batch.name(entry), "the run ended before it was written");
            }
            // The lane says why; more keys would only fail too.
            self.tools.stop.cancel();
        }
    }

    /// Puts the keys of a busy source back into the row, after a while. New keys wait meanwhile.
    async fn ask_again(&mut self) -> Result<()> {
        if self.again.is_empty() || self.outstanding > 0 {
            return Ok(());
        }
        if self.last_told.elapsed() >= self.patience {
            let Some(busy) = self.busy.take() else {
                self.fail_again();
                return Ok(());
            };
            return Err(self.tools.connection.refused(b"DUMP", &busy));
        }
        if self.busy.is_some() || self.last_told.elapsed() > TICK {
            tokio::select! {
                biased;
                () = self.tools.stop.cancelled() => return Ok(()),
                () = sleep(self.backoff.next_delay()) => {}
            }
        }
        self.row.push(Keys::copied(self.again.iter().map(Vec::as_slice)), Way::Alone);
        self.again.clear();
        Ok(())
    }

    /// At the end: what a source was too busy for until now has failed.
    fn give_up_again(&mut self) {
        self.tools.ledger.add(Count::Scanned, self.again.len() as u64);
        for wire in self.again.drain(..) {
            let text = "the source stayed busy, or the key kept changing";
            self.tools.ledger.give_up(name_of(&wire), text);
        }
    }

    /// What never was of one moment with its expiry has failed.
    fn fail_again(&mut self) {
        self.tools.ledger.add(Count::Scanned, self.again.len() as u64);
        for wire in self.again.drain(..) {
            let text = "its value and its expiry kept changing while they were read";
            self.tools.ledger.fail(name_of(&wire), text);
        }
    }

    fn fail_outstanding(&mut self, error: &Error) {
        let batch = std::mem::take(&mut self.batch);
        for batch in self.held.drain(..).chain([batch]) {
            self.tools.ledger.add(Count::Scanned, batch.entries.len() as u64);
            for entry in &batch.entries {
                self.tools.ledger.give_up(batch.name(entry), error.message());
            }
        }
        self.tools.ledger.add(Count::Scanned, self.outstanding as u64);
        self.tools.window.give_back(self.outstanding);
        while self.outstanding > 0 {
            self.tools.ledger.give_up(name_of(self.row.awaited()), error.message());
            self.outstanding -= 1;
            self.row.step(1);
        }
        self.give_up_again();
    }
}
