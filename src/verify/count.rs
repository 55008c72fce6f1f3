//! The verification by name: every key that one side holds has its name on the other.
//!
//! The names come from a SCAN of one side; EXISTS asks the other in pipelines. What is missing there is
//! looked at again on both sides, since a key may have expired, or been deleted, in the meantime. Memory
//! is bounded by some SCAN pages and the names that are missing.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::command::{ServerError, keyspace};
use crate::error::{Error, Kind, Result};
use crate::flow::{KeyQueue, Keys};
use crate::net::Connection;
use crate::resp::Value;

/// Chunks of keys that are asked for at once: a distant target is waited for that much less often.
const TOGETHER: usize = 64;

/// Missing keys that are held, and the bytes of their names; all are counted.
const HELD: (usize, usize) = (32 << 10, 4 << 20);

/// Looks at a key that seems to be missing.
const ROUNDS: usize = 2;
/// Between them: twice what expiries of the two sides may differ by, so that a key that expires just
/// now is gone from both.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);

/// What was found in one database.
#[derive(Clone, Debug, Default)]
pub struct Lacking {
    /// Keys of the one side that the other lacks.
    pub count: u64,
    /// These keys in wire form, or the first of them.
    pub keys: Vec<Vec<u8>>,
    bytes: usize,
}

impl Lacking {
    /// Whether all of them are held.
    pub fn is_whole(&self) -> bool {
        self.count == self.keys.len() as u64
    }

    fn add(&mut self, wire: &[u8]) {
        self.count += 1;
        if self.keys.len() < HELD.0 && self.bytes + wire.len() <= HELD.1 {
            self.bytes += wire.len();
            self.keys.push(wire.to_vec());
        }
    }
}

/// Looks for the keys that `keys` brings from one side on the other.
///
/// # Errors
/// A connection broke, or a server refused EXISTS.
pub async fn lacking(
    one: &mut Connection,
    other: &mut Connection,
    keys: KeyQueue,
    stop: &CancellationToken,
) -> Result<Lacking> {
    let mut found = Lacking::default();
    while let Some(first) = keys.next().await {
        if stop.is_cancelled() {
            break;
        }
        let mut chunks = vec![first];
        while chunks.len() < TOGETHER
            && let Some(more) = keys.waiting().await
        {
            chunks.push(more);
        }
        let incomplete = incomplete(other, chunks).await?;
        let wires: Vec<&[u8]> = incomplete.iter().flat_map(Keys::iter).collect();
        let there = exist(other, &wires).await?;
        let absent = those(&wires, &there, false);
        still_lacking(one, other, absent).await?.into_iter().for_each(|wire| found.add(wire));
    }
    Ok(found)
}

/// The chunks of which a side does not hold every key: one command each, all of them at once.
async fn incomplete(side: &mut Connection, chunks: Vec<Keys>) -> Result<Vec<Keys>> {
    for chunk in &chunks {
        keyspace::count_existing(side.output(), chunk.iter());
    }
    let mut incomplete = Vec::new();
    for (reply, chunk) in side.receive(chunks.len()).await?.into_iter().zip(chunks) {
        if there(side, &reply)? < chunk.wires.len() as u64 {
            incomplete.push(chunk);
        }
    }
    Ok(incomplete)
}

/// Looks again at keys that the other side lacked: missing is what the one still holds after that.
async fn still_lacking<'a>(
    one: &mut Connection,
    other: &mut Connection,
    mut absent: Vec<&'a [u8]>,
) -> Result<Vec<&'a [u8]>> {
    for _ in 0..ROUNDS {
        let there = exist(one, &absent).await?;
        absent = those(&absent, &there, true);
        if absent.is_empty() {
            break;
        }
        sleep(BETWEEN_ROUNDS).await;
        let there = exist(other, &absent).await?;
        absent = those(&absent, &there, false);
    }
    let there = exist(one, &absent).await?;
    Ok(those(&absent, &there, true))
}

/// The keys that are there, or those that are not.
fn those<'a>(wires: &[&'a [u8]], there: &[bool], wanted: bool) -> Vec<&'a [u8]> {
    wires.iter().zip(there).filter(|&(_, &there)| there == wanted).map(|(&wire, _)| wire).collect()
}

async fn exist(connection: &mut Connection, wires: &[&[u8]]) -> Result<Vec<bool>> {
    for wire in wires {
        keyspace::exists(connection.output(), wire);
    }
    let replies = connection.receive(wires.len()).await?;
    replies.iter().map(|reply| Ok(there(connection, reply)? > 0)).collect()
}

/// How many keys there are, as EXISTS answered.
fn there(connection: &Connection, reply: &Value) -> Result<u64> {
    match reply {
        Value::Integer(count) => Ok(u64::try_from(*count).unwrap_or_default()),
        Value::Error(line) => {
            Err(connection.refused(b"EXISTS", &ServerError::parse(line.as_bytes())))
        }
        _ => {
            let text = "unexpected reply to EXISTS";
            Err(connection.place(Error::new(Kind::Protocol, text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_are_held_within_bounds_and_all_are_counted() {
        let mut found = Lacking::default();
        (0..HELD.0 + 7).for_each(|_| found.add(b"$1\r\nk\r\n"));
        assert_eq!((found.count, found.keys.len()), (HELD.0 as u64 + 7, HELD.0));
        assert!(!found.is_whole());
        let mut long = Lacking::default();
        (0..3).for_each(|_| long.add(&vec![b'x'; HELD.1 / 2]));
        assert_eq!((long.count, long.keys.len()), (3, 2));
    }
}
