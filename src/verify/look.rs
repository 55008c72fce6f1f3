//! One look at some keys on both sides at once: what each holds, and whether it is the same.
//!
//! Everything is asked anew and alike on both sides, so a look needs to know nothing of an earlier
//! one. Values up to [`HELD`] are read whole, a group of them at once. Longer ones are told by their
//! SHA-256; where that differs, one side after the other is read whole for its canonical digest, by
//! one task of the run at a time.

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::equal::{Judge, Likeness, expiry_text, likeness};
use crate::command::keyspace::{self, ExpiryCommand};
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{Form, name_of};
use crate::net::{Connection, Digest};
use crate::payload::digest_payload;
use crate::report::DifferenceKind;
use crate::resp::{self, Value};
use crate::source::window::Seen;
use crate::source::{CLOCKS_APART_MS, ExpiryClock, time_ms};

/// Keys in one look: what is held of them is twice [`HELD`] for each, 4 MiB.
pub const GROUP: usize = 128;
/// The longest payload that is held whole, in bytes.
pub const HELD: usize = 16 << 10;
/// How often expiries are asked for because the clocks around them were too far apart.
const TRIES: u32 = 5;

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
    /// On the target database.
    pub target: &'a mut Connection,
    /// When expiries are the same.
    pub judge: Judge,
    /// Held while a long value is in memory whole.
    pub whole: &'a Semaphore,
    /// The run is being stopped: silent servers are not waited for as long.
    pub stop: &'a CancellationToken,
    /// Takes the sizes of the source's payloads.
    pub seen: &'a mut Seen,
}

/// What a server says of a key without its value.
struct Fact {
    /// As TYPE names it; `none`.
    kind: String,
    /// Unix milliseconds by the target's clock; 0: never.
    expiry: i64,
    refused: Option<ServerError>,
}

/// What DUMP answered.
enum Held {
    Gone,
    Whole(Vec<u8>),
    /// Its length, and the SHA-256 of what is not the server's own.
    Long(usize, [u8; 32]),
    Refused(ServerError),
}

impl Held {
    fn bytes(&self) -> usize {
        match self {
            Self::Whole(payload) => payload.len(),
            Self::Long(bytes, _) => *bytes,
            Self::Gone | Self::Refused(_) => 0,
        }
    }
}

impl Eyes<'_> {
    /// Looks at keys, bulk strings in wire form.
    ///
    /// # Errors
    /// A connection broke, or a server refuses what every key needs.
    pub async fn look(&mut self, keys: &[&[u8]]) -> Result<Vec<Finding>> {
        let judge = self.judge;
        let (at_source, at_target) = tokio::try_join!(
            facts(self.source, judge.source, keys),
            facts(self.target, judge.target, keys)
        )?;
        let facts: Vec<(Fact, Fact)> = at_source.into_iter().zip(at_target).collect();
        let both: Vec<&[u8]> = facts
            .iter()
            .zip(keys)
            .filter(|((source, target), _)| by_kind(source, target).is_none())
            .map(|(_, key)| *key)
            .collect();
        let (read, held) = tokio::try_join!(
            payloads(self.source, &both, self.stop),
            payloads(self.target, &both, self.stop)
        )?;
        read.iter().for_each(|held| self.seen.add(held.bytes()));
        let mut values = read.into_iter().zip(held);
        let mut findings = Vec::with_capacity(keys.len());
        for ((source, target), key) in facts.iter().zip(keys) {
            let finding = match by_kind(source, target) {
                Some(finding) => finding,
                None => match values.next() {
                    Some((read, held)) => self.by_value(key, (source, target), read, held).await?,
                    None => Finding::Gone,
                },
            };
            findings.push(finding);
        }
        Ok(findings)
    }

    async fn by_value(
        &mut self,
        key: &[u8],
        (source, target): (&Fact, &Fact),
        read: Held,
        held: Held,
    ) -> Result<Finding> {
        let likeness = match (read, held) {
            (Held::Refused(error), _) => return refused(self.source, &error),
            (_, Held::Refused(error)) => return refused(self.target, &error),
            (Held::Gone, Held::Gone) => return Ok(Finding::Gone),
            (Held::Gone, _) => return Ok(extra()),
            (_, Held::Gone) => return Ok(missing()),
            (Held::Whole(read), Held::Whole(held)) => likeness(&read, &held),
            (Held::Long(_, read), Held::Long(_, held)) if read == held => Likeness::Same,
            _ => self.long(name_of(key), source.kind == "string").await?,
        };
        Ok(match likeness {
            Likeness::Same if self.judge.same_expiry(source.expiry, target.expiry) => Finding::Same,
            Likeness::Same => {
                Finding::Differs(DifferenceKind::Expiry, expiry_text(source.expiry, target.expiry))
            }
            Likeness::Different => different("the values differ".to_owned()),
            Likeness::Unknown(why) => {
                different(format!("the payloads differ and cannot be compared: {why}"))
            }
        })
    }

    /// Compares values that are too long to be held beside others.
    async fn long(&mut self, name: &[u8], string: bool) -> Result<Likeness> {
        let form = if string { Form::Value } else { Form::Dump };
        let question = [form.question().as_bytes(), name];
        // Both to their ends: a connection that is left half-way is of no more use.
        let (read, held) = tokio::join!(
            self.source.digest_of(&question, form.tail(), self.stop),
            self.target.digest_of(&question, form.tail(), self.stop)
        );
        let (read, held) = match (read, held) {
            // Of another type by now, perhaps: the next look tells.
            (Err(error), _) | (_, Err(error)) if error.kind() == Kind::Server => {
                return Ok(Likeness::Unknown(error.message().to_owned()));
            }
            (read, held) => (read?, held?),
        };
        if read == held {
            return Ok(Likeness::Same);
        }
        if string {
            return Ok(Likeness::Different);
        }
        // Its encoding may differ: one side after the other, and no other task meanwhile.
        let _alone = self.whole.acquire().await;
        let read = canonical(self.source, name, self.stop).await?;
        let held = canonical(self.target, name, self.stop).await?;
        Ok(match (read, held) {
            (Ok(read), Ok(held)) if read == held => Likeness::Same,
            (Ok(_), Ok(_)) => Likeness::Different,
            (Err(why), _) | (_, Err(why)) => Likeness::Unknown(why),
        })
    }
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

/// What is known without the values; `None`: both hold a key of the same type.
fn by_kind(source: &Fact, target: &Fact) -> Option<Finding> {
    for (side, fact) in [("source", source), ("target", target)] {
        if let Some(error) = &fact.refused {
            return Some(Finding::Refused(format!("the {side} does not tell: {error}")));
        }
    }
    match (source.kind.as_str(), target.kind.as_str()) {
        ("none", "none") => Some(Finding::Gone),
        ("none", _) => Some(extra()),
        (_, "none") => Some(missing()),
        (one, other) if one == other => None,
        (one, other) => Some(different(format!("a {one} on the source, a {other} on the target"))),
    }
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
            reply => Ok(reply.integer().is_some_and(|count| count > 0)),
        });
    }
    match held.iter().find_map(|held| held.as_ref().err().filter(|e| e.cause.hits_every_key())) {
        Some(error) => Err(connection.refused(b"EXISTS", error)),
        None => Ok(held),
    }
}

/// What a refusal means: for this key, or for all.
fn refused(connection: &Connection, error: &ServerError) -> Result<Finding> {
    if error.cause.hits_every_key() {
        return Err(connection.refused(b"DUMP", error));
    }
    Ok(Finding::Refused(format!("a server refused DUMP: {error}")))
}

/// Asks for expiries and types.
async fn facts(
    connection: &mut Connection,
    clock: ExpiryClock,
    keys: &[&[u8]],
) -> Result<Vec<Fact>> {
    let remaining = clock.command == ExpiryCommand::Remaining;
    let clocks = usize::from(remaining);
    let mut tries = 1;
    loop {
        let output = connection.output();
        if remaining {
            keyspace::time(output);
        }
        keys.iter().for_each(|key| keyspace::expiry(output, clock.command, key));
        if remaining {
            keyspace::time(output);
        }
        keys.iter().for_each(|key| keyspace::key_type(output, key));
        let replies = connection.receive(2 * (keys.len() + clocks)).await?;
        let told = replies.get(clocks..clocks + keys.len()).unwrap_or_default();
        let kinds = replies.get(keys.len() + 2 * clocks..).unwrap_or_default();
        let at = |place: Option<&Value>| place.and_then(time_ms).unwrap_or_default();
        let (before, after) = (at(replies.first()), at(replies.get(clocks + keys.len())));
        if remaining && after - before > CLOCKS_APART_MS && tries < TRIES {
            tries += 1;
            continue;
        }
        let now = i64::midpoint(before, after);
        let mut facts = Vec::with_capacity(keys.len());
        for (told, kind) in told.iter().zip(kinds) {
            let refused = [told, kind].into_iter().find_map(|reply| match reply {
                Value::Error(line) => Some(ServerError::parse(line.as_bytes())),
                _ => None,
            });
            if let Some(error) = refused.as_ref().filter(|error| error.cause.hits_every_key()) {
                return Err(connection.refused(b"TYPE", error));
            }
            let expiry = told.integer().and_then(|told| clock.expiry(told, now)).unwrap_or(0);
            facts.push(Fact { kind: kind.text().unwrap_or("none").to_owned(), expiry, refused });
        }
        let busy = |fact: &Fact| {
            fact.refused.as_ref().is_some_and(|error| error.cause == Cause::Transient)
        };
        if facts.iter().any(busy) {
            // Waits until the server has time, or its time is up.
            connection.demand(&[b"EXISTS", b"keyferry:probe"]).await?;
            if tries < TRIES {
                tries += 1;
                continue;
            }
        }
        return Ok(facts);
    }
}

/// Asks for payloads; those that are too long are read over.
async fn payloads(
    connection: &mut Connection,
    keys: &[&[u8]],
    stop: &CancellationToken,
) -> Result<Vec<Held>> {
    keys.iter().for_each(|key| keyspace::dump(connection.output(), key));
    connection.expect_replies();
    let mut found = Vec::with_capacity(keys.len());
    while found.len() < keys.len() {
        if let Some(reply) = connection.next_node()? {
            let head = reply.head();
            let body = reply.body(head);
            found.push(match head.kind {
                resp::Kind::Bulk if body.len() <= HELD => Held::Whole(body.to_vec()),
                resp::Kind::Bulk => {
                    let mut digest = digest_of(body.len());
                    digest.update(body);
                    Held::Long(body.len(), digest.finish())
                }
                resp::Kind::Error => Held::Refused(ServerError::parse(body)),
                _ => Held::Gone,
            });
            continue;
        }
        if let Some(long) = connection.announced().filter(|&long| long > HELD) {
            let mut digest = digest_of(long);
            let mut pieces = connection.begin_pieces();
            while let Some(piece) = connection.next_piece(&mut pieces, stop).await? {
                digest.update(&piece);
            }
            found.push(Held::Long(long, digest.finish()));
            continue;
        }
        drop(connection.take_slab());
        connection.turn_within(stop).await?;
    }
    drop(connection.take_slab());
    Ok(found)
}

/// Of a payload of so many bytes, without its footer.
fn digest_of(payload: usize) -> Digest {
    Digest::of_first(payload.saturating_sub(Form::Dump.tail()))
}

/// The canonical digest of a value, which is held whole for it; or why there is none.
async fn canonical(
    connection: &mut Connection,
    name: &[u8],
    stop: &CancellationToken,
) -> Result<std::result::Result<u128, String>> {
    connection.output().command(&[b"DUMP", name]);
    connection.expect_replies();
    loop {
        if let Some(reply) = connection.next_reply()? {
            let head = reply.head();
            let body = reply.body(head);
            let digest = match head.kind {
                resp::Kind::Bulk => digest_payload(body).map_err(|error| error.to_string()),
                resp::Kind::Error => Err(ServerError::parse(body).line),
                resp::Kind::Null => Err("it has gone meanwhile".to_owned()),
                _ => {
                    let text = "DUMP answered something else";
                    return Err(connection.place(Error::new(Kind::Protocol, text)));
                }
            };
            drop(connection.take_slab());
            return Ok(digest);
        }
        connection.turn_within(stop).await?;
    }
}
