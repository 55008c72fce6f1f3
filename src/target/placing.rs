//! Gives what was built under a temporary name its own, in one step.

use super::building::{Building, LIFE_MS};
use super::temporary;
use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::resp::Value;

/// How putting a value in place ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It has its name.
    Done,
    /// The name is taken, and may not be.
    Exists,
    /// What was built has expired before it got there.
    Expired,
}

impl Building {
    /// Gives the value its name and its expiry (Unix milliseconds by the target's clock; `None`:
    /// never) in one step; `replace`: whatever has that name goes. Only after [`Self::settle`].
    ///
    /// # Errors
    /// The connection broke: then nobody knows whether it was done. Or the target refused it.
    pub async fn put_in_place(
        &mut self,
        name: &[u8],
        expiry: Option<i64>,
        replace: bool,
    ) -> Result<Placed> {
        let key = self.key.clone();
        if self.connection.demand(&[b"PTTL", &key]).await?.integer().is_none_or(|left| left <= 0) {
            return Err(self.lost());
        }
        let at = expiry.unwrap_or_default().to_string();
        let output = self.connection.output();
        output.command(&[b"MULTI"]);
        match expiry {
            Some(_) => output.command(&[b"PEXPIREAT", &key, at.as_bytes()]),
            None => output.command(&[b"PERSIST", &key]),
        }
        let rename: &[u8] = if replace { b"RENAME" } else { b"RENAMENX" };
        output.command(&[rename, &key, name]);
        // If the name is taken the temporary key must not stay for ever, nor as long as its value.
        output.command(&[b"PEXPIRE", &key, LIFE_MS]);
        output.command(&[b"EXEC"]);
        let replies = self.connection.receive(5).await?;
        let commands: [&[u8]; 4] = [b"MULTI", b"PEXPIREAT", rename, b"PEXPIRE"];
        for (command, reply) in commands.iter().zip(&replies) {
            if let Value::Error(line) = reply {
                let error = ServerError::parse(line.as_bytes());
                return Err(self.connection.refused(command, &error));
            }
        }
        let answers = match replies.into_iter().next_back() {
            Some(Value::Array(answers)) => answers,
            Some(answer) => {
                self.accepted(&[b"EXEC"], answer)?;
                Vec::new()
            }
            None => Vec::new(),
        };
        match answers.get(1) {
            Some(Value::Integer(0)) => {
                temporary::remove(&mut self.connection, &[&key]).await?;
                Ok(Placed::Exists)
            }
            // An expiry in the past has removed it.
            Some(Value::Error(line)) if line.contains("no such key") => Ok(Placed::Expired),
            Some(Value::Error(line)) => {
                Err(self.connection.refused(rename, &ServerError::parse(line.as_bytes())))
            }
            Some(_) => Ok(Placed::Done),
            None => {
                let text = "EXEC answered something else than what became of its commands";
                Err(self.connection.place(Error::new(Kind::Protocol, text)))
            }
        }
    }
}
