//! A batch whose keys the target was asked for, and what its answers come to.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::compare::Tools;
use super::doubt::Doubt;
use super::equal::{Judge, Likeness, likeness};
use crate::command::{Cause, ServerError};
use crate::flow::{Batch, Entry, Form, name_of};
use crate::net::Connection;
use crate::report::Count;
use crate::source::expiry::{Ending, Layout, Moment, ask};
use crate::source::{Answers, Payload, Told};

/// Strings in one MGET: more gain nothing, and the target answers all of them before anybody else.
const VALUES: usize = 64;
/// Keys in one group, which the target answers without anybody else's turn in between.
const GROUP: usize = 128;

/// A batch whose answers are awaited.
pub(super) struct Asked {
    pub(super) batch: Batch,
    pub(super) since: Instant,
    /// The entry that the group at hand begins with.
    at: usize,
    /// Entries before this one are settled.
    pub(super) settled: usize,
    answers: Option<Answers>,
    /// What its values came to.
    seen: Vec<Seen>,
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
        Self { batch, since: Instant::now(), at: 0, settled: 0, answers: None, seen: Vec::new() }
    }

    /// Writes the questions: group by group, each of one moment.
    pub(super) fn ask(&mut self, connection: &mut Connection, judge: Judge) {
        (self.at, self.answers) = (0, None);
        self.seen.clear();
        let manner = (judge.target, Moment::of(judge.target));
        for group in self.batch.entries.chunks(GROUP) {
            let keys = group.iter().map(|entry| entry.key.of(&self.batch.keys));
            ask(connection.output(), manner, &layout(group), keys);
        }
    }

    /// The answers to the group at hand; `None`: all groups are answered.
    pub(super) fn answers(&mut self, judge: Judge) -> Option<&mut Answers> {
        let rest = self.batch.entries.get(self.at..).unwrap_or_default();
        let group = rest.chunks(GROUP).next()?;
        let manner = (judge.target, Moment::of(judge.target));
        Some(self.answers.get_or_insert_with(|| Answers::new(manner, layout(group), group.len())))
    }

    /// Holds the target's answer against the next entry of the group.
    pub(super) fn compare(
        &mut self,
        (told, payload): (Told, Payload),
        connection: &Connection,
        judge: Judge,
    ) -> Result<(), ServerError> {
        let Some(entry) = self.batch.entries.get(self.at + self.seen.len()) else { return Ok(()) };
        let seen = match payload {
            Payload::Bulk(token) => {
                let read = name_of(entry.payload.of(&self.batch.payloads));
                let held = connection.body(token);
                let same = match entry.form {
                    Form::Value => read == held,
                    Form::Dump => likeness(read, held, &judge.rule()) == Likeness::Same,
                };
                let on_time = matches!(told, Told::At(at) if judge.same_expiry(entry.expiry, at));
                if same && on_time { Seen::Same } else { Seen::Doubtful }
            }
            Payload::None => Seen::Doubtful,
            Payload::Refused(error) if error.cause.hits_every_key() => return Err(error),
            // An MGET is refused for one of its keys, or for now: each is looked at by itself.
            Payload::Refused(error)
                if error.cause == Cause::Transient || entry.form == Form::Value =>
            {
                Seen::Doubtful
            }
            Payload::Refused(error) => Seen::Refused(format!("the target refused DUMP: {error}")),
        };
        self.seen.push(seen);
        Ok(())
    }

    /// The value at hand was passed over: it is another one, or in another form.
    pub(super) fn passed_over(&mut self) {
        let Some(answers) = &mut self.answers else { return };
        if answers.awaits_value().flatten().is_some() {
            self.seen.push(Seen::Doubtful);
        }
        answers.passed();
    }

    /// The group at hand has come to its end: counts those that agree, and hands out the others.
    pub(super) fn end_group(&mut self, ending: &Ending, tools: &Tools, doubts: &mut Vec<Doubt>) {
        let keys = self.answers.take().map_or(0, |answers| answers.keys());
        let mut seen = std::mem::take(&mut self.seen).into_iter();
        let (mut same, mut bytes) = (0, 0);
        for number in 0..keys {
            let seen = seen.next().unwrap_or(Seen::Doubtful);
            let seen = match ending {
                Ending::Void(_) => Seen::Doubtful,
                Ending::Differing(places) if places.contains(&number) => Seen::Doubtful,
                _ => seen,
            };
            let Some(entry) = self.batch.entries.get(self.at) else { break };
            self.at += 1;
            if self.at <= self.settled {
                // From before the connection broke.
                continue;
            }
            self.settled = self.at;
            match seen {
                Seen::Same => {
                    same += 1;
                    bytes += u64::from(entry.bytes);
                }
                Seen::Doubtful => {
                    let key = entry.key.of(&self.batch.keys).to_vec();
                    doubts.push(Doubt { source: Some(tools.source), key });
                }
                Seen::Refused(why) => tools.ledger.fail(self.batch.name(entry), &why),
            }
        }
        tools.ledger.add(Count::Compared, same);
        tools.ledger.add_bytes(bytes);
    }

    /// Whether every entry has its answer.
    pub(super) fn is_answered(&self) -> bool {
        self.at == self.batch.entries.len()
    }
}

/// How a group is asked for: in the form that each key was read in.
fn layout(group: &[Entry]) -> Layout {
    let mut runs = VecDeque::new();
    let mut rest = group;
    while !rest.is_empty() {
        let values = rest.iter().take(VALUES).take_while(|entry| entry.form == Form::Value);
        let run = values.count();
        runs.push_back(run);
        rest = rest.get(run.max(1)..).unwrap_or_default();
    }
    Layout::Mixed(runs)
}
