//! What becomes of each key once the source has answered.

use tokio::time::Instant;

use super::answer::{Answer, Payload, time_ms};
use super::clock::{CLOCKS_APART_MS, Expiry};
use super::fetch::Fetch;
use super::row::Way;
use crate::command::keyspace::ExpiryCommand;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{Form, Keys, name_of};
use crate::net::Backoff;
use crate::report::Count;
use crate::resp::{self, Token, Value};

impl Fetch {
    /// Reads every whole reply that has come, and counts the keys that were told, also those before
    /// a refusal.
    pub(super) fn absorb(&mut self) -> Result<()> {
        let (outstanding, again) = (self.outstanding, self.again.len());
        let mut expired = 0;
        let result = self.read_replies(&mut expired);
        let answered = outstanding - self.outstanding;
        self.tools.window.release(answered, std::mem::take(&mut self.seen));
        let later = self.again.len() - again + self.no_strings.len();
        if answered > self.again.len() - again {
            self.last_told = Instant::now();
        }
        let no_strings = Keys::copied(self.no_strings.iter().map(Vec::as_slice));
        self.no_strings.clear();
        self.row.push(no_strings, Way::Dump);
        self.tools.ledger.add(Count::Scanned, (answered - later) as u64);
        self.tools.ledger.add(Count::Expired, expired);
        result
    }

    fn read_replies(&mut self, expired: &mut u64) -> Result<()> {
        let remaining = self.tools.asking.clock.command == ExpiryCommand::Remaining;
        while let Some(&(group, way)) = self.groups.front() {
            if matches!(self.answer, Answer::Begin) && !self.tools.asking.expiries {
                self.expiries.resize(group, Expiry::At(0));
                self.answer = Answer::Payloads;
            }
            let values =
                way == Way::Value && matches!(self.answer, Answer::Payloads | Answer::Values);
            let next = match values {
                // An MGET's values one by one: together they may be more than anybody should hold.
                true => self.tools.connection.next_node()?,
                false => self.tools.connection.next_reply()?,
            };
            let Some(reply) = next else { break };
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
                    *expired += u64::from(self.settle(expiry, payload)?);
                    self.end_group(group);
                }
                (Answer::Payloads, Way::Value) => {
                    let head = reply.head();
                    if head.kind == resp::Kind::Array && head.number == group as i64 {
                        self.strings = 0;
                        self.answer = Answer::Values;
                        continue;
                    }
                    let refused = reply.error().map(ServerError::parse);
                    self.groups.pop_front();
                    self.answer = Answer::Begin;
                    *expired += self.settle_refused(group, refused);
                }
                (Answer::Values, _) => {
                    let token = reply.head();
                    let value = (token.kind == resp::Kind::Bulk).then_some(token);
                    let expiry = self.expiries.pop_front().unwrap_or(Expiry::Gone);
                    *expired += u64::from(self.settle_value(expiry, value));
                    self.end_group(group);
                }
            }
        }
        Ok(())
    }

    /// Goes on to the next group once the payloads of this one, of so many keys, have all come.
    pub(super) fn end_group(&mut self, group: usize) {
        if !self.expiries.is_empty() {
            return;
        }
        self.groups.pop_front();
        if matches!(self.answer, Answer::Values) {
            self.mix.learn(self.strings, group);
        }
        self.answer = Answer::Begin;
    }

    /// What becomes of a key of an MGET; `true`: it is gone.
    fn settle_value(&mut self, expiry: Expiry, value: Option<Token>) -> bool {
        let wire = self.row.awaited();
        let mut gone = false;
        match (value, expiry) {
            (Some(value), Expiry::At(expiry)) => {
                self.strings += 1;
                self.seen.add(value.wire.len());
                self.batch.push(wire, value, Form::Value, expiry);
            }
            (None, Expiry::Gone) => gone = true,
            // Made anew between the two answers.
            (Some(_), Expiry::Gone) => self.again.push(wire.to_vec()),
            // No string, a key that this user may not read, an expiry that is not sure.
            (_, Expiry::At(_) | Expiry::Unknown) => self.no_strings.push(wire.to_vec()),
        }
        self.step();
        gone
    }

    /// What becomes of the keys of an MGET that was refused; answers how many are gone.
    fn settle_refused(&mut self, group: usize, refused: Option<ServerError>) -> u64 {
        let busy = refused.as_ref().is_some_and(|error| error.cause == Cause::Transient);
        let mut gone = 0;
        for _ in 0..group {
            let expiry = self.expiries.pop_front().unwrap_or(Expiry::Gone);
            if busy {
                self.again.push(self.row.awaited().to_vec());
                self.step();
            } else {
                gone += u64::from(self.settle_value(expiry, None));
            }
        }
        if busy {
            self.busy = refused;
        } else {
            self.mix.learn(0, group);
        }
        gone
    }

    /// The key at hand has an answer.
    pub(super) fn step(&mut self) {
        self.outstanding -= 1;
        self.row.step();
        self.waits.answered();
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
        let clock = self.tools.asking.clock;
        let read = |told: Option<i64>| told.map_or(Expiry::Unknown, |told| clock.read(told, now));
        self.expiries.extend(self.told.drain(..).map(read));
    }

    /// The source did not tell an expiry: DUMP's answer decides what becomes of the key.
    fn without_expiry(&self, error: Option<ServerError>) -> Result<Option<i64>> {
        match error {
            Some(error) if error.cause.hits_every_key() => Err(self
                .tools
                .connection
                .refused(self.tools.asking.clock.command.name().as_bytes(), &error)),
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
                self.seen.add(token.wire.len());
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
                return Err(self.tools.connection.refused(b"DUMP", &error));
            }
            (Payload::Refused(error), _) => {
                let text = format!("the source refused DUMP: {error}");
                self.tools.ledger.fail(name_of(wire), &text);
            }
            (Payload::Other, _) => return Err(self.out_of_step()),
        }
        self.step();
        Ok(gone)
    }

    fn out_of_step(&self) -> Error {
        let text = "a reply does not fit its request";
        self.tools.connection.place(Error::new(Kind::Protocol, text))
    }
}
