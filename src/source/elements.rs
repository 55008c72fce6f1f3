//! The members of one set, hash or sorted set of the source, page by page, for `merge`.

use tokio_util::sync::CancellationToken;

use super::pages::PageSize;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::Member;
use crate::net::Connection;
use crate::resp::{self, Value};

/// How often fields are asked for again that changed while they were read.
const TRIES: u32 = 5;

/// The types whose members can be merged one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Members.
    Set,
    /// Fields with values.
    Hash,
    /// Members with scores.
    SortedSet,
}

impl Collection {
    /// From the answer of TYPE.
    pub fn from_type(name: &str) -> Option<Self> {
        match name {
            "set" => Some(Self::Set),
            "hash" => Some(Self::Hash),
            "zset" => Some(Self::SortedSet),
            _ => None,
        }
    }

    /// Names its members page by page.
    pub fn scan_command(self) -> &'static [u8] {
        match self {
            Self::Set => b"SSCAN",
            Self::Hash => b"HSCAN",
            Self::SortedSet => b"ZSCAN",
        }
    }
}

/// What came of a page.
#[derive(Debug)]
pub enum Page {
    /// The next cursor (`0` at the end), and members. Fields of hashes come without their expiries: see
    /// [`fields`].
    Members(Vec<u8>, Vec<Member>),
    /// It was read over: so many bytes are more than may be held.
    TooLong(usize),
}

/// Reads the page from `cursor` on, of as many members as `size` says, which learns from it. Of a page that comes
/// to more than `most` bytes nothing is kept.
///
/// # Errors
/// The connection broke, or the source refused the command.
pub async fn page(
    connection: &mut Connection,
    collection: Collection,
    key: &[u8],
    cursor: &[u8],
    size: &mut PageSize,
    most: usize,
) -> Result<Page> {
    let command = collection.scan_command();
    let count = size.count().to_string();
    connection.output().command(&[command, key, cursor, b"COUNT", count.as_bytes()]);
    connection.expect_replies();
    if !matches!(node(connection, command, most).await?, Node::Array(2)) {
        return Err(unfit(connection, command));
    }
    let Node::Bytes(next) = node(connection, command, most).await? else {
        return Err(unfit(connection, command));
    };
    let Node::Array(length) = node(connection, command, most).await? else {
        return Err(unfit(connection, command));
    };
    let (mut strings, mut bytes) = (Vec::new(), 0_usize);
    for _ in 0..length {
        match node(connection, command, most).await? {
            Node::Bytes(string) => {
                bytes = bytes.saturating_add(string.len());
                strings.push(string);
            }
            Node::Long(length) => bytes = bytes.saturating_add(length),
            Node::Array(_) => return Err(unfit(connection, command)),
        }
        if bytes > most {
            strings = Vec::new();
        }
    }
    if bytes > most {
        return Ok(Page::TooLong(bytes));
    }
    let mut strings = strings.into_iter();
    let mut members = Vec::new();
    while let Some(name) = strings.next() {
        let value = match collection {
            Collection::Set => Vec::new(),
            _ => strings.next().ok_or_else(|| unfit(connection, command))?,
        };
        members.push(Member { name, value, expiry: 0 });
    }
    size.learn(members.len(), bytes);
    Ok(Page::Members(next, members))
}

/// One node of a page.
enum Node {
    Array(usize),
    Bytes(Vec<u8>),
    /// A string of so many bytes, which was read over.
    Long(usize),
}

async fn node(connection: &mut Connection, command: &[u8], most: usize) -> Result<Node> {
    let never = CancellationToken::new();
    loop {
        if let Some(head) = connection.next_node()? {
            return match head.kind {
                resp::Kind::Array => Ok(Node::Array(usize::try_from(head.number).unwrap_or(0))),
                resp::Kind::Bulk | resp::Kind::Simple => {
                    Ok(Node::Bytes(connection.body(head).to_vec()))
                }
                resp::Kind::Integer => Ok(Node::Bytes(head.number.to_string().into_bytes())),
                resp::Kind::Error => {
                    let error = ServerError::parse(connection.body(head));
                    Err(connection.refused(command, &error))
                }
                resp::Kind::Null => Err(unfit(connection, command)),
            };
        }
        if let Some(length) = connection.announced().filter(|&length| length > most) {
            let mut pieces = connection.begin_pieces();
            while connection.next_piece(&mut pieces, &never).await?.is_some() {}
            return Ok(Node::Long(length));
        }
        if connection.decoded() > 0 {
            drop(connection.take_slab());
        }
        connection.turn_within(&never).await?;
    }
}

/// Reads these fields of a hash again, each value with its expiry of one moment (Redis 7.4, Valkey 9.0);
/// those that are gone are left out. `None`: the source knows no such expiries.
///
/// # Errors
/// The connection broke, the source refused a command, or the fields kept changing.
pub async fn fields(
    connection: &mut Connection,
    key: &[u8],
    ahead_ms: i64,
    fields: &[Member],
) -> Result<Option<Vec<Member>>> {
    let number = fields.len().to_string();
    let names = || fields.iter().map(|field| &field.name[..]);
    let when: Vec<&[u8]> =
        [b"HPEXPIRETIME", key, b"FIELDS", number.as_bytes()].into_iter().chain(names()).collect();
    let what: Vec<&[u8]> = [b"HMGET", key].into_iter().chain(names()).collect();
    for _ in 0..TRIES {
        let replies = connection.call_all(&[&when, &what, &when]).await?;
        for (command, reply) in [b"HPEXPIRETIME", &b"HMGET"[..]].into_iter().zip(&replies) {
            let Value::Error(line) = reply else { continue };
            let error = ServerError::parse(line.as_bytes());
            return match error.cause {
                Cause::UnknownCommand => Ok(None),
                _ => Err(connection.refused(command, &error)),
            };
        }
        match &replies[..] {
            // The key is gone, by all three answers.
            [Value::Null, Value::Array(values), Value::Null]
                if values.iter().all(|value| matches!(value, Value::Null)) =>
            {
                return Ok(Some(Vec::new()));
            }
            // It went in the meantime, or one of them is not true.
            [Value::Null, ..] | [_, _, Value::Null] => {}
            [Value::Array(before), Value::Array(values), Value::Array(behind)]
                if [before, values].iter().all(|told| told.len() == fields.len()) =>
            {
                if before == behind {
                    return Ok(Some(paired(fields, values, before, ahead_ms)));
                }
            }
            _ => return Err(unfit(connection, b"HPEXPIRETIME or HMGET")),
        }
    }
    let text = "its fields kept changing on the source while they were read";
    Err(connection.place(Error::new(Kind::Server, text)))
}

fn paired(fields: &[Member], values: &[Value], told: &[Value], ahead_ms: i64) -> Vec<Member> {
    let read = fields.iter().zip(values).zip(told).filter_map(|((field, value), told)| {
        let expiry = match told.integer()? {
            -1 => 0,
            at @ 0.. => at.saturating_add(ahead_ms).max(1),
            // It is gone.
            _ => return None,
        };
        Some(Member { name: field.name.clone(), value: value.bytes()?.to_vec(), expiry })
    });
    read.collect()
}

fn unfit(connection: &Connection, command: &[u8]) -> Error {
    let text = format!("{} answered something else", String::from_utf8_lossy(command));
    connection.place(Error::new(Kind::Protocol, text))
}
