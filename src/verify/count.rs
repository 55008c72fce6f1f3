//! The count verification: every key of the source has its name on the target.
//!
//! Where the numbers of `INFO keyspace` alone can prove it, they do: an unfiltered copy into an
//! empty database, no key with an expiry on either side, equal counts. Else the keys are named: a
//! SCAN of the source, EXISTS on the target in pipelines, a second look at what is missing (a key
//! may have expired, or gone from the source meanwhile). Memory is bounded by one SCAN page.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::command::info::Keyspace;
use crate::command::{ServerError, keyspace};
use crate::error::{Error, Kind, Result};
use crate::flow::{KeyQueue, name_of};
use crate::net::Connection;
use crate::resp::Value;
use crate::units::printable;

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

/// Whether the counts alone prove that both databases hold the same number of lasting keys.
pub fn counts_prove(source: Keyspace, target: Keyspace) -> bool {
    source.expires == 0 && target.expires == 0 && source.keys == target.keys
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
    while let Some(chunk) = keys.next().await {
        if stop.is_cancelled() {
            break;
        }
        let wires: Vec<&[u8]> = chunk.wires.iter().map(|wire| wire.of(&chunk.slab)).collect();
        let there = exist(target, &wires).await?;
        let absent: Vec<&[u8]> = lacking(&wires, &there);
        if absent.is_empty() {
            continue;
        }
        for wire in still_missing(source, target, absent).await? {
            found.missing += 1;
            if found.names.len() < NAMED {
                found.names.push(printable(name_of(wire)));
            }
        }
    }
    Ok(found)
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
    let mut there = Vec::with_capacity(wires.len());
    for reply in replies {
        there.push(match reply {
            Value::Integer(count) => count > 0,
            Value::Error(line) => {
                return Err(connection.refused(b"EXISTS", &ServerError::parse(line.as_bytes())));
            }
            _ => {
                let text = "EXISTS answered something else";
                return Err(connection.place(Error::new(Kind::Protocol, text)));
            }
        });
    }
    Ok(there)
}
