//! Adds members to a collection that exists on the target, never changing one that is there.

use crate::command::ServerError;
use crate::error::Result;
use crate::net::Connection;
use crate::resp::Value;

/// Adds members to a set.
///
/// # Errors
/// As [`Connection::demand`].
pub async fn add_to_set(target: &mut Connection, key: &[u8], members: &[Vec<u8>]) -> Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let mut arguments: Vec<&[u8]> = vec![b"SADD", key];
    arguments.extend(members.iter().map(Vec::as_slice));
    target.demand(&arguments).await.map(drop)
}

/// Adds members with scores (`member, score, member, score, …`); existing scores stay.
///
/// # Errors
/// As [`Connection::demand`].
pub async fn add_to_sorted_set(
    target: &mut Connection,
    key: &[u8],
    pairs: &[Vec<u8>],
) -> Result<()> {
    let mut arguments: Vec<&[u8]> = vec![b"ZADD", key, b"NX"];
    for pair in pairs.chunks_exact(2) {
        arguments.extend([&pair[1][..], &pair[0][..]]);
    }
    if arguments.len() == 3 {
        return Ok(());
    }
    target.demand(&arguments).await.map(drop)
}

/// Sets fields that a hash lacks (`field, value, …`); answers which were set.
///
/// # Errors
/// As [`Connection::demand`].
pub async fn add_to_hash(
    target: &mut Connection,
    key: &[u8],
    pairs: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>> {
    let pairs = pairs.chunks_exact(2);
    for pair in pairs.clone() {
        target.output().command(&[b"HSETNX", key, &pair[0], &pair[1]]);
    }
    let replies = target.receive(pairs.len()).await?;
    let mut set = Vec::new();
    for (pair, reply) in pairs.zip(replies) {
        match reply {
            Value::Integer(1) => set.push(pair[0].clone()),
            Value::Error(line) => {
                return Err(target.refused(b"HSETNX", &ServerError::parse(line.as_bytes())));
            }
            _ => {}
        }
    }
    Ok(set)
}
