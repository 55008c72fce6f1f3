//! Which commands change keys, as the server itself marks them.

use crate::error::Result;
use crate::net::Connection;
use crate::resp::Value;

/// Commands that change keys though they are not marked as writing ones.
const ALSO_WRITE: [&str; 4] = ["debug", "failover", "replicaof", "slaveof"];

/// Those of these commands that can change a key, or may, since the server does not know them or does not
/// say it.
///
/// # Errors
/// The connection broke.
pub(super) async fn those_that_write<'a>(
    connection: &mut Connection,
    commands: &[&'a str],
) -> Result<Vec<&'a str>> {
    let mut question: Vec<&[u8]> = vec![b"COMMAND", b"INFO"];
    question.extend(commands.iter().map(|name| name.as_bytes()));
    let told = match connection.call(&question).await? {
        Value::Array(told) if told.len() == commands.len() => told,
        _ => return Ok(commands.to_vec()),
    };
    let reads = |told: &Value| match told {
        Value::Array(parts) => match parts.get(2) {
            Some(Value::Array(flags)) => !flags.iter().any(|flag| flag.text() == Some("write")),
            _ => false,
        },
        _ => false,
    };
    let writes = |(name, told): &(&&str, &Value)| !reads(told) || ALSO_WRITE.contains(*name);
    Ok(commands.iter().zip(&told).filter(writes).map(|(name, _)| *name).collect())
}
