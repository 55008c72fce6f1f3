//! INFO: what a server says of itself, as far as it says anything.

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::connection::Connection;
use crate::command::{Cause, ServerError, ServerInfo};
use crate::error::Result;
use crate::resp::Value;

impl Connection {
    /// Sends several commands in one round trip, as [`Self::call_all`]; a server that is busy or loading
    /// is waited for.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn demand_all(&mut self, commands: &[&[&[u8]]]) -> Result<Vec<Value>> {
        self.demand_all_from(&[], commands).await
    }

    /// Likewise, for commands that leave the connection elsewhere: `back` comes before them where they are
    /// asked once more, and what is said to it is no matter.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn demand_all_from(
        &mut self,
        back: &[&[&[u8]]],
        commands: &[&[&[u8]]],
    ) -> Result<Vec<Value>> {
        let mut before: &[&[&[u8]]] = &[];
        let began = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let all = [before, commands].concat();
            match self.call_all(&all).await {
                Err(error)
                    if error.is_not_yet()
                        && error.passes()
                        && began.elapsed() < self.timeouts().retry =>
                {
                    before = back;
                    sleep(backoff.next_delay()).await;
                }
                replies => return Ok(replies?.split_off(before.len())),
            }
        }
    }

    /// What the server says of itself, the calls of its commands included. One that does not know INFO
    /// says nothing.
    ///
    /// # Errors
    /// As [`Self::demand`]: INFO is not permitted.
    pub async fn info(&mut self) -> Result<ServerInfo> {
        let replies = self.demand_all(&[&[b"INFO"], &[b"INFO", b"commandstats"]]).await?;
        if let Some(Value::Error(line)) = replies.first() {
            let error = ServerError::parse(line.as_bytes());
            match error.cause {
                Cause::NotAuthenticated | Cause::CommandDenied => {
                    return Err(self.refused(b"INFO", &error));
                }
                _ => tracing::debug!("{}: INFO was refused: {error}", self.server().side),
            }
        }
        Ok(ServerInfo::of(&replies))
    }
}
