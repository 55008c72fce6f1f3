//! A batch whose keys the target was asked for, and what its answers come to.

use tokio::time::Instant;

use super::compare::Tools;
use super::doubt::Doubt;
use super::equal::{Judge, Likeness, likeness};
use crate::command::keyspace::{self, ExpiryCommand};
use crate::command::{Cause, ServerError};
use crate::flow::{Batch, Entry, Form, name_of};
use crate::net::Connection;
use crate::resp::{self, Reply};

/// Strings in one MGET: more gain nothing, and the target answers all of them before anybody else.
const VALUES: usize = 64;
/// A batch whose answers are awaited.
pub(super) struct Asked {
    pub(super) batch: Batch,
    pub(super) since: Instant,
    /// The target's clock before its expiries were told.
    pub(super) clock_ms: i64,
    /// What was told of expiries; `None`: it is not sure.
    pub(super) told: Vec<Option<i64>>,
    /// The entry whose value is awaited.
    pub(super) at: usize,
    /// Entries before this one are settled.
    pub(super) settled: usize,
}

/// What a look at one key came to.
pub(super) enum Seen {
    Same,
    Doubtful,
    Refused(String),
}

impl Asked {
    /// A batch that is asked for now.
    pub(super) fn new(batch: Batch) -> Self {
        Self {
            told: Vec::with_capacity(batch.entries.len()),
            batch,
            since: Instant::now(),
            clock_ms: 0,
            at: 0,
            settled: 0,
        }
    }

    /// How many strings from the awaited entry on were asked for by one MGET; 0: it was a DUMP.
    pub(super) fn run(&self) -> usize {
        run_of_values(self.batch.entries.get(self.at..).unwrap_or_default())
    }

    /// Holds the target's answer against the entry at hand; also says how many bytes that were.
    pub(super) fn compare(
        &self,
        reply: &Reply<'_>,
        judge: Judge,
    ) -> Result<(Seen, u32), Option<ServerError>> {
        let Some(entry) = self.batch.entries.get(self.at) else { return Err(None) };
        let head = reply.head();
        let seen = match head.kind {
            resp::Kind::Bulk => {
                let read = name_of(entry.payload.of(&self.batch.payloads));
                let held = reply.body(head);
                let same = match entry.form {
                    Form::Value => read == held,
                    Form::Dump => likeness(read, held) == Likeness::Same,
                };
                if same && self.same_expiry(entry, judge) { Seen::Same } else { Seen::Doubtful }
            }
            resp::Kind::Null => Seen::Doubtful,
            resp::Kind::Error => {
                let error = ServerError::parse(reply.body(head));
                match error.cause {
                    Cause::Transient => Seen::Doubtful,
                    cause if cause.hits_every_key() => return Err(Some(error)),
                    _ => Seen::Refused(format!("the target refused DUMP: {error}")),
                }
            }
            _ => return Err(None),
        };
        Ok((seen, entry.bytes))
    }

    fn same_expiry(&self, entry: &Entry, judge: Judge) -> bool {
        match self.told.get(self.at).copied().flatten() {
            // Gone, and yet it had a value: made anew in between.
            None | Some(-2) => false,
            Some(told) => {
                let at = judge.target.expiry(told, self.clock_ms).unwrap_or(0);
                judge.same_expiry(entry.expiry, at)
            }
        }
    }

    /// Goes on to the next entry; `true`: the one at hand agrees, and was not counted before.
    pub(super) fn settle(&mut self, seen: Seen, tools: &Tools, doubts: &mut Vec<Doubt>) -> bool {
        let Some(entry) = self.batch.entries.get(self.at) else { return false };
        self.at += 1;
        if self.at <= self.settled {
            // From before the connection broke.
            return false;
        }
        self.settled = self.at;
        match seen {
            Seen::Same => return true,
            Seen::Doubtful => {
                let key = entry.key.of(&self.batch.keys).to_vec();
                doubts.push(Doubt { source: Some(tools.source), key });
            }
            Seen::Refused(why) => tools.ledger.fail(self.batch.name(entry), &why),
        }
        false
    }
}

/// Writes the questions: every expiry, then the values.
pub(super) fn ask(connection: &mut Connection, command: ExpiryCommand, batch: &Batch) {
    let output = connection.output();
    let remaining = command == ExpiryCommand::Remaining;
    if remaining {
        keyspace::time(output);
    }
    for entry in &batch.entries {
        keyspace::expiry(output, command, entry.key.of(&batch.keys));
    }
    if remaining {
        keyspace::time(output);
    }
    let mut rest = &batch.entries[..];
    while let Some((first, others)) = rest.split_first() {
        let run = run_of_values(rest);
        let Some((strings, behind)) = rest.split_at_checked(run).filter(|_| run > 0) else {
            keyspace::dump(output, first.key.of(&batch.keys));
            rest = others;
            continue;
        };
        keyspace::mget(output, strings.iter().map(|entry| entry.key.of(&batch.keys)));
        rest = behind;
    }
}

/// How many entries from the first on are strings that one MGET asks for.
fn run_of_values(entries: &[Entry]) -> usize {
    entries.iter().take(VALUES).take_while(|entry| entry.form == Form::Value).count()
}

/// What the target told of an expiry; `Ok(None)`: nothing sure.
pub(super) fn told_expiry(reply: &Reply<'_>) -> Result<Option<i64>, Option<ServerError>> {
    match (reply.integer(), reply.error().map(ServerError::parse)) {
        (Some(told), _) => Ok(Some(told)),
        (None, Some(error)) if error.cause.hits_every_key() => Err(Some(error)),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(None),
    }
}
