//! What becomes of each key once the source has answered.

use tokio::time::Instant;

use super::answer::Payload;
use super::answers::Step;
use super::clock::Told;
use super::expiry::{Ending, Moment, Trouble, refusal};
use super::fetch::{Fetch, Group};
use super::row::Way;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{Keys, name_of};
use crate::net::Backoff;
use crate::report::Count;
use crate::resp;

impl Fetch {
    /// Reads every whole answer that has come, up to one that says whether the source stood still
    /// (`Some`: whether it did), and counts the keys that need no more.
    pub(super) fn absorb(&mut self) -> Result<Option<bool>> {
        let (outstanding, again) = (self.outstanding, self.again.len());
        let result = self.read_answers();
        let answered = outstanding - self.outstanding;
        if self.cuts.through(answered) {
            self.tools.window.narrow();
        }
        self.tools.window.release(answered, std::mem::take(&mut self.seen));
        if answered > self.again.len() - again {
            self.last_told = Instant::now();
        }
        let no_strings = Keys::copied(self.no_strings.iter().map(Vec::as_slice));
        self.no_strings.clear();
        self.row.push(no_strings, Way::Dump);
        let expired = std::mem::take(&mut self.expired);
        self.tools.ledger.add(Count::Scanned, expired);
        self.tools.ledger.add(Count::Expired, expired);
        result
    }

    fn read_answers(&mut self) -> Result<Option<bool>> {
        loop {
            self.take_values();
            let (way, moment, answers) = match self.groups.front_mut() {
                Some(Group::Keys(way, moment, answers)) => (*way, *moment, answers),
                Some(Group::Still) => return self.read_still(),
                None => return Ok(None),
            };
            match answers.next(&mut self.tools.connection)? {
                Step::Wait => return Ok(None),
                Step::Value { told, payload } if answers.is_provisional() => {
                    self.spared = false;
                    self.provisional.push((told, payload));
                }
                Step::Value { told, payload } => {
                    self.spared = moment == Moment::Spared;
                    self.unconfirmed |= self.spared;
                    self.settle(way, told, payload)?;
                }
                Step::End(ending) => {
                    let keys = answers.keys();
                    self.groups.pop_front();
                    self.end_group(way, keys, ending)?;
                }
            }
        }
    }

    /// Settles the values at hand of which there is no more to say than that they came, many at a
    /// time: [`Self::settle`] for most keys of most copies.
    fn take_values(&mut self) {
        let Some(Group::Keys(way, moment, answers)) = self.groups.front_mut() else { return };
        if answers.is_provisional() {
            return;
        }
        let (way, spared) = (*way, *moment == Moment::Spared);
        let (slab, wires) = self.row.awaited_run();
        let mut expires = false;
        let taken =
            answers.take_values(&mut self.tools.connection, wires.len(), |token, expiry| {
                self.seen.add(token.wire.len());
                self.batch.push_unnamed(token, way.form(), expiry);
                expires |= expiry > 0;
            });
        if taken == 0 {
            return;
        }
        self.batch.name_last(slab, wires.get(..taken).unwrap_or_default());
        self.spared = spared;
        self.unconfirmed |= spared;
        self.came(way, taken, expires);
        self.step(taken);
    }

    /// So many values came whole; one of them `expires`.
    fn came(&mut self, way: Way, values: usize, expires: bool) {
        self.strings += if way == Way::Value { values } else { 0 };
        if self.busy.take().is_some() {
            self.backoff = Backoff::default();
        }
        // Where INFO says that no key has one.
        self.suspicious |= expires && self.spares();
    }

    /// The source's count of changes, if it has come: whether it stands where it stood.
    fn read_still(&mut self) -> Result<Option<bool>> {
        let Some(reply) = self.tools.connection.next_reply()? else { return Ok(None) };
        let info = (reply.head().kind == resp::Kind::Bulk).then(|| reply.body(reply.head()));
        let still = self.tools.still.as_ref();
        let stands = still.zip(info).is_some_and(|(still, info)| still.stands(info));
        // Whatever the answer is: it would be asked for without end.
        let suspicious = std::mem::take(&mut self.suspicious);
        if let Some(still) = still.filter(|_| stands && suspicious) {
            still.lies();
        }
        self.groups.pop_front();
        Ok(Some(stands && !suspicious))
    }

    /// The group in front, which was taken off, has come to its end.
    pub(super) fn end_group(&mut self, way: Way, keys: usize, ending: Ending) -> Result<()> {
        let provisional = std::mem::take(&mut self.provisional);
        match ending {
            Ending::Void(trouble) => self.settle_void(way, keys, &trouble)?,
            Ending::Sound | Ending::Differing(_) => {
                for (at, (told, payload)) in provisional.into_iter().enumerate() {
                    match &ending {
                        Ending::Differing(places) if places.contains(&at) => self.ask_later(),
                        _ => self.settle(way, told, payload)?,
                    }
                }
            }
        }
        if way == Way::Value {
            self.mix.learn(std::mem::take(&mut self.strings), keys);
        }
        Ok(())
    }

    /// Nothing of a group counts: its keys are asked for again, each by itself.
    fn settle_void(&mut self, way: Way, keys: usize, trouble: &Trouble) -> Result<()> {
        let why = match trouble {
            Trouble::Refused(_, error) if error.cause == Cause::Transient => {
                self.busy = Some(error.clone());
                None
            }
            Trouble::Unsure => None,
            // What hits every key ends the run.
            Trouble::Refused(..) => Some(refusal(&self.tools.connection, trouble)?),
        };
        for _ in 0..keys {
            match &why {
                Some(why) if way == Way::Alone => self.fail(why),
                _ => self.ask_later(),
            }
        }
        Ok(())
    }

    /// The key at hand goes round again.
    pub(super) fn ask_later(&mut self) {
        self.again.push(self.row.awaited().to_vec());
        self.step(1);
    }

    /// So many keys from the one at hand on have their answers.
    pub(super) fn step(&mut self, keys: usize) {
        self.outstanding -= keys;
        self.row.step(keys);
        self.waits.answered(keys);
    }

    /// The key at hand is not copied.
    fn fail(&mut self, why: &str) {
        self.tools.ledger.add(Count::Scanned, 1);
        self.tools.ledger.fail(name_of(self.row.awaited()), why);
        self.step(1);
    }

    /// What becomes of the key at hand, now that its value and its expiry are there.
    fn settle(&mut self, way: Way, told: Told, payload: Payload) -> Result<()> {
        let wire = self.row.awaited();
        match (payload, told) {
            (Payload::Bulk(token), Told::At(expiry)) => {
                self.seen.add(token.wire.len());
                self.batch.push(wire, token, way.form(), expiry);
                self.came(way, 1, expiry > 0);
            }
            (Payload::None, Told::Gone) => self.expired += 1,
            (Payload::None, Told::At(_)) if way == Way::Value => {
                // No string, or a key that this user may not read.
                self.no_strings.push(wire.to_vec());
            }
            // A key with an expiry, or with none, is gone, or one that is gone is there: perhaps it has
            // expired between the two answers. Where the question was spared, it is asked from here on.
            (Payload::None | Payload::Bulk(_), _) => {
                self.asks |= self.spared;
                self.again.push(wire.to_vec());
            }
            (Payload::Refused(error), _) => return self.settle_refused(way, error),
        }
        self.step(1);
        Ok(())
    }

    /// The value of the key at hand was refused, not its expiry.
    fn settle_refused(&mut self, way: Way, error: ServerError) -> Result<()> {
        let command = if way == Way::Value { "MGET" } else { "DUMP" };
        match error.cause {
            Cause::Transient => {
                self.ask_later();
                self.busy = Some(error);
            }
            _ if way == Way::Value => {
                self.no_strings.push(self.row.awaited().to_vec());
                self.step(1);
            }
            cause if cause.hits_every_key() => {
                return Err(self.tools.connection.refused(command.as_bytes(), &error));
            }
            _ => self.fail(&format!("the source refused {command}: {error}")),
        }
        Ok(())
    }

    /// What did not fit together.
    pub(super) fn out_of_step(&self) -> Error {
        let text = "a reply does not fit its request";
        self.tools.connection.place(Error::new(Kind::Protocol, text))
    }
}
