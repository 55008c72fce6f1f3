//! Deletes keys of the source, and only while nobody touched them: watched, read, and then removed
//! in one transaction, which the server refuses if one of them was written to in between.

use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::Value;

/// The command that deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The memory is given back beside other work.
    Unlink,
    /// Where UNLINK is not known or not allowed.
    Del,
}

impl Removal {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Unlink => b"UNLINK",
            Self::Del => b"DEL",
        }
    }
}

/// What became of keys that were to be deleted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// So many were deleted; the others had expired by then.
    Keys(u64),
    /// None: one of them was touched, or the server was busy.
    Touched,
    /// None: the user may not delete one of them.
    Denied(ServerError),
}

/// Watches keys from now on. `Some`: the user has no right to one of them, and none is watched.
///
/// # Errors
/// The connection broke, or the server refuses WATCH.
pub async fn watch(connection: &mut Connection, names: &[&[u8]]) -> Result<Option<ServerError>> {
    let command = with_names(b"WATCH", names);
    match connection.call(&command).await? {
        Value::Error(line) => {
            let error = ServerError::parse(line.as_bytes());
            match error.cause {
                Cause::KeyDenied => Ok(Some(error)),
                _ => Err(connection.refused(b"WATCH", &error)),
            }
        }
        _ => Ok(None),
    }
}

/// Watches nothing any more.
///
/// # Errors
/// The connection broke, or the server refuses UNWATCH.
pub async fn unwatch(connection: &mut Connection) -> Result<()> {
    connection.demand(&[b"UNWATCH"]).await.map(drop)
}

/// Deletes some of the watched keys, all or none; nothing is watched afterwards.
///
/// # Errors
/// The connection broke (whether they were deleted is not known then), or the server refuses a
/// command that is needed.
pub async fn delete_watched(
    connection: &mut Connection,
    removal: Removal,
    names: &[&[u8]],
) -> Result<Removed> {
    // Its answer is waited for: outside a transaction the next command would delete unguarded.
    connection.demand(&[b"MULTI"]).await?;
    let command = with_names(removal.name(), names);
    let mut replies = connection.call_all(&[&command, &[b"EXEC"]]).await?.into_iter();
    if let Some(Value::Error(line)) = replies.next() {
        // EXEC has refused the rest then.
        return refused(connection, removal.name(), &line);
    }
    match replies.next() {
        Some(Value::Array(answers)) => match answers.first() {
            Some(Value::Integer(count)) => Ok(Removed::Keys(count.unsigned_abs())),
            Some(Value::Error(line)) => refused(connection, removal.name(), line),
            _ => {
                let text = "EXEC answered something else";
                Err(connection.place(Error::new(Kind::Protocol, text)))
            }
        },
        Some(Value::Error(line)) => refused(connection, b"EXEC", &line),
        _ => Ok(Removed::Touched),
    }
}

fn refused(connection: &Connection, command: &[u8], line: &str) -> Result<Removed> {
    let error = ServerError::parse(line.as_bytes());
    match error.cause {
        Cause::Transient => Ok(Removed::Touched),
        Cause::KeyDenied => Ok(Removed::Denied(error)),
        _ => Err(connection.refused(command, &error)),
    }
}

fn with_names<'a>(command: &'a [u8], names: &[&'a [u8]]) -> Vec<&'a [u8]> {
    std::iter::once(command).chain(names.iter().copied()).collect()
}
