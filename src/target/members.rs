//! Adds a page of members to a collection that exists on the target, never changing one that is there: the
//! key is watched and looked at, and what it lacks is added in one transaction, which the server refuses if
//! somebody wrote to the key in between.
//!
//! ```text
//! WATCH  TYPE  PTTL  HEXISTS × n  MULTI   ──>   HSETNX, HPEXPIREAT … | SADD | ZADD   PTTL  EXEC
//! ```

use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::flow::Member;
use crate::net::Connection;
use crate::resp::Value;

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The key has all of its members.
    All,
    /// Nothing was added: there is no such key.
    Absent,
    /// Nothing was added: the key is of another type.
    OtherType,
    /// Nothing was added: somebody wrote to the key.
    Touched,
    /// Nothing was added: a field that is lacking expires later than fields of the target can.
    TooLate,
}

/// Adds `members` to a `kind` (as TYPE names it) of the target, whose fields expire at `latest` then (0: never),
/// in Unix milliseconds. After an error the connection may be in the middle of a transaction, and is of no use
/// any more.
///
/// # Errors
/// The connection broke, the target is not ready or refuses a command.
pub async fn add(
    target: &mut Connection,
    key: &[u8],
    kind: &str,
    members: &[Member],
    latest: i64,
) -> Result<Added> {
    let fields = if kind == "hash" { members } else { &[] };
    let look = look(target, key, fields).await?;
    let too_late = |(field, there): (&Member, &bool)| !there && field.expiry > latest;
    let nothing = match look.kind.as_str() {
        "none" => Some(Added::Absent),
        other if other != kind => Some(Added::OtherType),
        _ if fields.iter().zip(&look.there).any(too_late) => Some(Added::TooLate),
        _ => None,
    };
    if let Some(nothing) = nothing {
        // As UNWATCH, which would be one right more.
        target.demand(&[b"EXEC"]).await?;
        return Ok(nothing);
    }
    let commands = match kind {
        "hash" => lay_fields(target, key, members, &look.there),
        _ => lay_members(target, key, kind, members),
    };
    target.output().command(&[b"PTTL", key]);
    target.output().command(&[b"EXEC"]);
    let mut replies = target.receive(commands.len() + 2).await?;
    let executed = replies.pop().unwrap_or(Value::Null);
    for (command, reply) in commands.iter().chain(&[&b"PTTL"[..]]).zip(&replies) {
        let Value::Error(line) = reply else { continue };
        // EXEC has refused the rest then.
        return Err(target.refused(command, &ServerError::parse(line.as_bytes())));
    }
    let answers = match executed {
        Value::Null => return Ok(Added::Touched),
        Value::Array(answers) if answers.len() == replies.len() => answers,
        Value::Error(line) => {
            return Err(target.refused(b"EXEC", &ServerError::parse(line.as_bytes())));
        }
        _ => return Err(unexpected(target, "EXEC")),
    };
    for (command, answer) in commands.iter().zip(&answers) {
        match answer {
            Value::Integer(_) => {}
            // What HPEXPIREAT says of its field.
            Value::Array(told) if told.iter().all(|one| one.integer().is_some_and(|n| n > 0)) => {}
            Value::Error(line) => {
                return Err(target.refused(command, &ServerError::parse(line.as_bytes())));
            }
            _ => return Err(unexpected(target, &String::from_utf8_lossy(command))),
        }
    }
    match answers.last() {
        // Servers before 6.0.9 do not take this for a write to the key.
        Some(Value::Integer(-1)) if look.expires => {
            let text = "it expired on the target while members were added: it is there now with these alone, \
                        and without an expiry";
            let error = target.place(Error::new(Kind::Server, text));
            Err(error.advise("delete it there, and copy it again"))
        }
        _ => Ok(Added::All),
    }
}

/// What the target holds, which is watched; a transaction is begun.
struct Look {
    /// Its type; `none`: nothing.
    kind: String,
    expires: bool,
    /// Whether each field is there.
    there: Vec<bool>,
}

async fn look(target: &mut Connection, key: &[u8], fields: &[Member]) -> Result<Look> {
    let around: [&[&[u8]]; 3] = [&[b"WATCH", key], &[b"TYPE", key], &[b"PTTL", key]];
    let asked: Vec<[&[u8]; 3]> = fields.iter().map(|of| [&b"HEXISTS"[..], key, &of.name]).collect();
    let mut commands: Vec<&[&[u8]]> = around.to_vec();
    commands.extend(asked.iter().map(|command| &command[..]));
    // Its answer is waited for: outside of a transaction what comes next would be carried out unguarded.
    commands.push(&[b"MULTI"]);
    let replies = target.call_all(&commands).await?;
    for (command, reply) in commands.iter().zip(&replies) {
        let name = command.first().copied().unwrap_or_default();
        match reply {
            // Of another type, which TYPE tells.
            Value::Error(line) if name == b"HEXISTS" && line.starts_with("WRONGTYPE") => {}
            Value::Error(line) => {
                return Err(target.refused(name, &ServerError::parse(line.as_bytes())));
            }
            _ => {}
        }
    }
    let [watched, Value::Simple(kind), Value::Integer(left), there @ .., begun] = &replies[..]
    else {
        return Err(unexpected(target, "TYPE or PTTL"));
    };
    if [watched, begun].iter().any(|reply| reply.text() != Some("OK")) {
        return Err(unexpected(target, "WATCH or MULTI"));
    }
    let is_there = |reply: &Value| match reply {
        Value::Integer(count @ 0..=1) => Some(*count == 1),
        // Of another type.
        Value::Error(_) => Some(true),
        _ => None,
    };
    let there: Option<Vec<bool>> = there.iter().map(is_there).collect();
    let there = there.ok_or_else(|| unexpected(target, "HEXISTS"))?;
    Ok(Look { kind: kind.clone(), expires: *left >= 0, there })
}

/// Writes what sets the fields that are not there, each with its expiry; answers the commands.
fn lay_fields(
    target: &mut Connection,
    key: &[u8],
    fields: &[Member],
    there: &[bool],
) -> Vec<&'static [u8]> {
    let mut commands: Vec<&'static [u8]> = Vec::new();
    for (field, _) in fields.iter().zip(there).filter(|(_, there)| !**there) {
        target.output().command(&[b"HSETNX", key, &field.name, &field.value]);
        commands.push(b"HSETNX");
        if field.expiry > 0 {
            let at = field.expiry.to_string();
            let words: [&[u8]; 6] =
                [b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", &field.name];
            target.output().command(&words);
            commands.push(b"HPEXPIREAT");
        }
    }
    commands
}

/// Writes what adds members of a set, or of a sorted set with their scores (existing scores stay).
fn lay_members(
    target: &mut Connection,
    key: &[u8],
    kind: &str,
    members: &[Member],
) -> Vec<&'static [u8]> {
    let (command, mut arguments): (&'static [u8], Vec<&[u8]>) = match kind {
        "set" => (b"SADD", vec![b"SADD", key]),
        _ => (b"ZADD", vec![b"ZADD", key, b"NX"]),
    };
    for member in members {
        if command == b"ZADD" {
            arguments.push(&member.value);
        }
        arguments.push(&member.name);
    }
    target.output().command(&arguments);
    vec![command]
}

fn unexpected(connection: &Connection, command: &str) -> Error {
    connection.place(Error::new(Kind::Protocol, format!("unexpected reply to {command}")))
}
