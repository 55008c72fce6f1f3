//! Reads some keys of a server at once for whoever looks at them: each value with its expiry, of one
//! moment. Short values come whole; of longer ones their digest, so that nobody holds them.

use tokio_util::sync::CancellationToken;

use super::answer::Payload;
use super::answers::{Answers, Step};
use super::clock::{ExpiryClock, Told};
use super::expiry::{Ending, Layout, Moment, Trouble, ask, refusal};
use super::time_ms;
use crate::command::ServerError;
use crate::command::keyspace::ExpiryCommand;
use crate::error::{Error, Kind, Result};
use crate::flow::Form;
use crate::net::{Connection, Digest};
use crate::resp::Value;

/// How often keys are asked again that changed while they were read.
const TRIES: u32 = 5;

/// What a server holds of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing.
    Gone,
    /// The payload, whole.
    Whole(Vec<u8>),
    /// A payload that is longer than is held.
    Long {
        /// Its length.
        bytes: usize,
        /// Its first byte: of a DUMP the type.
        first: u8,
        /// The SHA-256 of what is not the server's own.
        digest: [u8; 32],
    },
    /// It does not say; why.
    Refused(String),
}

impl Held {
    /// The payload's length.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Whole(payload) => payload.len(),
            Self::Long { bytes, .. } => *bytes,
            Self::Gone | Self::Refused(_) => 0,
        }
    }
}

/// A key as a server held it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it expires, in Unix milliseconds by the target's clock; 0: never.
    pub expiry: i64,
    /// Its value.
    pub held: Held,
}

impl Reading {
    fn refused(why: &str) -> Self {
        Self { expiry: 0, held: Held::Refused(why.to_owned()) }
    }
}

/// How keys are read.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How the server's expiries are read.
    pub clock: ExpiryClock,
    /// How values and expiries are of one moment.
    pub moment: Moment,
    /// Whether values are asked for by DUMP or, of strings, as they are.
    pub form: Form,
    /// The longest payload that is held whole, in bytes.
    pub hold: usize,
}

/// Reads keys, bulk strings in wire form.
///
/// # Errors
/// The connection broke; the server is not ready, or refuses what every key needs.
pub async fn read(
    connection: &mut Connection,
    manner: Manner,
    keys: &[&[u8]],
    stop: &CancellationToken,
) -> Result<Vec<Reading>> {
    let mut found: Vec<Option<Reading>> = vec![None; keys.len()];
    let mut open: Vec<usize> = (0..keys.len()).collect();
    for _ in 0..TRIES {
        if open.is_empty() {
            break;
        }
        let these: Vec<&[u8]> = open.iter().filter_map(|&at| keys.get(at).copied()).collect();
        let (readings, ending) = once(connection, manner, &these, stop).await?;
        let unsure = match ending {
            Ending::Sound => Vec::new(),
            Ending::Differing(places) => places,
            Ending::Void(Trouble::Unsure) => (0..open.len()).collect(),
            Ending::Void(trouble) => {
                // Of one of them: each is tried by itself.
                let why = refusal(connection, &trouble)?;
                for (&at, key) in open.iter().zip(&these) {
                    let alone = match these.len() {
                        1 => Reading::refused(&why),
                        _ => Box::pin(read(connection, manner, &[key], stop)).await?.remove(0),
                    };
                    if let Some(place) = found.get_mut(at) {
                        *place = Some(alone);
                    }
                }
                open.clear();
                break;
            }
        };
        let mut again = Vec::new();
        for (number, (at, reading)) in open.into_iter().zip(readings).enumerate() {
            match reading.filter(|_| !unsure.contains(&number)) {
                Some(reading) => {
                    if let Some(place) = found.get_mut(at) {
                        *place = Some(reading);
                    }
                }
                None => again.push(at),
            }
        }
        open = again;
    }
    let kept_changing = || Reading::refused("it kept changing while it was read");
    Ok(found.into_iter().map(|reading| reading.unwrap_or_else(kept_changing)).collect())
}

/// Reads keys once; `None`: value and expiry contradict each other.
async fn once(
    connection: &mut Connection,
    manner: Manner,
    keys: &[&[u8]],
    stop: &CancellationToken,
) -> Result<(Vec<Option<Reading>>, Ending)> {
    let Manner { clock, moment, form, hold } = manner;
    let layout = match form {
        Form::Value => Layout::Strings,
        Form::Dump => Layout::Dumps,
    };
    ask(connection.output(), (clock, moment), &layout, keys.iter().copied());
    let mut answers = Answers::new((clock, moment), layout, keys.len());
    connection.expect_replies();
    let mut found = Vec::with_capacity(keys.len());
    loop {
        match answers.next(connection)? {
            Step::Value { told, payload } => {
                let held = match payload {
                    Payload::Bulk(token) => holding(connection.body(token), form, hold),
                    Payload::None => Held::Gone,
                    Payload::Refused(error) => {
                        let command = if form == Form::Value { "MGET" } else { "DUMP" };
                        Held::Refused(refusal(connection, &Trouble::Refused(command, error))?)
                    }
                };
                found.push(paired(told, held, form));
            }
            Step::End(ending) => {
                drop(connection.take_slab());
                found.resize(keys.len(), None);
                return Ok((found, ending));
            }
            Step::Wait => {
                let long = connection.announced().filter(|&bytes| bytes > hold);
                match (answers.awaits_value(), long) {
                    (Some(told), Some(bytes)) => {
                        let held = pass(connection, bytes, form, stop).await?;
                        answers.passed();
                        found.extend(told.map(|told| paired(told, held, form)));
                    }
                    _ => {
                        drop(connection.take_slab());
                        connection.turn_within(stop).await?;
                    }
                }
            }
        }
    }
}

/// `None`: one is there and the other is not. MGET tells so of a key that is no string.
fn paired(told: Told, held: Held, form: Form) -> Option<Reading> {
    match (told, held) {
        (Told::Gone, Held::Gone) => Some(Reading { expiry: 0, held: Held::Gone }),
        (Told::At(_), Held::Gone) => {
            (form == Form::Value).then_some(Reading { expiry: 0, held: Held::Gone })
        }
        (Told::At(expiry), held) => Some(Reading { expiry, held }),
        (Told::Gone, _) => None,
    }
}

fn holding(body: &[u8], form: Form, hold: usize) -> Held {
    if body.len() <= hold {
        return Held::Whole(body.to_vec());
    }
    let mut digest = Digest::of_first(body.len().saturating_sub(form.tail()));
    digest.update(body);
    let first = body.first().copied().unwrap_or_default();
    Held::Long { bytes: body.len(), first, digest: digest.finish() }
}

/// Reads over the payload at hand for its digest.
async fn pass(
    connection: &mut Connection,
    bytes: usize,
    form: Form,
    stop: &CancellationToken,
) -> Result<Held> {
    let mut digest = Digest::of_first(bytes.saturating_sub(form.tail()));
    let mut first = None;
    let mut pieces = connection.begin_pieces();
    while let Some(piece) = connection.next_piece(&mut pieces, stop).await? {
        first = first.or_else(|| piece.first().copied());
        digest.update(&piece);
    }
    Ok(Held::Long { bytes, first: first.unwrap_or_default(), digest: digest.finish() })
}

/// When one key expires, in Unix milliseconds by the target's clock (0: never); `None`: it is gone. Its
/// value is not asked for: the caller watches the key, or has use for the expiry alone.
///
/// # Errors
/// The connection broke, or the server refuses it.
pub async fn expiry_of(
    connection: &mut Connection,
    clock: ExpiryClock,
    name: &[u8],
) -> Result<Option<i64>> {
    let question = [clock.command.name().as_bytes(), name];
    // At once: over a distance, the way from one to the next would count as time that has passed.
    let timed: [&[&[u8]]; 3] = [&[b"TIME"], &question, &[b"TIME"]];
    let asked = match clock.command {
        ExpiryCommand::Absolute => &timed[1..2],
        ExpiryCommand::Remaining => &timed[..],
    };
    for _ in 0..TRIES {
        let replies = connection.demand_all(asked).await?;
        for (command, reply) in asked.iter().zip(&replies) {
            if let (Some(name), Value::Error(line)) = (command.first(), reply) {
                return Err(connection.refused(name, &ServerError::parse(line.as_bytes())));
            }
        }
        let (told, before, behind) = match &replies[..] {
            [told] => (told.integer(), Some(0), Some(0)),
            [before, told, behind] => (told.integer(), time_ms(before), time_ms(behind)),
            _ => (None, None, None),
        };
        let (Some(told), Some(before), Some(behind)) = (told, before, behind) else {
            return Err(unexpected(connection, clock.command.name()));
        };
        let apart = behind.saturating_sub(before);
        if (0..=super::CLOCKS_APART_MS).contains(&apart) || told < 0 {
            return Ok(match clock.read(told, before + apart / 2) {
                Told::Gone => None,
                Told::At(expiry) => Some(expiry),
            });
        }
    }
    let text = "TIME before and behind an expiry is too far apart: the server is too busy";
    Err(connection.place(Error::new(Kind::Server, text)).passing())
}

fn unexpected(connection: &Connection, command: &str) -> Error {
    let text = format!("a reply does not fit its request ({command})");
    connection.place(Error::new(Kind::Protocol, text))
}
