//! Servers that keyferry cannot move keys of: sentinels, and nodes of a cluster.

use crate::command::ServerInfo;
use crate::error::{Error, Result};
use crate::net::Connection;

/// Sentinels, and nodes of a cluster.
///
/// # Errors
/// [`Kind::Refused`].
pub(super) fn refuse_unsupported(connection: &Connection, info: &ServerInfo) -> Result<()> {
    refuse_sentinel(connection, info)?;
    if !info.cluster {
        return Ok(());
    }
    let text = "the server is a cluster node; clusters are not supported yet";
    let advice = "name a server that does not belong to a cluster (cluster-enabled no)";
    Err(connection.place(Error::refused(text)).advise(advice))
}

/// A sentinel holds no keys.
///
/// # Errors
/// [`Kind::Refused`].
pub(super) fn refuse_sentinel(connection: &Connection, info: &ServerInfo) -> Result<()> {
    if !info.sentinel {
        return Ok(());
    }
    let text = "the server is a sentinel: it watches other servers and holds no keys";
    let ask = "name the primary instead; the sentinel tells it: SENTINEL get-master-addr-by-name";
    let advice = match info.watched.as_slice() {
        [] => format!("{ask} <name>"),
        watched => format!("{ask} ({})", watched.join(", ")),
    };
    Err(connection.place(Error::refused(text)).advise(advice))
}
