//! Reads a value element by element, whatever it is kept in. Only one element, or one block of a few
//! kilobytes, is unpacked at a time.

use std::borrow::Cow;

use super::kind::{self, Family, Kind, Type};
use super::packed::{self, Intset, Item, Listpack, Ziplist, Zipmap};
use super::reader::{Input, Reader};
use super::stream::{self, StreamId, StreamState};
use super::{PayloadError, Result, footer, module};

/// A quicklist's node that is one large item, not a block of items.
const PLAIN_NODE: u64 = 1;
const PACKED_NODE: u64 = 2;

/// The name and value of a stream entry's field: borrowed where they lie in the payload as they are.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// One element of a value.
#[derive(Clone, Debug)]
pub enum Part<'a> {
    /// A whole string.
    String(&'a [u8]),
    /// The next item of a list.
    Item(&'a [u8]),
    /// A member of a set.
    Member(&'a [u8]),
    /// A member of a sorted set and its score.
    Scored(&'a [u8], f64),
    /// A field of a hash.
    Field {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// When it expires by itself: milliseconds since 1970.
        expires: Option<u64>,
    },
    /// The next entry of a stream.
    Entry {
        /// Its id, larger than all before.
        id: StreamId,
        /// Its fields and values, in order.
        fields: &'a [Pair<'a>],
    },
    /// What a stream is beside its entries; comes last.
    State(&'a StreamState),
}

/// What is done with each part.
type Each<'e> = dyn FnMut(Part<'_>) -> Result<()> + 'e;

/// Hands out every part of a payload's value. The checksum is not looked at; see [`footer::check`].
///
/// # Errors
/// The type is not known, the value is malformed or does not end where the footer begins, or `each`
/// failed. Parts may have been handed out before that shows.
pub fn visit(payload: &[u8], each: &mut Each<'_>) -> Result<Kind> {
    let (body, footer) = footer::split(payload)?;
    visit_body(body, footer.version, each)
}

/// As [`visit`], for a type byte and body without a footer, written with this RDB version.
///
/// # Errors
/// As [`visit`].
pub fn visit_body(body: &[u8], version: u16, each: &mut Each<'_>) -> Result<Kind> {
    let mut reader = Reader::new(body);
    let of = Type::of(reader.byte("its type")?, version)?;
    let reader = &mut reader;
    match of.kind {
        Kind::String => each(Part::String(&reader.string()?))?,
        Kind::List => list(reader, of.byte, each)?,
        Kind::Set => set(reader, of.byte, each)?,
        Kind::SortedSet => sorted_set(reader, of.byte, each)?,
        Kind::Hash => hash(reader, of, each)?,
        Kind::Stream => stream::visit(reader, of.byte, each)?,
        Kind::Module => return Err(module::opaque(of.byte, reader.clone())),
    }
    match reader.left() {
        0 => Ok(of.kind),
        rest => Err(PayloadError::Trailing(rest)),
    }
}

fn list(reader: &mut Reader<'_>, byte: u8, each: &mut Each<'_>) -> Result<()> {
    let mut item = |item: Result<Item<'_>>| each(Part::Item(&item?.text()));
    match byte {
        kind::LIST_ZIPLIST => Ziplist::new(&reader.string()?)?.try_for_each(item),
        kind::LIST_QUICKLIST => {
            for _ in 0..reader.count(1)? {
                Ziplist::new(&reader.string()?)?.try_for_each(&mut item)?;
            }
            Ok(())
        }
        kind::LIST_QUICKLIST_2 => {
            for _ in 0..reader.count(2)? {
                let node = reader.number()?;
                let bytes = reader.string()?;
                match node {
                    PLAIN_NODE => item(Ok(Item::Bytes(&bytes)))?,
                    PACKED_NODE => Listpack::new(&bytes)?.try_for_each(&mut item)?,
                    _ => return Err(PayloadError::Malformed("a list's node of unknown form")),
                }
            }
            Ok(())
        }
        _ => {
            for _ in 0..reader.count(1)? {
                item(Ok(Item::Bytes(&reader.string()?)))?;
            }
            Ok(())
        }
    }
}

fn set(reader: &mut Reader<'_>, byte: u8, each: &mut Each<'_>) -> Result<()> {
    let mut member = |item: Result<Item<'_>>| each(Part::Member(&item?.text()));
    match byte {
        kind::SET_INTSET => {
            Intset::new(&reader.string()?)?.try_for_each(|n| member(n.map(Item::Integer)))
        }
        kind::SET_LISTPACK => Listpack::new(&reader.string()?)?.try_for_each(member),
        _ => {
            for _ in 0..reader.count(1)? {
                member(Ok(Item::Bytes(&reader.string()?)))?;
            }
            Ok(())
        }
    }
}

fn sorted_set(reader: &mut Reader<'_>, byte: u8, each: &mut Each<'_>) -> Result<()> {
    match byte {
        kind::ZSET_ZIPLIST => scored(Ziplist::new(&reader.string()?)?, each),
        kind::ZSET_LISTPACK => scored(Listpack::new(&reader.string()?)?, each),
        kind::ZSET_2 => {
            for _ in 0..reader.count(9)? {
                let member = reader.string()?;
                each(Part::Scored(&member, reader.double()?))?;
            }
            Ok(())
        }
        _ => {
            for _ in 0..reader.count(2)? {
                let member = reader.string()?;
                each(Part::Scored(&member, text_score(reader)?))?;
            }
            Ok(())
        }
    }
}

/// Members and scores in turn, out of one block.
fn scored<'a>(
    mut items: impl Iterator<Item = Result<Item<'a>>>,
    each: &mut Each<'_>,
) -> Result<()> {
    while let Some(member) = items.next() {
        let score = match packed::expect(&mut items)? {
            Item::Integer(number) => number as f64,
            Item::Bytes(text) => score(text)?,
        };
        each(Part::Scored(&member?.text(), score))?;
    }
    Ok(())
}

fn score(text: &[u8]) -> Result<f64> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or(PayloadError::Malformed("a score that is no number"))
}

/// A score as text with its length before it; three lengths stand for what has no digits.
pub(super) fn text_score<I: Input>(reader: &mut I) -> Result<f64, I::Error> {
    Ok(match reader.byte("a score")? {
        253 => f64::NAN,
        254 => f64::INFINITY,
        255 => f64::NEG_INFINITY,
        length => {
            let mut room = [0; 252];
            let text = room.get_mut(..usize::from(length)).unwrap_or_default();
            reader.fill(text, "a score")?;
            score(text)?
        }
    })
}

fn hash(reader: &mut Reader<'_>, of: Type, each: &mut Each<'_>) -> Result<()> {
    match (of.family, of.byte) {
        (Some(Family::Valkey), _) => {
            for _ in 0..reader.count(10)? {
                let (name, value) = (reader.string()?, reader.string()?);
                let expires = match reader.milliseconds()? {
                    -1 => None,
                    at => Some(expiry(at)?),
                };
                each(Part::Field { name: &name, value: &value, expires })?;
            }
            Ok(())
        }
        (_, kind::REDIS_HASH_METADATA_PRE_GA) => expiring_fields(reader, None, each),
        (_, kind::REDIS_HASH_METADATA) => {
            let least = expiry(reader.milliseconds()?)?;
            expiring_fields(reader, Some(least), each)
        }
        (_, kind::REDIS_HASH_LISTPACK_EX_PRE_GA) => triples(reader, each),
        (_, kind::REDIS_HASH_LISTPACK_EX) => {
            // The least expiry of all; the elements have their own.
            reader.milliseconds()?;
            triples(reader, each)
        }
        (_, kind::HASH_ZIPLIST) => pairs(Ziplist::new(&reader.string()?)?, each),
        (_, kind::HASH_LISTPACK) => pairs(Listpack::new(&reader.string()?)?, each),
        (_, kind::HASH_ZIPMAP) => Zipmap::new(&reader.string()?)?.try_for_each(|pair| {
            let (name, value) = pair?;
            each(Part::Field { name, value, expires: None })
        }),
        _ => {
            for _ in 0..reader.count(2)? {
                let (name, value) = (reader.string()?, reader.string()?);
                each(Part::Field { name: &name, value: &value, expires: None })?;
            }
            Ok(())
        }
    }
}

/// Expiry, name, value; an expiry counts from `least`, which is 1, or is absolute without it.
fn expiring_fields(reader: &mut Reader<'_>, least: Option<u64>, each: &mut Each<'_>) -> Result<()> {
    for _ in 0..reader.count(3)? {
        let expires = match (reader.number()?, least) {
            (0, _) => None,
            (at, None) => Some(at),
            (after, Some(least)) => {
                let at = least.checked_add(after - 1);
                Some(at.ok_or(PayloadError::Malformed("an expiry beyond all time"))?)
            }
        };
        let (name, value) = (reader.string()?, reader.string()?);
        each(Part::Field { name: &name, value: &value, expires })?;
    }
    Ok(())
}

/// Names and values in turn, out of one block.
fn pairs<'a>(mut items: impl Iterator<Item = Result<Item<'a>>>, each: &mut Each<'_>) -> Result<()> {
    while let Some(name) = items.next() {
        let value = packed::expect(&mut items)?.text();
        each(Part::Field { name: &name?.text(), value: &value, expires: None })?;
    }
    Ok(())
}

/// Names, values and expiries in turn, out of a listpack; no expiry is 0.
fn triples(reader: &mut Reader<'_>, each: &mut Each<'_>) -> Result<()> {
    let bytes = reader.string()?;
    let mut items = Listpack::new(&bytes)?;
    while let Some(name) = items.next() {
        let value = packed::expect(&mut items)?.text();
        let expires = match packed::expect(&mut items)?.number()? {
            0 => None,
            at => Some(expiry(at)?),
        };
        each(Part::Field { name: &name?.text(), value: &value, expires })?;
    }
    Ok(())
}

fn expiry(at: i64) -> Result<u64> {
    u64::try_from(at).map_err(|_| PayloadError::Malformed("an expiry before 1970"))
}
