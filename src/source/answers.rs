//! The answers to a group of keys, as they come: what [`super::expiry`] asked for, taken apart.

use super::answer::{Payload, time_ms};
use super::clock::{CLOCKS_APART_MS, ExpiryClock, Told};
use super::expiry::{Ending, Layout, Moment, Trouble};
use crate::command::ServerError;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::{self, Token, Value};

/// What the next bytes of a connection came to.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// More has to come first.
    Wait,
    /// The next value, and when its key expires; final unless the answers
    /// [are provisional](Answers::is_provisional). Of a group that ends void none is final.
    Value { told: Told, payload: Payload },
    /// The group has ended.
    End(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The answer to MULTI.
    Begin,
    /// `+QUEUED`, for each command.
    Queued,
    /// The header of EXEC's array.
    Executed,
    /// TIME before the expiries.
    Clock,
    Expiries,
    /// TIME behind them.
    ClockBehind,
    Values,
    /// Replies of a transaction that was refused from its beginning.
    Refused,
    End,
}

/// The answers to one group, as they come.
#[derive(Debug)]
pub(crate) struct Answers {
    clock: ExpiryClock,
    moment: Moment,
    layout: Layout,
    keys: usize,
    stage: Stage,
    /// Replies that [`Stage::Queued`] and [`Stage::Refused`] still await.
    left: usize,
    clock_ms: i64,
    /// What was told of expiries in the round at hand.
    raw: Vec<i64>,
    /// The expiries were asked for the second time.
    behind: bool,
    told: Vec<Told>,
    differing: Vec<usize>,
    /// The key whose value is awaited, and how many belong to the MGET at hand.
    at: usize,
    run: usize,
    /// So many of them are refused with one answer.
    refused: Option<ServerError>,
    trouble: Option<Trouble>,
}

impl Answers {
    /// The answers to `keys` keys that were asked for like this.
    pub(crate) fn new((clock, moment): (ExpiryClock, Moment), layout: Layout, keys: usize) -> Self {
        let mut answers = Self {
            clock,
            moment,
            layout,
            keys,
            stage: Stage::Begin,
            left: 0,
            clock_ms: 0,
            raw: Vec::new(),
            behind: false,
            told: Vec::new(),
            differing: Vec::new(),
            at: 0,
            run: 0,
            refused: None,
            trouble: None,
        };
        answers.left = answers.layout.commands(keys) + keys + answers.looks();
        match moment {
            Moment::Together => {}
            Moment::Twice | Moment::Watched => answers.begin_expiries(),
            Moment::Spared => answers.stage = Stage::Values,
        }
        answers
    }

    /// How many keys the group has.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Whether values that came may still turn out not to be of one moment with their expiries.
    pub(crate) fn is_provisional(&self) -> bool {
        self.moment == Moment::Twice
    }

    /// Whether a long bulk string at hand is a value of this group; `Some(None)`: it is one that does
    /// not count.
    pub(crate) fn awaits_value(&self) -> Option<Option<Told>> {
        match self.stage {
            Stage::Refused => Some(None),
            Stage::Values if self.trouble.is_some() => Some(None),
            Stage::Values => Some(self.told_at()),
            _ => None,
        }
    }

    /// Whether the value at hand is an element of an MGET.
    pub(crate) fn is_string(&self) -> bool {
        self.run > 0
    }

    /// The value at hand was taken piece by piece.
    pub(crate) fn passed(&mut self) {
        match self.stage {
            Stage::Refused => self.one_less(),
            _ => self.next_value(),
        }
    }

    /// Nothing of this group counts any more.
    pub(crate) fn void(&mut self) {
        self.trouble.get_or_insert(Trouble::Unsure);
    }

    fn timed(&self) -> bool {
        self.clock.command == ExpiryCommand::Remaining
    }

    /// Looks at the server's clock around one round of expiries.
    fn looks(&self) -> usize {
        if self.timed() { 2 } else { 0 }
    }

    fn begin_expiries(&mut self) {
        self.raw.clear();
        self.raw.reserve(self.keys);
        self.stage = if self.timed() { Stage::Clock } else { Stage::Expiries };
        if self.keys == 0 {
            self.stage = Stage::End;
        }
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// The peer's bytes are no RESP, or an answer does not fit its question.
    pub(crate) fn next(&mut self, connection: &mut Connection) -> Result<Step> {
        let mut value = None;
        self.take_values(connection, 1, |token, expiry| value = Some((token, expiry)));
        if let Some((token, expiry)) = value {
            return Ok(Step::Value { told: Told::At(expiry), payload: Payload::Bulk(token) });
        }
        loop {
            if let Some(error) = self.refused.clone() {
                if let Some(step) = self.value(Payload::Refused(error)) {
                    return Ok(step);
                }
                continue;
            }
            match self.stage {
                Stage::End => return Ok(Step::End(self.ending())),
                Stage::Queued => {
                    self.left -= connection.skip_repeats(keyspace::QUEUED, self.left);
                    if self.left == 0 {
                        self.stage = Stage::Executed;
                    }
                }
                _ => {}
            }
            let mut now = None;
            let head = match self.stage {
                Stage::Clock | Stage::ClockBehind => connection.next_reply()?.map(|reply| {
                    now = time_ms(&Value::of(&reply));
                    reply.head()
                }),
                Stage::Expiries => self.pass_expiries(connection)?,
                _ => connection.next_node()?,
            };
            let Some(head) = head else { return Ok(Step::Wait) };
            let error =
                (head.kind == resp::Kind::Error).then(|| ServerError::parse(connection.body(head)));
            let taken = match self.stage {
                Stage::Clock | Stage::ClockBehind => self.take_clock(now, error),
                Stage::Expiries => self.take_expiry(head, error),
                Stage::Values => match self.take_value(head, error) {
                    Some(None) => true,
                    Some(Some(payload)) => match self.value(payload) {
                        Some(step) => return Ok(step),
                        None => true,
                    },
                    None => false,
                },
                _ => self.take_frame(head, error),
            };
            if !taken {
                return Err(self.unfit(connection));
            }
        }
    }

    /// Takes values one behind the other, at most so many, as long as each is a bulk string that has
    /// come whole and whose key is there; answers how many. The last one of an MGET or a group, and
    /// whatever is not as usual, is left to [`Self::next`].
    pub(crate) fn take_values(
        &mut self,
        connection: &mut Connection,
        most: usize,
        mut take: impl FnMut(Token, i64),
    ) -> usize {
        let plain = self.stage == Stage::Values && self.trouble.is_none() && self.refused.is_none();
        let run = match self.layout {
            _ if !plain => 0,
            Layout::Dumps => self.keys - self.at,
            Layout::Strings | Layout::Mixed(_) => self.run,
        };
        let most = most.min(run.saturating_sub(1));
        let mut taken = 0;
        while taken < most
            && let Some(Told::At(expiry)) = self.told_at()
            && let Some(token) = connection.next_bulk()
        {
            take(token, expiry);
            self.at += 1;
            taken += 1;
        }
        self.run = self.run.saturating_sub(taken);
        taken
    }

    /// Takes expiries one behind the other; hands out the last one, or what is none.
    fn pass_expiries(&mut self, connection: &mut Connection) -> Result<Option<Token>> {
        while let Some(head) = connection.next_node()? {
            if head.kind != resp::Kind::Integer || self.raw.len() + 1 >= self.keys {
                return Ok(Some(head));
            }
            self.raw.push(head.number);
        }
        Ok(None)
    }

    fn unfit(&self, connection: &Connection) -> Error {
        let text = format!("a reply does not fit its request ({})", self.command());
        connection.place(Error::new(Kind::Protocol, text))
    }

    /// What a transaction puts around the answers; `false`: it does not fit.
    fn take_frame(&mut self, head: Token, error: Option<ServerError>) -> bool {
        match (self.stage, head.kind) {
            (Stage::Begin, resp::Kind::Simple) => self.stage = Stage::Queued,
            (Stage::Begin, resp::Kind::Error) => {
                self.refuse("MULTI", error);
                // The commands were carried out one by one, and EXEC was refused.
                self.left += 1;
                self.stage = Stage::Refused;
            }
            (Stage::Queued, resp::Kind::Simple) => self.left -= 1,
            (Stage::Queued, resp::Kind::Error) => {
                self.refuse(self.command(), error);
                self.left -= 1;
            }
            (Stage::Executed, resp::Kind::Error) => {
                self.refuse("EXEC", error);
                self.stage = Stage::End;
            }
            (Stage::Executed, resp::Kind::Array) if self.trouble.is_some() => {
                // Servers refuse a transaction of which they refused a part; what else answers may not.
                self.left = usize::try_from(head.number).unwrap_or(0);
                self.stage = if self.left == 0 { Stage::End } else { Stage::Refused };
            }
            (Stage::Executed, resp::Kind::Array) => {
                if head.number
                    != (self.layout.commands(self.keys) + self.keys + self.looks()) as i64
                {
                    return false;
                }
                self.begin_expiries();
            }
            (Stage::Refused, resp::Kind::Array) => {
                self.left += usize::try_from(head.number).unwrap_or(0);
                self.one_less();
            }
            (Stage::Refused, _) => self.one_less(),
            _ => return false,
        }
        if self.stage == Stage::Queued && self.left == 0 {
            self.stage = Stage::Executed;
        }
        true
    }

    fn one_less(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stage = Stage::End;
        }
    }

    fn take_clock(&mut self, now: Option<i64>, error: Option<ServerError>) -> bool {
        let now = match (now, error) {
            (_, Some(error)) => {
                self.refuse("TIME", Some(error));
                0
            }
            (Some(now), None) => now,
            (None, None) => return false,
        };
        if self.stage == Stage::Clock {
            self.clock_ms = now;
            self.stage = Stage::Expiries;
            return true;
        }
        let apart = now.saturating_sub(self.clock_ms);
        if (0..=CLOCKS_APART_MS).contains(&apart) {
            self.clock_ms += apart / 2;
        } else {
            self.void();
        }
        self.end_expiries();
        true
    }

    fn take_expiry(&mut self, head: Token, error: Option<ServerError>) -> bool {
        match head.kind {
            resp::Kind::Integer => self.raw.push(head.number),
            resp::Kind::Error => {
                self.refuse(self.clock.command.name(), error);
                self.raw.push(-2);
            }
            _ => return false,
        }
        if self.raw.len() == self.keys {
            if self.timed() {
                self.stage = Stage::ClockBehind;
            } else {
                self.end_expiries();
            }
        }
        true
    }

    /// All expiries of a round are there.
    fn end_expiries(&mut self) {
        let told = self.raw.iter().map(|&raw| self.clock.read(raw, self.clock_ms));
        if self.behind {
            let same = |(before, behind): (Told, Told)| match (before, behind) {
                (Told::At(before), Told::At(behind)) if before > 0 && behind > 0 => {
                    let allowed = if self.timed() { CLOCKS_APART_MS.unsigned_abs() } else { 0 };
                    before.abs_diff(behind) <= allowed
                }
                (before, behind) => before == behind,
            };
            let pairs = self.told.iter().copied().zip(told).enumerate();
            self.differing = pairs.filter(|(_, pair)| !same(*pair)).map(|(at, _)| at).collect();
            self.stage = Stage::End;
            return;
        }
        self.told = told.collect();
        self.stage = Stage::Values;
    }

    /// `Some(None)`: the header of an MGET's answer.
    fn take_value(&mut self, head: Token, error: Option<ServerError>) -> Option<Option<Payload>> {
        if self.run == 0 {
            let run = match &mut self.layout {
                Layout::Strings => self.keys,
                Layout::Dumps => 0,
                Layout::Mixed(runs) => runs.front().copied().unwrap_or(0),
            };
            if run > 0 {
                match (head.kind, error) {
                    (resp::Kind::Array, _) if head.number == run as i64 => {}
                    (_, Some(error)) => self.refused = Some(error),
                    _ => return None,
                }
                self.run = run;
                return Some(None);
            }
        }
        Some(Some(match (head.kind, error) {
            (resp::Kind::Bulk, _) => Payload::Bulk(head),
            (resp::Kind::Null, _) => Payload::None,
            (_, Some(error)) => Payload::Refused(error),
            _ => return None,
        }))
    }

    /// What was told of the key at hand; where nothing was asked, that it lasts.
    fn told_at(&self) -> Option<Told> {
        match self.moment {
            Moment::Spared => Some(Told::At(0)),
            _ => self.told.get(self.at).copied(),
        }
    }

    /// The step that a value makes; `None`: it does not count.
    fn value(&mut self, payload: Payload) -> Option<Step> {
        let told = self.told_at().filter(|_| self.trouble.is_none());
        self.next_value();
        told.map(|told| Step::Value { told, payload })
    }

    fn next_value(&mut self) {
        self.at += 1;
        let ended = self.run <= 1;
        self.run = self.run.saturating_sub(1);
        if ended {
            self.refused = None;
            if let Layout::Mixed(runs) = &mut self.layout {
                runs.pop_front();
            }
        }
        if self.at == self.keys {
            self.behind = true;
            match self.moment {
                Moment::Twice => self.begin_expiries(),
                _ => self.stage = Stage::End,
            }
        }
    }

    fn refuse(&mut self, command: &'static str, error: Option<ServerError>) {
        if let Some(error) = error {
            self.trouble.get_or_insert(Trouble::Refused(command, error));
        }
    }

    /// What was asked that is answered now, for messages.
    fn command(&self) -> &'static str {
        match self.stage {
            Stage::Begin => "MULTI",
            Stage::Executed | Stage::Refused => "EXEC",
            Stage::Clock | Stage::ClockBehind => "TIME",
            Stage::Expiries => self.clock.command.name(),
            Stage::Queued => {
                let commands = self.layout.commands(self.keys);
                let asked = commands + self.keys + self.looks() - self.left;
                let (first, behind) = (self.looks() / 2, self.looks() / 2 + self.keys);
                match asked {
                    asked if asked < first || (behind..behind + first).contains(&asked) => "TIME",
                    asked if asked < behind => self.clock.command.name(),
                    _ => self.layout.command(),
                }
            }
            Stage::Values | Stage::End => self.layout.command(),
        }
    }

    fn ending(&mut self) -> Ending {
        match (self.trouble.take(), std::mem::take(&mut self.differing)) {
            (Some(trouble), _) => Ending::Void(trouble),
            (None, differing) if differing.is_empty() => Ending::Sound,
            (None, differing) => Ending::Differing(differing),
        }
    }
}
