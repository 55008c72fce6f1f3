//! Removes the names under which values were built.

use crate::error::Result;
use crate::net::Connection;
use crate::resp::Value;

/// Removes these keys, whether they are there or not: a user without the right to UNLINK lets them expire, as
/// whoever builds values may.
///
/// # Errors
/// The connection broke, or neither is permitted, or not now.
pub async fn remove<N: AsRef<[u8]>>(connection: &mut Connection, names: &[N]) -> Result<()> {
    let unlink: Vec<&[u8]> =
        [&b"UNLINK"[..]].into_iter().chain(names.iter().map(AsRef::as_ref)).collect();
    let Err(refusal) = connection.demand(&unlink).await else { return Ok(()) };
    if refusal.passes() {
        return Err(refusal);
    }
    for name in names {
        connection.output().command(&[b"PEXPIRE", name.as_ref(), b"0"]);
    }
    let replies = connection.receive(names.len()).await?;
    match replies.iter().any(|reply| matches!(reply, Value::Error(_))) {
        true => Err(refusal),
        false => Ok(()),
    }
}
