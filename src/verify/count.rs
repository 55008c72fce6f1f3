//! The count verification: every key of the source has its name on the target.
//!
//! Where the numbers of `INFO keyspace` alone can prove it, they do: an unfiltered copy into an
//! empty database, equal counts, and no key that expired on the source meanwhile. Else the keys are
//! named: a SCAN of the source, EXISTS on the target in pipelines, a second look at what is missing (a
//! key may have expired, or gone from the source meanwhile). Memory is bounded by some SCAN pages.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::command::info::Keyspace;
use crate::command::{ServerError, keyspace};
use crate::error::{Error, Kind, Result};
use crate::flow::{KeyQueue, Keys, name_of};
use crate::net::Connection;
use crate::resp::Value;
use crate::units::printable;

/// Chunks of keys that are asked for at once: a distant target is waited for that much less often.
const TOGETHER: usize = 64;

/// Missing keys that are named; all are counted.
const NAMED: usize = 20;

/// Looks at a key that seems to be missing.
const ROUNDS: usize = 2;
/// Between them: twice what expiries of the two sides may differ by, so that a key that expires just
/// now is gone from both.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);

/// What was found in one database.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Keys of the source that the target lacks.
    pub missing: u64,
    /// Some of the missing keys, escaped.
    pub names: Vec<String>,
}

/// Whether the counts alone prove that a database, empty before the copy, holds all keys of the source.
///
/// It holds none but the source's. Where keys may have `expired` since the copy began, one that is gone
/// from the source and not yet from the target could hide one that is missing.
pub fn counts_prove(source: Keyspace, target: Keyspace, expired: bool) -> bool {
    let lasting = source.expires == 0 && target.expires == 0;
    source == target && (lasting || !expired)
}

/// Looks for the keys that `keys` brings on both sides.
///
/// # Errors
/// A connection broke, or a server refused EXISTS.
pub async fn count(
    source: &mut Connection,
    target: &mut Connection,
    keys: KeyQueue,
    stop: &CancellationToken,
) -> Result<Counted> {
    let mut found = Counted::default();
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
        let incomplete = incomplete(target, chunks).await?;
        let wires: Vec<&[u8]> = incomplete.iter().flat_map(Keys::iter).collect();
        let there = exist(target, &wires).await?;
        let absent: Vec<&[u8]> = lacking(&wires, &there);
        for wire in still_missing(source, target, absent).await? {
            found.missing += 1;
            if found.names.len() < NAMED {
                found.names.push(printable(name_of(wire)));
            }
        }
    }
    Ok(found)
}

/// The chunks of which the target does not hold every key: one command each, all of them at once.
async fn incomplete(target: &mut Connection, chunks: Vec<Keys>) -> Result<Vec<Keys>> {
    for chunk in &chunks {
        keyspace::count_existing(target.output(), chunk.iter());
    }
    let mut incomplete = Vec::new();
    for (reply, chunk) in target.receive(chunks.len()).await?.into_iter().zip(chunks) {
        if there(target, &reply)? < chunk.wires.len() as u64 {
            incomplete.push(chunk);
        }
    }
    Ok(incomplete)
}

/// Looks again at keys that the target lacked: missing is what the source still holds after that.
async fn still_missing<'a>(
    source: &mut Connection,
    target: &mut Connection,
    mut absent: Vec<&'a [u8]>,
) -> Result<Vec<&'a [u8]>> {
    for _ in 0..ROUNDS {
        let there = exist(source, &absent).await?;
        absent = holding(&absent, &there);
        if absent.is_empty() {
            break;
        }
        sleep(BETWEEN_ROUNDS).await;
        let there = exist(target, &absent).await?;
        absent = lacking(&absent, &there);
    }
    let there = exist(source, &absent).await?;
    Ok(holding(&absent, &there))
}

fn lacking<'a>(wires: &[&'a [u8]], there: &[bool]) -> Vec<&'a [u8]> {
    wires.iter().zip(there).filter(|&(_, &there)| !there).map(|(&wire, _)| wire).collect()
}

fn holding<'a>(wires: &[&'a [u8]], there: &[bool]) -> Vec<&'a [u8]> {
    wires.iter().zip(there).filter(|&(_, &there)| there).map(|(&wire, _)| wire).collect()
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
            let text = "EXISTS answered something else";
            Err(connection.place(Error::new(Kind::Protocol, text)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_prove_only_where_no_key_can_hide_another() {
        let held = |keys, expires| Keyspace { keys, expires };
        assert!(counts_prove(held(5, 0), held(5, 0), true));
        assert!(!counts_prove(held(5, 0), held(4, 0), false));
        assert!(counts_prove(held(5, 2), held(5, 2), false));
        assert!(!counts_prove(held(5, 2), held(5, 2), true));
        assert!(!counts_prove(held(5, 2), held(5, 1), false), "one lost its expiry");
    }
}
