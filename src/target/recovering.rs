//! What a lane does when its connection breaks or its server takes no writes for a while: it connects
//! again and writes again, in the same order, what has no ack.

use tokio_util::sync::CancellationToken;

use super::restore::Lane;
use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::net::Connection;

/// What happens when another process answers for the target than the one that was written to: what
/// that one acknowledged may be lost.
#[derive(Clone, Debug, Default)]
pub struct OtherProcess {
    /// Tells those who have to know.
    pub tell: CancellationToken,
    /// Whether that ends the run: written keys cannot be told from those that were there before, so
    /// that the copy cannot begin again.
    pub ends: bool,
}

/// The error that ends a run whose target may have lost what was written to it.
pub fn written_lost() -> Error {
    let text = "the target was restarted, or another server took its place: what was written before \
                may be lost, and cannot be told from what was there";
    Error::new(Kind::Server, text)
        .advise("copy again: with --if-exists skip for what is missing, or replace for all")
}

/// The target was made a replica, or another server took its place: a lane waits for one that takes
/// writes.
pub(super) fn read_only(connection: &Connection, command: &[u8], error: &ServerError) -> Error {
    let command = String::from_utf8_lossy(command);
    let text = format!("{command} was refused: {error}");
    connection.place(Error::new(Kind::Transport, text)).advise(
        "it takes no writes any more, and stayed so for as long as --retry-budget allows: make it a \
         primary again, or name its primary as the target, then run it again with --if-exists replace",
    )
}

impl Lane {
    /// Connects again and writes again what has no ack.
    ///
    /// # Errors
    /// As [`crate::net::Link::reconnect`], and another process where the copy cannot begin anew.
    pub(super) async fn recover(&mut self, error: Error) -> Result<()> {
        let again = self.tools.link.reconnect(error, self.last_taken).await?;
        if !again.same_process {
            self.tools.other_process.tell.cancel();
            if self.tools.other_process.ends {
                return Err(again.connection.place(written_lost()));
            }
        }
        self.tools.connection = again.connection;
        for sending in &mut self.row {
            // Written, but was it carried out? A key that exists from here on may be our own.
            sending.doubtful = sending.doubtful.max(sending.written);
            sending.written = sending.answered;
        }
        self.writing = 0;
        self.commands.clear();
        self.unacked = 0;
        self.unacked_bytes = 0;
        Ok(())
    }
}
