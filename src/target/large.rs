//! Writes an entry that nobody holds whole: its pieces go out as they come.
//!
//! A command that was begun has to be completed or its connection given up. The key is then asked of
//! the source again, so this lane writes nothing beside it that it would have to remember.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::crossing::Road;
use super::outcome::{Outcome, outcome};
use super::recovering::read_only;
use super::restore::Lane;
use crate::command::keyspace;
use crate::error::{Error, Kind, Result};
use crate::flow::{Form, Large, Piece, Verdict, name_of};
use crate::net::Backoff;
use crate::payload::FOOTER_BYTES;
use crate::report::{Count, Stage};
use crate::resp::Output;

/// So often the target may close the connection in the middle of the same value.
const TRIES: u32 = 5;
/// What may be the reason: the server closes at once then, and its word is often lost.
const TOO_LONG: &str = " (is it longer than the target's proto-max-bulk-len?)";
/// What it says, where its word arrives.
const REFUSED_LENGTH: &str = "invalid bulk length";
/// So often it may for a value that may be too long: then it goes element by element.
const TRIES_AT_ONCE: u32 = 2;
/// The least that `proto-max-bulk-len` can be, in bytes: a shorter value is not too long.
const LEAST_LIMIT: usize = 1 << 20;

/// Large values that the target did not take yet.
#[derive(Debug, Default)]
pub(super) struct Tries {
    broken: HashMap<Vec<u8>, u32>,
    busy: Backoff,
}

/// The last bytes of a payload that passes: its footer, once all has come.
#[derive(Default)]
struct Tail {
    bytes: [u8; FOOTER_BYTES],
    length: usize,
}

impl Tail {
    /// Lays what is certainly no footer, of what is held and the piece behind it.
    fn lay_behind(&mut self, output: &mut Output, piece: &Bytes) {
        let held = self.bytes.get(..self.length).unwrap_or_default();
        if piece.len() >= FOOTER_BYTES {
            output.copy(held);
            let body = piece.len() - FOOTER_BYTES;
            output.lay(piece, 0..body);
            self.length = FOOTER_BYTES;
            self.bytes.copy_from_slice(piece.get(body..).unwrap_or(&[0; FOOTER_BYTES]));
            return;
        }
        let both = [held, piece].concat();
        let (body, rest) = both.split_at(both.len().saturating_sub(FOOTER_BYTES));
        output.copy(body);
        self.length = rest.len();
        self.bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }
}

/// How the writing of a command ended.
enum Passed {
    /// The target answered. It stays in step only if it had been sent all of the command.
    Answered { outcome: Outcome, road: Road, whole: bool },
    /// Nothing was sent: the target has no such type, and nobody holds the value to encode it anew.
    Stopped,
    /// The source did not deliver the rest.
    Cut,
    /// The connection broke; `whole`: the target may have had all of the command.
    Broken { error: Error, whole: bool },
}

impl Lane {
    /// Writes one large entry and settles it. Nothing else may be without an ack.
    pub(super) async fn write_large(&mut self, mut large: Large) -> Result<()> {
        let limit = self.tools.hooks.pieces.as_ref().map_or(u64::MAX, |way| way.longest_bulk);
        if large.bytes as u64 > limit {
            let Large { key, pieces, verdict, doubtful, .. } = large;
            self.hand_over(&key, Some(pieces), doubtful, verdict).await;
            return Ok(());
        }
        let began = Instant::now();
        self.last_taken = began;
        let passed = self.pass_on(&mut large).await;
        let Large { key, form, bytes, pieces, verdict, doubtful, .. } = large;
        let name = name_of(&key);
        let (outcome, road) = match passed {
            Ok(Passed::Answered { outcome: Outcome::Failed(reason), whole, .. })
                if reason.contains(REFUSED_LENGTH) =>
            {
                let text = "the target takes no bulk string as long as this one";
                let verdict = self.start_over(text, name, verdict).await?;
                let to_come = Some(pieces).filter(|_| !whole);
                self.hand_over(&key, to_come, doubtful, verdict).await;
                return Ok(());
            }
            Ok(Passed::Answered { outcome: Outcome::ReadOnly(error), .. }) => {
                let error = read_only(&self.tools.connection, b"RESTORE", &error);
                let verdict = self.recover_from(error, name, verdict).await?;
                let _ = verdict.send(Verdict::Again { doubtful });
                return Ok(());
            }
            Ok(Passed::Answered { outcome, road, whole: true }) => (outcome, road),
            Ok(Passed::Stopped) => {
                self.hand_over(&key, Some(pieces), doubtful, verdict).await;
                return Ok(());
            }
            Ok(Passed::Answered { outcome, .. }) => {
                // It refused the value while it was still being sent, and closes.
                let text = "the target refused a value before it was sent whole";
                let verdict = self.start_over(text, name, verdict).await?;
                self.settle_refused(name, outcome, verdict);
                return Ok(());
            }
            Ok(Passed::Cut) => {
                let text = "the source did not deliver all of a large value";
                let verdict = self.start_over(text, name, verdict).await?;
                let _ = verdict.send(Verdict::Again { doubtful });
                return Ok(());
            }
            Ok(Passed::Broken { error, whole }) => {
                let sent = (whole, doubtful || whole);
                return self.after_break(error, sent, (key, bytes), pieces, verdict).await;
            }
            Err(error) => {
                return self.after_break(error, (true, true), (key, bytes), pieces, verdict).await;
            }
        };
        match outcome {
            // Only the whole value, or a reading of its elements, shows what is wrong with it.
            Outcome::Unreadable(_) if form == Form::Dump => {
                self.look_closer(&key, doubtful, verdict).await;
                return Ok(());
            }
            Outcome::Exists if doubtful || self.tools.may_be_ours() => {
                self.look_closer(&key, doubtful, verdict).await;
                return Ok(());
            }
            Outcome::Exists => self.settle_existing(name).await,
            Outcome::Copied => {
                self.acknowledged += 1;
                self.last_taken = Instant::now();
                self.tries = Tries::default();
                let ledger = &self.tools.ledger;
                ledger.add(Count::ByCommands, u64::from(form == Form::Value));
                ledger.add(Count::ByFooter, u64::from(road == Road::Footer));
                ledger.add_bytes(bytes as u64);
                ledger.add(Count::Copied, 1);
                self.latency.record(Stage::Restore, began.elapsed(), 1);
            }
            Outcome::Again(_) if self.last_taken.elapsed() < self.patience => {
                sleep(self.tries.busy.next_delay()).await;
                let _ = verdict.send(Verdict::Again { doubtful });
                return Ok(());
            }
            outcome => {
                self.settle_refused(name, outcome, verdict);
                return Ok(());
            }
        }
        let _ = verdict.send(Verdict::Settled);
        Ok(())
    }

    /// Writes the command with the pieces as they come, and reads its answer.
    async fn pass_on(&mut self, large: &mut Large) -> Result<Passed> {
        let only_new = !self.form.replace;
        let mut tail = Tail::default();
        let (mut first, mut head) = (None, Bytes::new());
        loop {
            match large.pieces.recv().await {
                None => return Ok(Passed::Cut),
                Some(Piece::End(_)) if first.is_none() => return Ok(Passed::Cut),
                Some(Piece::End(_)) => break,
                Some(Piece::Bytes(piece)) => {
                    if first.is_none() {
                        first = piece.first().copied();
                        head = piece.clone();
                        let byte = first.filter(|_| large.form == Form::Dump);
                        if byte.is_some_and(|byte| !self.tools.crossing.passes(byte)) {
                            return Ok(Passed::Stopped);
                        }
                        self.begin(large);
                    }
                    let output = self.tools.connection.output();
                    match large.form {
                        Form::Dump => tail.lay_behind(output, &piece),
                        Form::Value => output.lay(&piece, 0..piece.len()),
                    }
                    drop(piece);
                    while !self.tools.connection.output().is_empty() {
                        if let Err(error) =
                            self.tools.connection.turn_within(&self.tools.stop).await
                        {
                            return Ok(Passed::Broken { error, whole: false });
                        }
                        if let Some(reply) = self.tools.connection.next_reply()? {
                            let outcome = outcome(&reply);
                            let road = Road::Verbatim;
                            return Ok(Passed::Answered { outcome, road, whole: false });
                        }
                    }
                }
            }
        }
        let mut road = Road::Verbatim;
        if large.form == Form::Dump {
            let end;
            (end, road) = match self.tools.crossing.end_of(first.unwrap_or_default(), tail.bytes) {
                Ok(end) => end,
                // Its own end: the target says what it thinks of it.
                Err(_) => (tail.bytes, road),
            };
            self.tools.connection.output().copy(&end);
        }
        let output = self.tools.connection.output();
        output.copy(b"\r\n");
        match large.form {
            Form::Dump => output.copy(self.form.suffix()),
            Form::Value => keyspace::end_set(output, only_new, large.expiry),
        }
        self.tools.connection.expect_replies();
        loop {
            if let Some(reply) = self.tools.connection.next_reply()? {
                let outcome = match outcome(&reply) {
                    Outcome::Unreadable(error) => self.unreadable(&head, error),
                    outcome => outcome,
                };
                drop(self.tools.connection.take_slab());
                return Ok(Passed::Answered { outcome, road, whole: true });
            }
            if let Err(error) = self.tools.connection.turn_within(&self.tools.stop).await {
                return Ok(Passed::Broken { error, whole: true });
            }
        }
    }

    /// Writes what comes before the payload.
    fn begin(&mut self, large: &Large) {
        let only_new = !self.form.replace;
        let output = self.tools.connection.output();
        match large.form {
            Form::Dump => {
                output.copy(self.form.prefix());
                output.copy(&large.key);
                output.number(large.expiry);
            }
            Form::Value => {
                keyspace::begin_set(output, only_new, large.expiry);
                output.copy(&large.key);
            }
        }
        output.begin_bulk(large.bytes);
        self.tools.connection.expect_replies();
    }

    /// Gives up a connection in the middle of a command.
    async fn start_over(
        &mut self,
        text: &str,
        name: &[u8],
        verdict: oneshot::Sender<Verdict>,
    ) -> Result<oneshot::Sender<Verdict>> {
        let error = self.tools.connection.place(Error::new(Kind::Transport, text));
        self.recover_from(error, name, verdict).await
    }

    async fn recover_from(
        &mut self,
        error: Error,
        name: &[u8],
        verdict: oneshot::Sender<Verdict>,
    ) -> Result<oneshot::Sender<Verdict>> {
        match self.recover(error).await {
            Ok(()) => Ok(verdict),
            Err(error) => {
                self.tools.stop.cancel();
                self.give_up(name, error.message(), verdict);
                Err(error)
            }
        }
    }

    /// After the target's connection broke: once more, but not for ever.
    async fn after_break(
        &mut self,
        error: Error,
        (whole, doubtful): (bool, bool),
        (key, bytes): (Vec<u8>, usize),
        pieces: mpsc::Receiver<Piece>,
        verdict: oneshot::Sender<Verdict>,
    ) -> Result<()> {
        let why = error.message().to_owned();
        if let Err(error) = self.recover(error).await {
            self.tools.stop.cancel();
            self.give_up(name_of(&key), error.message(), verdict);
            return Err(error);
        }
        let tries = self.tries.broken.entry(key.clone()).or_default();
        *tries += 1;
        if *tries >= TRIES_AT_ONCE && bytes > LEAST_LIMIT && self.tools.hooks.pieces.is_some() {
            self.tries.broken.remove(&key);
            let to_come = Some(pieces).filter(|_| !whole);
            self.hand_over(&key, to_come, doubtful, verdict).await;
            return Ok(());
        }
        if *tries < TRIES {
            let _ = verdict.send(Verdict::Again { doubtful });
            return Ok(());
        }
        self.tries.broken.remove(&key);
        let text = format!(
            "the target broke off {TRIES} times while this value was sent: {why}{TOO_LONG}"
        );
        self.fail(name_of(&key), &text, verdict);
        Ok(())
    }

    /// Leaves a value that was read over to those who read it element by element, or has it sent once more, whole.
    async fn look_closer(&self, key: &[u8], doubtful: bool, verdict: oneshot::Sender<Verdict>) {
        if self.tools.hooks.pieces.is_some() {
            self.hand_over(key, None, doubtful, verdict).await;
        } else {
            let _ = verdict.send(Verdict::Whole { doubtful });
        }
    }

    /// Leaves a value to those who write it element by element, and look first whether it is there already,
    /// once the source has read over it: if its connection broke before, it would ask for the key again.
    async fn hand_over(
        &self,
        key: &[u8],
        to_come: Option<mpsc::Receiver<Piece>>,
        doubtful: bool,
        verdict: oneshot::Sender<Verdict>,
    ) {
        if let Some(mut pieces) = to_come {
            loop {
                match pieces.recv().await {
                    Some(Piece::Bytes(_)) => {}
                    Some(Piece::End(_)) => break,
                    None => {
                        let _ = verdict.send(Verdict::Again { doubtful });
                        return;
                    }
                }
            }
        }
        let name = name_of(key);
        let taken = match &self.tools.hooks.pieces {
            Some(way) => way.send(name, false, doubtful).await,
            None => false,
        };
        let verdict_is = if taken {
            Verdict::HandedOver
        } else {
            let text = format!("it does not go to the target at once{TOO_LONG}");
            self.tools.ledger.fail(name, &text);
            Verdict::Settled
        };
        let _ = verdict.send(verdict_is);
    }

    /// Settles an entry that the target refused, for itself or for good.
    fn settle_refused(&mut self, name: &[u8], outcome: Outcome, verdict: oneshot::Sender<Verdict>) {
        let (why, fatal) = match outcome {
            Outcome::Failed(reason) => (reason, None),
            Outcome::Unreadable(error) => (error.line, None),
            Outcome::Again(error) | Outcome::ReadOnly(error) | Outcome::Fatal(error) => {
                self.tools.stop.cancel();
                (error.line.clone(), Some(error))
            }
            Outcome::Copied | Outcome::Exists | Outcome::Elements => {
                ("the target answered before it had all of the value".to_owned(), None)
            }
        };
        if let Some(error) = fatal {
            self.give_up(name, &why, verdict);
            let error = self.tools.connection.refused(b"RESTORE", &error);
            self.fatal.get_or_insert(error);
        } else {
            self.fail(name, &why, verdict);
        }
    }

    /// As [`Self::fail`], where the run ends.
    pub(super) fn give_up(&self, name: &[u8], why: &str, verdict: oneshot::Sender<Verdict>) {
        if verdict.send(Verdict::Settled).is_ok() {
            self.tools.ledger.give_up(name, why);
        }
    }

    /// Counts a key as failed, unless its source broke before it had delivered all: then the key is
    /// still the reader's, who asks for it again or counts it.
    pub(super) fn fail(&self, name: &[u8], why: &str, verdict: oneshot::Sender<Verdict>) {
        if verdict.send(Verdict::Settled).is_ok() {
            self.tools.ledger.fail(name, why);
        }
    }
}
