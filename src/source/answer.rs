//! What a server answers about one key.

use crate::command::ServerError;
use crate::resp::{Token, Value};

/// What DUMP answered, or MGET about one of its keys.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Where it lies in the read buffer.
    Bulk(Token),
    /// There is none: the key is gone, or, of MGET, no string.
    None,
    /// The server refused it.
    Refused(ServerError),
}

/// TIME's two numbers, seconds and microseconds, as Unix milliseconds.
pub fn time_ms(reply: &Value) -> Option<i64> {
    let [seconds, micros] = reply.elements()? else { return None };
    seconds.integer()?.checked_mul(1000)?.checked_add(micros.integer()? / 1000)
}
