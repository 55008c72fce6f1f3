//! The members of one set, hash or sorted set of the source, page by page, for `merge`.

use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::Member;
use crate::net::Connection;
use crate::resp::Value;

/// Members asked for at once. A small value comes whole, whatever is asked for.
const COUNT: &[u8] = b"500";

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

/// Reads the page from `cursor` on: the next cursor (`0` at the end), and members. Fields of hashes come
/// without their expiries: see [`fields`].
///
/// # Errors
/// The connection broke, or the source refused the command.
pub async fn page(
    connection: &mut Connection,
    collection: Collection,
    key: &[u8],
    cursor: &[u8],
) -> Result<(Vec<u8>, Vec<Member>)> {
    let command = collection.scan_command();
    let reply = connection.demand(&[command, key, cursor, b"COUNT", COUNT]).await?;
    let parts = match reply {
        Value::Array(parts) => <[Value; 2]>::try_from(parts).ok(),
        _ => None,
    };
    let Some([Value::Bulk(next), Value::Array(told)]) = parts else {
        return Err(unfit(connection, command));
    };
    let mut told = told.into_iter().map(|one| match one {
        Value::Bulk(bytes) => bytes,
        other => other.bytes().unwrap_or_default().to_vec(),
    });
    let mut members = Vec::with_capacity(told.len());
    while let Some(name) = told.next() {
        let value = match collection {
            Collection::Set => Vec::new(),
            _ => told.next().ok_or_else(|| unfit(connection, command))?,
        };
        members.push(Member { name, value, expiry: 0 });
    }
    Ok((next, members))
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
