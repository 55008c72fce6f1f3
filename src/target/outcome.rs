//! What the target's answer to a RESTORE means for its key.

use crate::command::{Cause, ServerError};
use crate::error::Side;
use crate::resp::{Kind, Reply};

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there.
    Copied,
    /// The target holds a key of this name.
    Exists,
    /// It passes by itself: send it again later.
    Again(ServerError),
    /// Its elements have to go one by one.
    Elements,
    /// It is not copied.
    Failed(String),
    /// The target could not read its payload.
    Unreadable(ServerError),
    /// The server has become a replica: send it again once there is a primary.
    ReadOnly(ServerError),
    /// Nothing more can be written.
    Fatal(ServerError),
}

/// Reads an ack.
pub(super) fn outcome(reply: &Reply<'_>) -> Outcome {
    let head = reply.head();
    match head.kind {
        Kind::Simple => return Outcome::Copied,
        // SET … NX on a key that is there.
        Kind::Null => return Outcome::Exists,
        // MSETNX: all of them, or none.
        Kind::Integer if head.number == 1 => return Outcome::Copied,
        Kind::Integer if head.number == 0 => return Outcome::Exists,
        Kind::Error => {}
        _ => return Outcome::Failed("the target answered something else than OK".into()),
    }
    let error = ServerError::parse(reply.body(head));
    match error.cause {
        Cause::KeyExists => Outcome::Exists,
        Cause::Transient => Outcome::Again(error),
        Cause::ReadOnly => Outcome::ReadOnly(error),
        Cause::PayloadFormat | Cause::PayloadVersion => Outcome::Unreadable(error),
        cause if cause.hits_every_key() => Outcome::Fatal(error),
        cause => Outcome::Failed(match cause.advice("RESTORE", Side::Target) {
            Some(advice) => format!("{error} ({advice})"),
            None => error.line,
        }),
    }
}
