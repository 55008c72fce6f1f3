//! A connection that is made again: the one policy for whatever is asked outside of a pipeline.
//!
//! ```text
//! ask ──> answer
//!   └──> broken, busy, loading, no primary ──> wait, connect ──> ask again ──> … ──> given up, stopped
//! ```
//!
//! Only what may be asked twice goes this way: who asks does not learn of the first time.

use tokio::time::Instant;

use super::connection::Connection;
use super::link::Link;
use crate::command::{ServerError, ServerInfo};
use crate::error::Error;
use crate::error::Result;
use crate::resp::Value;

/// A connection to one database of one server, made when it is needed and made again when it breaks.
pub struct Line {
    link: Link,
    open: Option<Connection>,
    /// Since when nothing was answered.
    troubled: Option<Instant>,
}

impl Line {
    /// A line that is not connected yet.
    pub fn new(link: Link) -> Self {
        Self { link, open: None, troubled: None }
    }

    /// A line whose first connection stands.
    pub fn over(link: Link, connection: Connection) -> Self {
        Self { link, open: Some(connection), troubled: None }
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// As [`Self::recover`], and [`Connection::info`].
    pub async fn info(&mut self) -> Result<ServerInfo> {
        loop {
            match self.open().await?.info().await {
                Ok(info) => {
                    self.answered();
                    return Ok(info);
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// The way that its connections are made.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The connection, made if there is none.
    ///
    /// # Errors
    /// As [`Link::connect`].
    pub async fn open(&mut self) -> Result<&mut Connection> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.link.connect().await?,
        };
        Ok(self.open.insert(open))
    }

    /// Something was answered: the patience begins anew.
    pub fn answered(&mut self) {
        self.troubled = None;
    }

    /// What is open is in the middle of something: the next use makes another connection.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// After `cause`, waits and connects again, so that what was asked can be asked once more.
    ///
    /// # Errors
    /// `cause`, where it does not pass by waiting, where nothing was answered for as long as
    /// `--retry-budget` allows, or where the run is stopped; or what the server says now.
    pub async fn recover(&mut self, cause: Error) -> Result<()> {
        let since = *self.troubled.get_or_insert_with(Instant::now);
        self.open = None;
        self.open = Some(self.link.reconnect(cause, since).await?.connection);
        Ok(())
    }

    /// Asks one thing; errors of the server are replies, but for those that pass.
    ///
    /// # Errors
    /// As [`Self::recover`].
    pub async fn ask(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        let mut replies = self.ask_all(&[arguments]).await?;
        Ok(replies.pop().unwrap_or(Value::Null))
    }

    /// Asks several things in one round trip, until all are answered at once.
    ///
    /// # Errors
    /// As [`Self::recover`].
    pub async fn ask_all(&mut self, commands: &[&[&[u8]]]) -> Result<Vec<Value>> {
        loop {
            match self.open().await?.call_all(commands).await {
                Ok(replies) => {
                    self.answered();
                    return Ok(replies);
                }
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// Asks one thing, and takes every error reply as an error of the run.
    ///
    /// # Errors
    /// As [`Self::recover`], and the refusal with advice.
    pub async fn demand(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        match self.ask(arguments).await? {
            Value::Error(line) => {
                let command = arguments.first().copied().unwrap_or_default();
                let error = ServerError::parse(line.as_bytes());
                Err(self.open().await?.refused(command, &error))
            }
            value => Ok(value),
        }
    }
}
