//! Builds a value under a temporary name, element by element; `placing` puts it in place.
//!
//! The temporary key has an expiry from the transaction that makes it on: whatever becomes of this
//! process, it does not stay. Commands go out pipelined; their acks are read as they come.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::temporary;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::{self, Value};
use crate::units::{self, printable};

/// How long a temporary key lives that nobody builds on any more, in milliseconds: an hour. Nothing
/// between two renewals takes longer than a reply may (`--reply-timeout`).
pub(super) const LIFE_MS: &[u8] = b"3600000";
/// How often that is renewed.
const RENEWED: Duration = Duration::from_secs(300);
/// Small elements that share one command, in bytes.
const PART: usize = 32 << 10;
/// And in number: more makes clients of the target wait.
const MOST_ARGUMENTS: usize = 1_000;
/// What may wait to be written, in bytes.
const WAITING: usize = 256 << 10;
/// What may be written and without an ack, in bytes, and in commands.
const UNACKED: (usize, usize) = (1 << 20, 1_024);

/// A connection to the target, and the value that is built through it.
#[derive(Debug)]
pub struct Building {
    pub(super) connection: Connection,
    stop: CancellationToken,
    longest_bulk: u64,
    /// The temporary name; empty while nothing is built.
    pub(super) key: Vec<u8>,
    /// Nothing was written yet: the next command makes the key.
    first: bool,
    /// In the middle of a command.
    open: bool,
    /// Small elements in wire form, and the command they are for.
    part: Vec<u8>,
    arguments: usize,
    command: &'static [u8],
    /// Bytes of the command that is being written.
    current: usize,
    /// Commands without an ack, and their bytes.
    unacked: VecDeque<(&'static [u8], usize)>,
    unacked_bytes: usize,
    refused: Option<Error>,
    renewed: Instant,
    bytes: u64,
}

impl Building {
    /// Builds through `connection`, which takes no argument longer than `longest_bulk` bytes.
    pub fn new(connection: Connection, longest_bulk: u64, stop: CancellationToken) -> Self {
        Self {
            connection,
            stop,
            longest_bulk,
            key: Vec::new(),
            first: true,
            open: false,
            part: Vec::new(),
            arguments: 0,
            command: b"",
            current: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            refused: None,
            renewed: Instant::now(),
            bytes: 0,
        }
    }

    /// Begins a value under the temporary name `key`, which nobody may have used before.
    pub fn begin(&mut self, key: Vec<u8>) {
        self.key = key;
        self.first = true;
        self.bytes = 0;
    }

    /// The temporary name.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Bytes of all arguments so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds one small element to those that share a command: `command key argument …`.
    ///
    /// # Errors
    /// As [`Self::end`]; an argument is longer than the target takes.
    pub async fn add(&mut self, command: &'static [u8], arguments: &[&[u8]]) -> Result<()> {
        if self.command != command {
            self.flush().await?;
            self.command = command;
        }
        for argument in arguments {
            self.check(argument.len())?;
            self.part.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            self.part.extend_from_slice(argument);
            self.part.extend_from_slice(b"\r\n");
            self.bytes += argument.len() as u64;
        }
        self.arguments += arguments.len();
        if self.part.len() >= PART || self.arguments >= MOST_ARGUMENTS {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the elements that wait for others.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn flush(&mut self) -> Result<()> {
        if self.arguments == 0 {
            return Ok(());
        }
        let arguments = std::mem::take(&mut self.arguments);
        self.open_command(self.command, arguments);
        self.current += self.part.len();
        self.connection.output().copy(&self.part);
        self.part.clear();
        self.end().await
    }

    /// Begins `command key` with so many arguments, each of which follows.
    ///
    /// # Errors
    /// As [`Self::end`], for what was sent before.
    pub async fn begin_command(&mut self, command: &'static [u8], arguments: usize) -> Result<()> {
        self.flush().await?;
        self.open_command(command, arguments);
        Ok(())
    }

    fn open_command(&mut self, command: &'static [u8], arguments: usize) {
        self.command = command;
        if self.first {
            self.owe(b"MULTI", 0);
            self.connection.output().command(&[b"MULTI"]);
        }
        let output = self.connection.output();
        output.begin(2 + arguments);
        output.bulk(command);
        output.bulk(&self.key);
        self.open = true;
        self.current = 0;
    }

    /// One argument of the command that was begun.
    ///
    /// # Errors
    /// It is longer than the target takes; the connection broke.
    pub async fn argument(&mut self, bytes: &[u8]) -> Result<()> {
        self.check(bytes.len())?;
        self.connection.output().bulk(bytes);
        self.current += bytes.len();
        self.bytes += bytes.len() as u64;
        if self.connection.output().len() > WAITING { self.write_out().await } else { Ok(()) }
    }

    /// An argument of so many bytes, which follow by [`Self::piece`].
    ///
    /// # Errors
    /// It is longer than the target takes.
    pub fn begin_long(&mut self, length: usize) -> Result<()> {
        self.check(length)?;
        self.connection.output().begin_bulk(length);
        self.current += length;
        self.bytes += length as u64;
        Ok(())
    }

    /// A piece of it.
    ///
    /// # Errors
    /// The connection broke, the target refused something, or the run is stopped.
    pub async fn piece(&mut self, piece: &Bytes) -> Result<()> {
        self.connection.output().lay(piece, 0..piece.len());
        self.write_out().await
    }

    /// All pieces have come.
    pub fn end_long(&mut self) {
        self.connection.output().copy(b"\r\n");
    }

    /// Ends the command, and waits until there is room for the next.
    ///
    /// # Errors
    /// The connection broke; the target refused this command or one before; the run is stopped.
    pub async fn end(&mut self) -> Result<()> {
        self.open = false;
        self.owe(self.command, self.current);
        if self.first {
            self.first = false;
            self.renew();
            self.owe(b"EXEC", 0);
            self.connection.output().command(&[b"EXEC"]);
        } else if self.renewed.elapsed() >= RENEWED {
            self.renew();
        }
        loop {
            self.absorb()?;
            self.check_stop()?;
            let (bytes, commands) = UNACKED;
            let written = self.connection.output().len() <= WAITING;
            if written && self.unacked_bytes <= bytes && self.unacked.len() <= commands {
                return Ok(());
            }
            self.connection.turn_within(&self.stop).await?;
        }
    }

    /// Waits until everything has its ack.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn settle(&mut self) -> Result<()> {
        self.flush().await?;
        loop {
            self.absorb()?;
            self.check_stop()?;
            if self.unacked.is_empty() {
                return Ok(());
            }
            self.connection.turn_within(&self.stop).await?;
        }
    }

    /// Sends one command whose answer matters, error answers included, once all others are settled.
    /// It may be the one that makes the key.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn ask(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        self.settle().await?;
        self.connection.call(arguments).await
    }

    /// As [`Self::ask`], for a command that makes the key if it is not there yet.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn make(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        self.settle().await?;
        if !self.first {
            return self.connection.call(arguments).await;
        }
        let output = self.connection.output();
        output.command(&[b"MULTI"]);
        output.command(arguments);
        output.command(&[b"PEXPIRE", &self.key, LIFE_MS]);
        output.command(&[b"EXEC"]);
        let replies = self.connection.receive(4).await?;
        let line = replies.iter().find(|reply| matches!(reply, Value::Error(_)));
        if let Some(error) = line {
            return Ok(error.clone());
        }
        self.first = false;
        self.renewed = Instant::now();
        match replies.into_iter().next_back() {
            Some(Value::Array(answers)) => Ok(answers.into_iter().next().unwrap_or(Value::Null)),
            _ => Ok(Value::Null),
        }
    }

    /// As [`Self::ask`], taking a refusal as an error.
    ///
    /// # Errors
    /// As [`Self::end`], and the refusal.
    pub async fn demand(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        let answer = self.ask(arguments).await?;
        self.accepted(arguments, answer)
    }

    /// Takes an error answer as an error, with advice.
    ///
    /// # Errors
    /// The answer, if it is one.
    pub fn accepted(&self, arguments: &[&[u8]], answer: Value) -> Result<Value> {
        match answer {
            Value::Error(line) => {
                let command = arguments.first().copied().unwrap_or_default();
                Err(self.connection.refused(command, &ServerError::parse(line.as_bytes())))
            }
            answer => Ok(answer),
        }
    }

    /// Removes what was built so far. `false`: the connection is no longer in step, and is to be
    /// made anew; what it was sent may still be carried out.
    pub async fn give_up(&mut self) -> bool {
        if self.open {
            return false;
        }
        self.part.clear();
        self.arguments = 0;
        while !self.unacked.is_empty() {
            // What the target refused is of no interest any more.
            self.refused = None;
            match self.absorb() {
                Err(error) if error.kind() != Kind::Server => return false,
                _ if self.unacked.is_empty() => break,
                _ => {}
            }
            if self.connection.turn_within(&self.stop).await.is_err() {
                return false;
            }
        }
        self.refused = None;
        let key = std::mem::take(&mut self.key);
        if key.is_empty() {
            return true;
        }
        match temporary::remove(&mut self.connection, &[&key]).await {
            Ok(()) => true,
            // Broken, or a replica by now: it goes once there is a primary.
            Err(error) if error.passes() => false,
            Err(error) => {
                let name = printable(&key);
                tracing::warn!("the temporary key {name} stays on the target for an hour: {error}");
                true
            }
        }
    }

    /// Removes other names that it had before.
    ///
    /// # Errors
    /// As [`temporary::remove`].
    pub async fn remove(&mut self, names: &[Vec<u8>]) -> Result<()> {
        temporary::remove(&mut self.connection, names).await
    }

    /// An element that the target would not take, said before it closes the connection for it.
    fn check(&self, length: usize) -> Result<()> {
        if length as u64 <= self.longest_bulk {
            return Ok(());
        }
        let (length, most) = (units::bytes(length as u64), units::bytes(self.longest_bulk));
        let text = format!(
            "one of its elements has {length}, and the target takes no more than {most} at once \
             (proto-max-bulk-len)"
        );
        let error = self.connection.place(Error::new(Kind::Server, text));
        Err(error.advise("raise proto-max-bulk-len of the target"))
    }

    /// The temporary key went, and what came after it made a new one: by its expiry, if this process
    /// was stopped for an hour, by eviction, or by somebody's hand. The new one has no expiry.
    pub(super) fn lost(&self) -> Error {
        let text = "the temporary key was removed while the value was built";
        self.connection.place(Error::new(Kind::Server, text)).passing()
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.is_cancelled() {
            return Err(Error::new(Kind::Cancelled, "the run was stopped"));
        }
        Ok(())
    }

    /// Gives the key another hour, once the target has told that it has not begun anew meanwhile.
    fn renew(&mut self) {
        self.owe(b"PTTL", 0);
        self.connection.output().command(&[b"PTTL", &self.key]);
        self.owe(b"PEXPIRE", 0);
        self.connection.output().command(&[b"PEXPIRE", &self.key, LIFE_MS]);
        self.renewed = Instant::now();
    }

    fn owe(&mut self, command: &'static [u8], bytes: usize) {
        if self.unacked.is_empty() {
            self.connection.expect_replies();
        }
        self.unacked.push_back((command, bytes));
        self.unacked_bytes += bytes;
    }

    /// Writes until nothing waits.
    async fn write_out(&mut self) -> Result<()> {
        while !self.connection.output().is_empty() {
            self.absorb()?;
            self.check_stop()?;
            self.connection.turn_within(&self.stop).await?;
        }
        Ok(())
    }

    /// Reads the acks that have come; the first refusal is the one that counts.
    fn absorb(&mut self) -> Result<()> {
        while !self.unacked.is_empty() {
            let Some(reply) = self.connection.next_reply()? else { break };
            let error = reply.tokens().iter().find(|token| token.kind == resp::Kind::Error);
            let error = error.map(|token| ServerError::parse(reply.body(*token)));
            let (integer, head) = (reply.integer(), reply.head());
            let Some((command, bytes)) = self.unacked.pop_front() else { break };
            self.unacked_bytes -= bytes;
            let wrong = match (command, error) {
                (_, Some(error)) => Some(self.connection.refused(command, &error)),
                (b"PTTL", None) if integer.is_some_and(|left| left <= 0) => Some(self.lost()),
                (b"XCLAIM", None) if head.kind == resp::Kind::Array && head.number == 0 => {
                    let text = "the target did not make an entry of the stream pending";
                    Some(self.connection.place(Error::new(Kind::Server, text)))
                }
                _ => None,
            };
            self.refused = self.refused.take().or(wrong);
        }
        // An answer that nobody waits for: the target refuses what is still being written.
        if self.unacked.is_empty()
            && self.open
            && let Some(reply) = self.connection.next_reply()?
        {
            let error = ServerError::parse(reply.error().unwrap_or_default());
            self.refused = Some(self.connection.refused(self.command, &error));
        }
        if self.connection.decoded() > 0 {
            drop(self.connection.take_slab());
        }
        match &self.refused {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

/// Whether a refusal says that a server does not know a command, or what it was given.
pub fn is_unknown(answer: &Value) -> bool {
    let Value::Error(line) = answer else { return false };
    let says = |text: &str| line.to_ascii_lowercase().contains(text);
    ServerError::parse(line.as_bytes()).cause == Cause::UnknownCommand
        || says("syntax error")
        || says("wrong number of arguments")
}
