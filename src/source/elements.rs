//! The members of one set, hash or sorted set of the source, page by page, for `merge`.

use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::Value;

/// Members asked for at once. A small value comes whole, whatever is asked for.
const COUNT: &[u8] = b"500";

/// The types whose members can be merged one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// Members.
    Set,
    /// Fields with values.
    Hash,
    /// Members with scores.
    SortedSet,
}

impl Collection {
    /// From the answer of TYPE.
    pub fn from_type(name: &str) -> Option<Self> {
        match name {
            "set" => Some(Self::Set),
            "hash" => Some(Self::Hash),
            "zset" => Some(Self::SortedSet),
            _ => None,
        }
    }

    fn scan_command(self) -> &'static [u8] {
        match self {
            Self::Set => b"SSCAN",
            Self::Hash => b"HSCAN",
            Self::SortedSet => b"ZSCAN",
        }
    }
}

/// Reads one page from `cursor` on: the next cursor (`0` at the end), and members, or fields and
/// values, or members and scores, in turn.
///
/// # Errors
/// The connection broke, or the source refused the command.
pub async fn page(
    connection: &mut Connection,
    collection: Collection,
    key: &[u8],
    cursor: &[u8],
) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let command = collection.scan_command();
    let reply = connection.demand(&[command, key, cursor, b"COUNT", COUNT]).await?;
    let parts = match reply {
        Value::Array(parts) => <[Value; 2]>::try_from(parts).ok(),
        _ => None,
    };
    let Some([Value::Bulk(next), Value::Array(members)]) = parts else {
        let text = format!("{} answered something else", String::from_utf8_lossy(command));
        return Err(connection.place(Error::new(Kind::Protocol, text)));
    };
    let members = members.into_iter().map(|member| match member {
        Value::Bulk(bytes) => bytes,
        other => other.bytes().unwrap_or_default().to_vec(),
    });
    Ok((next, members.collect()))
}
