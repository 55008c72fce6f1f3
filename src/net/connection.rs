//! One connection: what is queued goes out, what comes is decoded in place.
//!
//! A task owns it and calls [`Connection::turn`]; there is no lock and no second task. Whatever a
//! turn was in the middle of stays in the connection, so a turn may be cancelled at any await.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use super::backoff::Backoff;
use super::buffer::ReadBuffer;
use super::stream::Stream;
use super::tls;
use crate::command::{Cause, ServerError};
use crate::config::{Server, Timeouts};
use crate::error::{Error, Kind, Result};
use crate::resp::{Decoder, Output, Reply, Value};
use crate::units;

/// How long a silent peer is waited for once the run is being stopped.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    server: Arc<Server>,
    stream: Stream,
    input: ReadBuffer,
    output: Output,
    decoder: Decoder,
    /// Bytes were written since the last flush (TLS keeps some back until then).
    unflushed: bool,
    timeouts: Timeouts,
    last_heard: Instant,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Bytes read.
    pub read: usize,
    /// Bytes written.
    pub written: usize,
}

impl Connection {
    pub(super) fn new(server: Arc<Server>, stream: Stream, timeouts: Timeouts) -> Self {
        let chain_from =
            if stream.takes_chains() { crate::resp::encode::CHAIN_FROM } else { usize::MAX };
        Self {
            server,
            stream,
            input: ReadBuffer::default(),
            output: Output::new(chain_from),
            decoder: Decoder::default(),
            unflushed: false,
            timeouts,
            last_heard: Instant::now(),
        }
    }

    /// How long its server may take.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Where commands are queued.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Writes what is queued and reads what has come; returns once it did either. Cancel-safe.
    ///
    /// # Errors
    /// [`Kind::Transport`]: the connection broke or the peer closed it.
    pub async fn turn(&mut self) -> Result<Turn> {
        let result = poll_fn(|cx| {
            let mut turn = Turn::default();
            while !self.output.is_empty() {
                match poll_write_buf(Pin::new(&mut self.stream), cx, &mut self.output) {
                    Poll::Ready(Ok(0)) => {
                        let error = std::io::ErrorKind::WriteZero;
                        return Poll::Ready(Err(error.into()));
                    }
                    Poll::Ready(Ok(written)) => {
                        turn.written += written;
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            if self.unflushed {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            let room = self.input.room(self.decoder.wanted());
            match poll_read_buf(Pin::new(&mut self.stream), cx, room) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(read)) => {
                    turn.read = read;
                    Poll::Ready(Ok(turn))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending if turn.written > 0 => Poll::Ready(Ok(turn)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match result {
            Ok(turn) => {
                if turn.read > 0 {
                    self.last_heard = Instant::now();
                }
                Ok(turn)
            }
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// The next whole reply among the bytes that have come.
    ///
    /// # Errors
    /// [`Kind::Protocol`]: the peer's bytes are no RESP.
    pub fn next_reply(&mut self) -> Result<Option<Reply<'_>>> {
        let filled = self.input.filled();
        match self.decoder.next(filled) {
            Ok(reply) => Ok(reply),
            Err(expected) => Err(not_resp(&self.server, filled, &expected.0)),
        }
    }

    /// Takes the bytes of all replies handed out since the last call: the spans of their tokens
    /// point into it.
    pub fn take_slab(&mut self) -> Bytes {
        let slab = self.input.take(self.decoder.consumed());
        self.decoder.taken();
        slab
    }

    /// Bytes of replies that were handed out and not yet taken.
    pub fn decoded(&self) -> usize {
        self.decoder.consumed()
    }

    /// Begins the count of a wait for replies: nothing was outstanding before.
    pub fn expect_replies(&mut self) {
        self.last_heard = Instant::now();
    }

    /// Whether the peer owes replies and has been silent for longer than it may; `draining`: the run
    /// is being stopped, and nobody wants to wait as long any more.
    ///
    /// # Errors
    /// [`Kind::Transport`], naming how long.
    pub fn check_silence(&self, draining: bool) -> Result<()> {
        let limit = if draining { self.timeouts.reply.min(DRAIN) } else { self.timeouts.reply };
        if self.last_heard.elapsed() < limit { Ok(()) } else { Err(self.silent(limit)) }
    }

    /// Sends one command and waits for its reply, error replies included.
    ///
    /// # Errors
    /// [`Kind::Transport`] or [`Kind::Protocol`].
    pub async fn call(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        self.output.command(arguments);
        let mut replies = self.receive(1).await?;
        Ok(replies.pop().unwrap_or(Value::Null))
    }

    /// Sends one command and takes an error reply as an error of the run. A server that is busy or
    /// loading is waited for.
    ///
    /// # Errors
    /// As [`Self::call`], and [`Kind::Server`] with advice for an error reply.
    pub async fn demand(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        let began = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let value = self.call(arguments).await?;
            let Value::Error(line) = &value else { return Ok(value) };
            let error = ServerError::parse(line.as_bytes());
            if error.cause != Cause::Transient || began.elapsed() >= self.timeouts.retry {
                let command = arguments.first().copied().unwrap_or_default();
                return Err(self.refused(command, &error));
            }
            if backoff.tries() == 0 {
                tracing::warn!("{}: waiting: {error}", self.server.side);
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Sends what is queued and waits for `count` replies.
    ///
    /// # Errors
    /// [`Kind::Transport`] or [`Kind::Protocol`].
    pub async fn receive(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(count.min(1024));
        self.expect_replies();
        while values.len() < count {
            match self.next_reply()?.map(|reply| Value::of(&reply)) {
                Some(value) => values.push(value),
                None => {
                    self.take_slab();
                    match timeout(self.timeouts.reply, self.turn()).await {
                        Ok(turn) => turn?,
                        Err(_) => return Err(self.silent(self.timeouts.reply)),
                    };
                }
            }
        }
        self.take_slab();
        Ok(values)
    }

    /// The error of the run that an error reply to `command` means, with advice.
    pub fn refused(&self, command: &[u8], error: &ServerError) -> Error {
        let command = String::from_utf8_lossy(command);
        let text = format!("{command} was refused: {error}");
        let mut error_here = self.place(Error::new(Kind::Server, text));
        if error.cause == Cause::Transient {
            error_here = error_here.passing();
        }
        match error.cause.advice(&command) {
            Some(advice) => error_here.advise(advice.replace("SIDE", self.server.side.word())),
            None => error_here,
        }
    }

    /// What an error reply to `SELECT database` means.
    pub fn no_database(&self, database: u32, line: &str) -> Error {
        let error = ServerError::parse(line.as_bytes());
        if error.cause != Cause::Other {
            return self.refused(b"SELECT", &error);
        }
        self.place(Error::refused(format!("it has no database {database}: {error}")))
            .advise("raise 'databases' in its configuration, or map with --db N:M")
    }

    /// Puts this connection's side and endpoint on an error.
    pub fn place(&self, error: Error) -> Error {
        error.at(self.server.side, &self.server.endpoint.to_string())
    }

    fn silent(&self, limit: Duration) -> Error {
        let waited = units::duration(limit);
        self.place(
            Error::new(Kind::Transport, format!("no reply for {waited}"))
                .advise("if the server is only slow, allow more by --reply-timeout"),
        )
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        let explained = tls::explain(error, &self.server).unwrap_or_else(|| {
            let text = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
                _ => format!("the connection broke: {error}"),
            };
            Error::new(Kind::Transport, text)
        });
        self.place(explained)
    }
}

/// The peer's first bytes say best what it is (`HTTP/1.1 400 Bad Request`).
fn not_resp(server: &Server, bytes: &[u8], expected: &str) -> Error {
    const SHOWN: usize = 40;
    let text = match bytes.first() {
        // A TLS record: alert or handshake.
        Some(0x15 | 0x16) if !server.endpoint.tls => "this is no Redis protocol but TLS".to_owned(),
        // A reply's bytes may be a value: only what is no RESP from its first byte on is shown.
        Some(b'+' | b'-' | b':' | b'$' | b'*') | None => {
            format!("its reply breaks the Redis protocol: expected {expected}")
        }
        Some(_) => {
            let first = bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii();
            format!("this is no Redis server: it answered \"{first}\"")
        }
    };
    let error = Error::new(Kind::Protocol, text).advise(if server.endpoint.tls {
        "check host and port"
    } else {
        "check host and port; use rediss:// where the server expects TLS"
    });
    error.at(server.side, &server.endpoint.to_string())
}
