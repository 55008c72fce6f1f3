//! What the source answers about one key.

use crate::command::ServerError;
use crate::resp::{self, Reply, Token, Value};

/// How far the answers to a group have come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Nothing yet: TIME, where it was asked for, else the first expiry.
    Begin,
    Expiries,
    /// The expiries are told; the second TIME is awaited.
    Clock,
    Payloads,
    /// The array of an MGET has begun; its values are awaited one by one.
    Values,
}

/// What DUMP answered.
pub(super) enum Payload {
    Bulk(Token),
    None,
    Refused(ServerError),
    Other,
}

impl Payload {
    pub(super) fn of(reply: &Reply<'_>) -> Self {
        let head = reply.head();
        match head.kind {
            resp::Kind::Bulk => Self::Bulk(head),
            resp::Kind::Null => Self::None,
            resp::Kind::Error => Self::Refused(ServerError::parse(reply.body(head))),
            _ => Self::Other,
        }
    }
}

/// TIME's two numbers, seconds and microseconds, as Unix milliseconds.
pub fn time_ms(reply: &Value) -> Option<i64> {
    let [seconds, micros] = reply.elements()? else { return None };
    seconds.integer()?.checked_mul(1000)?.checked_add(micros.integer()? / 1000)
}
