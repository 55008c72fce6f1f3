//! Whether a target's user may write the keys that are meant, where it may not write every key.

use super::Run;
use super::probe::refused_before_work;
use crate::command::keyspace::PROBE_KEY;
use crate::command::{Cause, ServerError};
use crate::config::Route;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, connect};
use crate::resp::Value;

/// Pages of names that are looked at, of so many keys: of each database until one may be written.
const PAGES: usize = 10;
const COUNT: &[u8] = b"1000";

/// Refuses a copy of which not one key may be written, of some that SCAN names first. `target` has to be on
/// any database: patterns of keys hold for all.
///
/// # Errors
/// [`Kind::Refused`]. Or a connection broke.
pub(super) async fn refuse_unwritable(
    run: &Run,
    routes: &[Route],
    target: &mut Connection,
) -> Result<()> {
    // Keys that are named in a file are few, and not the first that SCAN names.
    if run.plan.letters.is_some() || denied(target, &[PROBE_KEY.to_vec()]).await?.is_none() {
        return Ok(());
    }
    let (mut looked_at, mut refused) = (0, None);
    for route in routes {
        let mut source = connect(&run.source, route.source).await?;
        let mut cursor = b"0".to_vec();
        for _ in 0..PAGES {
            let reply = source.call(&[b"SCAN", &cursor, b"COUNT", COUNT]).await?;
            let Value::Array(parts) = reply else { break };
            let [Value::Bulk(next), Value::Array(names)] = &parts[..] else { break };
            let names = names.iter().filter_map(Value::bytes).map(<[u8]>::to_vec);
            let names: Vec<Vec<u8>> =
                names.filter(|name| run.plan.filter.admits_name(name)).collect();
            looked_at += names.len();
            if !names.is_empty() {
                refused = match denied(target, &names).await? {
                    None => return Ok(()),
                    refused => refused,
                };
            }
            if next == b"0" {
                break;
            }
            cursor.clone_from(next);
        }
    }
    let Some(error) = refused else { return Ok(()) };
    let text = format!(
        "the user may write none of the {looked_at} keys that were looked at: RESTORE was refused: {error}"
    );
    let advice = "grant the key pattern there: ACL SETUSER <user> ~<pattern>; where it may write few keys, name \
                  them by --match";
    Err(target.place(Error::new(Kind::Refused, text)).advise(advice))
}

/// What the server says to an attempt to write these keys, by a payload that is none, if it denies all of
/// them.
async fn denied(target: &mut Connection, names: &[Vec<u8>]) -> Result<Option<ServerError>> {
    let commands: Vec<[&[u8]; 4]> =
        names.iter().map(|name| [&b"RESTORE"[..], name, b"0", b""]).collect();
    let commands: Vec<&[&[u8]]> = commands.iter().map(|command| &command[..]).collect();
    let replies = target.try_all(&commands).await.map_err(refused_before_work)?;
    let mut error = None;
    for reply in &replies {
        let Value::Error(line) = reply else { return Ok(None) };
        let said = ServerError::parse(line.as_bytes());
        if said.cause != Cause::KeyDenied {
            return Ok(None);
        }
        error = Some(said);
    }
    Ok(error)
}
