//! One look at some keys on both sides at once: what each holds, and whether it is the same.
//!
//! Everything is asked anew and alike on both sides, so a look needs to know nothing of an earlier
//! one. Values up to [`HELD`] are read whole, a group of them at once. Longer ones are told by their
//! SHA-256; where that differs, one side after the other is read whole for its canonical digest, by
//! one task of the run at a time.

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::equal::{Judge, Likeness, expiry_text, likeness};
use crate::command::{ServerError, keyspace};
use crate::error::{Error, Kind, Result};
use crate::flow::Form;
use crate::net::Connection;
use crate::payload::{ClockRule, Meaning, type_name};
use crate::report::DifferenceKind;
use crate::resp::Value;
use crate::source::expiry::Moment;
use crate::source::reading::{Held, Manner, Reading, read};
use crate::source::window::Seen;

/// Keys in one look: what is held of them is twice [`HELD`] for each, 4 MiB.
pub const GROUP: usize = 128;
/// The longest payload that is held whole, in bytes.
pub const HELD: usize = 16 << 10;

/// What a look at one key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Both sides hold the same.
    Same,
    /// Neither side holds it.
    Gone,
    /// In what way they differ, and the same for people.
    Differs(DifferenceKind, String),
    /// A server does not tell.
    Refused(String),
}

/// Two connections and what a look needs besides.
pub struct Eyes<'a> {
    /// On the source database.
    pub source: &'a mut Connection,
    /// The keys are watched on the source: what is touched there is noticed by its transaction.
    pub watched: bool,
    /// On the target database.
    pub target: &'a mut Connection,
    /// When values and expiries are the same.
    pub judge: Judge,
    /// Held while a long value is in memory whole.
    pub whole: &'a Semaphore,
    /// The run is being stopped: silent servers are not waited for as long.
    pub stop: &'a CancellationToken,
    /// Takes the sizes of the source's payloads.
    pub seen: &'a mut Seen,
}

impl Eyes<'_> {
    /// Looks at keys, bulk strings in wire form.
    ///
    /// # Errors
    /// A connection broke, or a server refuses what every key needs.
    pub async fn look(&mut self, keys: &[&[u8]]) -> Result<Vec<Finding>> {
        let (read, held) = self.read_both(keys, Form::Dump, HELD).await?;
        read.iter().for_each(|reading| self.seen.add(reading.held.bytes()));
        let mut findings = Vec::with_capacity(keys.len());
        for ((read, held), key) in read.into_iter().zip(held).zip(keys) {
            findings.push(match self.compared(&read, &held) {
                Some(finding) => finding,
                None => self.long(key, is_string(&read.held)).await?,
            });
        }
        Ok(findings)
    }

    fn manners(&self, form: Form, hold: usize) -> [Manner; 2] {
        let Judge { source, target, .. } = self.judge;
        let of = |clock| Manner { clock, moment: Moment::of(clock), form, hold };
        let source = of(source);
        let moment = if self.watched { Moment::Watched } else { source.moment };
        [Manner { moment, ..source }, of(target)]
    }

    async fn read_both(
        &mut self,
        keys: &[&[u8]],
        form: Form,
        hold: usize,
    ) -> Result<(Vec<Reading>, Vec<Reading>)> {
        let [of_source, of_target] = self.manners(form, hold);
        // Both to their ends: a connection that is left half-way is of no more use.
        let (read, held) = tokio::join!(
            read(self.source, of_source, keys, self.stop),
            read(self.target, of_target, keys, self.stop)
        );
        Ok((read?, held?))
    }

    /// What two readings tell; `None`: their values have to be read whole.
    fn compared(&self, read: &Reading, held: &Reading) -> Option<Finding> {
        for (side, reading) in [("source", read), ("target", held)] {
            if let Held::Refused(why) = &reading.held {
                return Some(Finding::Refused(format!("the {side} does not tell: {why}")));
            }
        }
        let likeness = match (&read.held, &held.held) {
            (Held::Gone, Held::Gone) => return Some(Finding::Gone),
            (Held::Gone, held) if self.has_expired(held, self.judge.source.ahead_ms) => {
                return Some(Finding::Gone);
            }
            (read, Held::Gone) if self.has_expired(read, 0) => return Some(Finding::Gone),
            (Held::Gone, _) => return Some(extra()),
            (_, Held::Gone) => return Some(missing()),
            (one, other) if kind(one) != kind(other) => {
                let (one, other) = (kind(one), kind(other));
                return Some(different(format!("a {one} on the source, a {other} on the target")));
            }
            (Held::Whole(read), Held::Whole(held)) => likeness(read, held, &self.judge.rule()),
            (Held::Long { digest: read, first, .. }, Held::Long { digest: held, .. })
                if read == held && self.judge.takes_bytes(*first) =>
            {
                Likeness::Same
            }
            _ => return None,
        };
        Some(self.judged(likeness, read.expiry, held.expiry))
    }

    /// Whether a side holds but a hash all of whose fields have expired by its clock, which is so far ahead
    /// of the source's. (A longer one is read as what it is, and differs.)
    fn has_expired(&self, held: &Held, ahead_ms: i64) -> bool {
        let Held::Whole(payload) = held else { return false };
        let now_ms = self.judge.rule().now_ms.saturating_add(ahead_ms);
        kind(held) == "hash"
            && Meaning::of(payload).is_ok_and(|meaning| meaning.has_expired(now_ms))
    }

    fn judged(&self, likeness: Likeness, source: i64, target: i64) -> Finding {
        match likeness {
            Likeness::Same if self.judge.same_expiry(source, target) => Finding::Same,
            Likeness::Same => Finding::Differs(DifferenceKind::Expiry, expiry_text(source, target)),
            Likeness::Different => different("the values differ".to_owned()),
            Likeness::Unknown(why) => {
                different(format!("the payloads differ and cannot be compared: {why}"))
            }
        }
    }

    /// Compares values that are too long to be held beside others.
    async fn long(&mut self, key: &[u8], string: bool) -> Result<Finding> {
        if string {
            // A DUMP may be compressed on one side.
            let (read, held) = self.read_both(&[key], Form::Value, 0).await?;
            return Ok(match (read.first(), held.first()) {
                (Some(read), Some(held)) => match (&read.held, &held.held) {
                    (Held::Long { digest: one, .. }, Held::Long { digest: other, .. }) => {
                        let same = if one == other { Likeness::Same } else { Likeness::Different };
                        self.judged(same, read.expiry, held.expiry)
                    }
                    // Changed meanwhile: the next look tells.
                    _ => different("it changed while it was compared".to_owned()),
                },
                _ => Finding::Gone,
            });
        }
        // Its encoding may differ: one side after the other, and no other task meanwhile.
        let _alone = self.whole.acquire().await;
        let [of_source, of_target] = self.manners(Form::Dump, usize::MAX);
        let rule = self.judge.rule();
        let read = canonical(self.source, of_source, key, &rule, self.stop).await?;
        let held = canonical(self.target, of_target, key, &rule, self.stop).await?;
        Ok(match (read, held) {
            (Ok((source, read)), Ok((target, held))) => {
                let same = match read.agrees(&held, &self.judge.rule()) {
                    true => Likeness::Same,
                    false => Likeness::Different,
                };
                self.judged(same, source, target)
            }
            (Err(why), _) | (_, Err(why)) => self.judged(Likeness::Unknown(why), 0, 0),
        })
    }
}

/// What TYPE would call it.
fn kind(held: &Held) -> &'static str {
    match held {
        Held::Whole(payload) => type_name(payload.first().copied().unwrap_or(u8::MAX)),
        Held::Long { first, .. } => type_name(*first),
        Held::Gone | Held::Refused(_) => "none",
    }
}

fn is_string(held: &Held) -> bool {
    kind(held) == "string"
}

pub(super) fn extra() -> Finding {
    Finding::Differs(DifferenceKind::Extra, "the source does not hold it".to_owned())
}

fn missing() -> Finding {
    Finding::Differs(DifferenceKind::Missing, "the target does not hold it".to_owned())
}

fn different(what: String) -> Finding {
    Finding::Differs(DifferenceKind::Different, what)
}

/// Which keys a server holds; of some it may not tell.
pub(super) async fn held(
    connection: &mut Connection,
    keys: &[&[u8]],
) -> Result<Vec<std::result::Result<bool, ServerError>>> {
    keys.iter().for_each(|key| keyspace::exists(connection.output(), key));
    let mut held = Vec::with_capacity(keys.len());
    for reply in connection.receive(keys.len()).await? {
        held.push(match reply {
            Value::Error(line) => Err(ServerError::parse(line.as_bytes())),
            Value::Integer(count) => Ok(count > 0),
            _ => {
                let text = "EXISTS answered something else";
                return Err(connection.place(Error::new(Kind::Protocol, text)));
            }
        });
    }
    match held.iter().find_map(|held| held.as_ref().err().filter(|e| e.cause.hits_every_key())) {
        Some(error) => Err(connection.refused(b"EXISTS", error)),
        None => Ok(held),
    }
}

/// A value's expiry and what it means, for which it is held whole; or why that is not known.
async fn canonical(
    connection: &mut Connection,
    manner: Manner,
    key: &[u8],
    rule: &ClockRule,
    stop: &CancellationToken,
) -> Result<std::result::Result<(i64, Meaning), String>> {
    let Some(Reading { expiry, held }) = read(connection, manner, &[key], stop).await?.pop() else {
        return Ok(Err("it was not read".to_owned()));
    };
    Ok(match held {
        Held::Whole(payload) => {
            Meaning::by(&payload, rule).map(|meaning| (expiry, meaning)).map_err(|e| e.to_string())
        }
        Held::Refused(why) => Err(why),
        Held::Gone | Held::Long { .. } => Err("it has gone meanwhile".to_owned()),
    })
}
