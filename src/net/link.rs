//! The way back after a connection broke: one database of one server, connected to again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connect::{Connector, connect, connect_if_room};
use super::connection::Connection;
use super::probe_key::probe_key;
use super::process::Process;
use crate::command::keyspace::refused_restore;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::resp::Value;
use crate::units;

/// One database of one server.
#[derive(Clone)]
pub struct Link {
    connector: Connector,
    database: u32,
    process: Process,
    /// Which process is trusted: the one after so many changes.
    trusted: u64,
    /// Whether a server is waited for that takes no writes.
    writes: bool,
    /// Ends the waiting.
    stop: CancellationToken,
}

/// A connection that was made again.
pub struct Again {
    /// The connection.
    pub connection: Connection,
    /// Whether the process answers that the link trusts. After a restart or a failover cursors mean
    /// nothing any more, and what was written may be lost.
    pub same_process: bool,
    /// Which process it is.
    changes: u64,
}

impl Link {
    /// A link to `database`, which trusts the process that is known now.
    pub fn new(
        connector: Connector,
        database: u32,
        process: Process,
        stop: CancellationToken,
    ) -> Self {
        let trusted = process.changes();
        Self { connector, database, process, trusted, writes: false, stop }
    }

    /// The same; connecting again also waits until the server takes writes.
    #[must_use]
    pub fn for_writing(self) -> Self {
        Self { writes: true, ..self }
    }

    /// The same; this ends the waiting.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// From now on the process of this connection is the one that is trusted.
    pub fn trust(&mut self, again: &Again) {
        self.trusted = again.changes;
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

    /// Likewise; `None`: the server takes no more connections.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_if_room(&self) -> Result<Option<Connection>> {
        match connect_if_room(&self.connector, self.database).await {
            Err(error) if error.passes() => {
                let cause = error.as_kind(Kind::Transport);
                Ok(Some(self.reconnect(cause, Instant::now()).await?.connection))
            }
            result => result,
        }
    }

    /// Likewise; a server that takes no writes is waited for.
    ///
    /// # Errors
    /// As [`Self::reconnect`].
    pub async fn connect_for_writing(&self) -> Result<Connection> {
        match self.connect_and_identify(true).await {
            Ok(again) => Ok(again.connection),
            Err(error) if error.passes() => {
                let writing = self.clone().for_writing();
                let cause = error.as_kind(Kind::Transport);
                Ok(writing.reconnect(cause, Instant::now()).await?.connection)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether somebody met another process than the one that is trusted.
    pub fn has_changed(&self) -> bool {
        self.process.changes() != self.trusted
    }

    /// Whether the process that is trusted still answers, and nobody met another one since. A server
    /// that is away is waited for.
    ///
    /// # Errors
    /// As [`Self::reconnect`].
    pub async fn is_unchanged(&self) -> Result<bool> {
        match self.connect_and_identify(false).await {
            Ok(again) => Ok(again.same_process),
            Err(error) if error.passes() => {
                let cause = error.as_kind(Kind::Transport);
                let reading = Self { writes: false, ..self.clone() };
                Ok(reading.reconnect(cause, Instant::now()).await?.same_process)
            }
            Err(error) => Err(error),
        }
    }

    /// Connects again after `cause`, a broken connection or a server that is not ready, with growing
    /// delays, until it is too long since `progress`, or the run is stopped.
    ///
    /// # Errors
    /// `cause`, if it does not pass by waiting or did not pass in time; or what the server says now
    /// (another password, say).
    pub async fn reconnect(&self, cause: Error, progress: Instant) -> Result<Again> {
        if !cause.passes() || self.stop.is_cancelled() {
            return Err(cause);
        }
        let patience = self.connector.timeouts().retry;
        let mut backoff = Backoff::default();
        self.connector.tell_waiting(&cause, "connecting again");
        loop {
            if self.stop.is_cancelled() {
                return Err(cause);
            }
            if progress.elapsed() >= patience {
                return Err(given_up(cause, patience));
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => continue,
                () = sleep(backoff.next_delay()) => {}
            }
            let tried = tokio::select! {
                biased;
                () = self.stop.cancelled() => continue,
                tried = self.connect_and_identify(self.writes) => tried,
            };
            match tried {
                Ok(again) => return Ok(again),
                Err(error) if error.passes() => {
                    tracing::debug!("not yet: {error}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect_and_identify(&self, writes: bool) -> Result<Again> {
        let mut connection = connect(&self.connector, self.database).await?;
        let changes = self.process.meet(&connection.info().await?);
        if writes {
            takes_writes(&mut connection).await?;
        }
        Ok(Again { connection, same_process: changes == self.trusted, changes })
    }
}

/// What was tried again for as long as `--retry-budget` allows.
pub fn given_up(cause: Error, patience: Duration) -> Error {
    let waited = units::duration(patience);
    let mut advice =
        format!("given up after {waited} without progress (--retry-budget); run it again");
    if cause.kind() == Kind::Transport {
        // A server that closes a connection for the length of its replies does not say so.
        advice.push_str(
            "; if it happens again at once, see CONFIG GET client-output-buffer-limit there, and maxclients",
        );
    }
    cause.advise(advice).lasting()
}

/// Tries a command that is wrong on purpose and writes nothing; what else than a replica would say to
/// it is no matter here.
async fn takes_writes(connection: &mut Connection) -> Result<()> {
    let replies = connection.try_all(&[&refused_restore(probe_key())]).await?;
    let Some(Value::Error(line)) = replies.first() else { return Ok(()) };
    let error = ServerError::parse(line.as_bytes());
    match error.cause {
        cause if cause == Cause::ReadOnly || cause.passes() => {
            Err(connection.refused(b"RESTORE", &error))
        }
        _ => Ok(()),
    }
}
