//! The way back after a connection broke: one database of one server, connected to again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{Connector, connect};
use super::connection::Connection;
use crate::command::ServerInfo;
use crate::error::{Error, Kind, Result};
use crate::units;

/// One database of one server.
#[derive(Clone)]
pub struct Link {
    connector: Connector,
    database: u32,
    /// The process that answered when the run began, where it told.
    run_id: Option<String>,
    /// Ends the waiting.
    stop: CancellationToken,
}

/// A connection that was made again.
pub struct Again {
    /// The connection.
    pub connection: Connection,
    /// Whether the same server process answers as when the run began. After a restart or a failover
    /// cursors mean nothing any more, and what was written may be lost.
    pub same_process: bool,
}

impl Link {
    /// A link to `database`, on the process that `run_id` names.
    pub fn new(
        connector: Connector,
        database: u32,
        run_id: Option<String>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector, database, run_id, stop }
    }

    /// How long what passes by itself is waited for.
    pub fn patience(&self) -> Duration {
        self.connector.timeouts().retry
    }

    /// The database's number.
    pub fn database(&self) -> u32 {
        self.database
    }

    /// A connection to a server that was reached before: one that breaks at once is made again.
    ///
    /// # Errors
    /// As [`connect`] and [`Self::reconnect`].
    pub async fn connect(&self) -> Result<Connection> {
        match connect(&self.connector, self.database).await {
            Err(error) if error.passes() => {
                let cause = error.as_kind(Kind::Transport);
                Ok(self.reconnect(cause, Instant::now()).await?.connection)
            }
            result => result,
        }
    }

    /// Connects again after `cause`, with growing delays, until it is too long since `progress`, or
    /// the run is stopped.
    ///
    /// # Errors
    /// `cause`, if it does not pass by waiting or did not pass in time; or what the server says now
    /// (another password, say).
    pub async fn reconnect(&self, cause: Error, progress: Instant) -> Result<Again> {
        if cause.kind() != Kind::Transport {
            return Err(cause);
        }
        let patience = self.connector.timeouts().retry;
        let mut backoff = Backoff::default();
        tracing::warn!("{cause}; connecting again");
        loop {
            if self.stop.is_cancelled() {
                return Err(cause);
            }
            if progress.elapsed() >= patience {
                let waited = units::duration(patience);
                return Err(cause.advise(format!(
                    "given up after {waited} without progress (--retry-budget); run it again"
                )));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => continue,
                () = sleep(backoff.next_delay()) => {}
            }
            match self.connect_and_identify().await {
                Ok(again) => return Ok(again),
                Err(error) if error.passes() => {
                    tracing::debug!("not yet: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect_and_identify(&self) -> Result<Again> {
        let mut connection = connect(&self.connector, self.database).await?;
        let Some(expected) = &self.run_id else {
            return Ok(Again { connection, same_process: true });
        };
        let reply = connection.demand(&[b"INFO", b"server"]).await?;
        let info = ServerInfo::parse(&String::from_utf8_lossy(reply.bytes().unwrap_or_default()));
        let same_process = info.run_id.as_ref().is_none_or(|run_id| run_id == expected);
        Ok(Again { connection, same_process })
    }
}
