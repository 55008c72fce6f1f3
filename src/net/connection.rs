//! One connection: what is queued goes out, what comes is decoded in place.
//!
//! A task owns it and calls [`Connection::turn`]; there is no lock and no second task. Whatever a
//! turn was in the middle of stays in the connection, so a turn may be cancelled at any await.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::io::{poll_read_buf, poll_write_buf};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::buffer::ReadBuffer;
use super::stream::Stream;
use super::tls;
use crate::command::ServerError;
use crate::config::{Server, Timeouts};
use crate::error::{Error, Kind, Result};
use crate::resp::{Decoder, Output, Reply, Token, Value};
use crate::units;

/// How long a silent peer is waited for once the run is being stopped.
const DRAIN: Duration = Duration::from_secs(5);
/// How often silence is looked for in a wait that has no clock of its own.
const TICK: Duration = Duration::from_secs(1);
/// What ends a bulk string.
const LINE_END: &[u8] = b"\r\n";

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
    /// Strings of answers that are longer, in bytes, are left out of them.
    longest: Option<usize>,
}

/// A bulk string that is taken piece by piece: what is still to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    rest: usize,
    line_end: usize,
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
            longest: None,
        }
    }

    /// How long its server may take.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// What protects it, for people (`TLS 1.3, …`); `None` where nothing does.
    pub fn encryption(&self) -> Option<String> {
        self.stream.encryption()
    }

    /// The server at its other end, as it was asked for.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// From here on strings of more than so many bytes are left out of answers, and nil in their place;
    /// answers what was so before.
    pub fn hold_at_most(&mut self, bytes: Option<usize>) -> Option<usize> {
        std::mem::replace(&mut self.longest, bytes)
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
            // A server that refuses what it is being sent says why before it closes: what it said
            // counts more than the write that failed, which fails again in the next turn.
            let write = self.poll_write(cx, &mut turn);
            let room = self.input.room(self.decoder.wanted());
            match (poll_read_buf(Pin::new(&mut self.stream), cx, room), write) {
                (Poll::Ready(Ok(read)), _) if read > 0 => {
                    turn.read = read;
                    Poll::Ready(Ok(turn))
                }
                (_, Err(error)) => Poll::Ready(Err(error)),
                (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
                (Poll::Ready(Ok(_)), _) => {
                    Poll::Ready(Err(std::io::ErrorKind::UnexpectedEof.into()))
                }
                (Poll::Pending, _) if turn.written > 0 => Poll::Ready(Ok(turn)),
                (Poll::Pending, _) => Poll::Pending,
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

    /// Writes what the stream takes of what is queued.
    fn poll_write(&mut self, cx: &mut Context<'_>, turn: &mut Turn) -> std::io::Result<()> {
        while !self.output.is_empty() {
            match poll_write_buf(Pin::new(&mut self.stream), cx, &mut self.output) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    turn.written += written?;
                    self.unflushed = true;
                }
                Poll::Pending => break,
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
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

    /// The next node: a reply, but of an array its header alone, and then its elements.
    ///
    /// # Errors
    /// As [`Self::next_reply`].
    pub fn next_node(&mut self) -> Result<Option<Token>> {
        let filled = self.input.filled();
        let node = self.decoder.next_node(filled);
        node.map_err(|expected| not_resp(&self.server, filled, &expected.0))
    }

    /// The next node, if it is a bulk string that has come whole; anything else is left to
    /// [`Self::next_node`].
    pub fn next_bulk(&mut self) -> Option<Token> {
        self.decoder.next_bulk(self.input.filled())
    }

    /// The body of a token that was handed out and whose slab is not taken yet.
    pub fn body(&self, token: Token) -> &[u8] {
        token.body.of(self.input.filled())
    }

    /// Passes over replies that are exactly `line`, at most so many; answers how many there were.
    pub fn skip_repeats(&mut self, line: &[u8], most: usize) -> usize {
        self.decoder.skip_repeats(self.input.filled(), line, most)
    }

    /// The length of the bulk string at hand, of which more is still to come.
    pub fn announced(&self) -> Option<usize> {
        self.decoder.announced()
    }

    /// Begins to take the [`announced`](Self::announced) bulk string piece by piece. All replies
    /// before it have to be taken first: this drops them.
    pub fn begin_pieces(&mut self) -> Pieces {
        let rest = self.decoder.announced().unwrap_or(0);
        self.decoder.skip_header();
        drop(self.take_slab());
        Pieces { rest, line_end: LINE_END.len() }
    }

    /// The next piece of a bulk string; `None` when all of it has come. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::turn`], a peer that is silent for too long (`stop`: or for a little too long), and
    /// [`Kind::Protocol`]: the string does not end where it should.
    pub async fn next_piece(
        &mut self,
        pieces: &mut Pieces,
        stop: &CancellationToken,
    ) -> Result<Option<Bytes>> {
        loop {
            let filled = self.input.filled().len();
            if pieces.rest == 0 {
                if filled < pieces.line_end {
                    self.turn_within(stop).await?;
                    continue;
                }
                let end = self.input.take(pieces.line_end);
                pieces.line_end = 0;
                if !LINE_END.ends_with(&end) {
                    let expected = "CR LF at the end of a bulk string";
                    return Err(not_resp(&self.server, b"$", expected));
                }
                return Ok(None);
            }
            if filled > 0 {
                let piece = self.input.take(pieces.rest);
                pieces.rest -= piece.len();
                return Ok(Some(piece));
            }
            self.turn_within(stop).await?;
        }
    }

    /// Some bytes as they come, at most so many: for what is not told as replies. All replies before
    /// have to be taken. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::turn_within`].
    pub async fn next_raw(&mut self, most: usize, stop: &CancellationToken) -> Result<Bytes> {
        while self.input.filled().is_empty() {
            self.turn_within(stop).await?;
        }
        Ok(self.input.take(most))
    }

    /// A turn that does something before the peer's time is up.
    ///
    /// # Errors
    /// As [`Self::turn`] and [`Self::check_silence`].
    pub async fn turn_within(&mut self, stop: &CancellationToken) -> Result<Turn> {
        loop {
            match timeout(TICK, self.turn()).await {
                Ok(turn) => {
                    // A peer that takes what it is sent is at work, too.
                    self.last_heard = Instant::now();
                    return turn;
                }
                Err(_) => self.check_silence(stop.is_cancelled())?,
            }
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
    /// As [`Self::receive`].
    pub async fn call(&mut self, arguments: &[&[u8]]) -> Result<Value> {
        let mut replies = self.call_all(&[arguments]).await?;
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
            let error = match self.call(arguments).await {
                Ok(Value::Error(line)) => {
                    let command = arguments.first().copied().unwrap_or_default();
                    self.refused(command, &ServerError::parse(line.as_bytes()))
                }
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // A broken connection is not for this to make again.
            let busy = error.passes() && error.is_not_yet();
            if !busy || began.elapsed() >= self.timeouts.retry {
                return Err(error);
            }
            if backoff.tries() == 0 {
                tracing::warn!("waiting: {error}");
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Sends several commands in one round trip; errors of the server are replies here, but for those
    /// that pass by themselves.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn call_all(&mut self, commands: &[&[&[u8]]]) -> Result<Vec<Value>> {
        let replies = self.try_all(commands).await?;
        for (command, reply) in commands.iter().zip(&replies) {
            self.is_ready(command.first().copied().unwrap_or_default(), reply)?;
        }
        Ok(replies)
    }

    /// Sends several commands in one round trip, to see what the server says to each: errors that pass
    /// by themselves are replies, too.
    ///
    /// # Errors
    /// [`Kind::Transport`] or [`Kind::Protocol`].
    pub async fn try_all(&mut self, commands: &[&[&[u8]]]) -> Result<Vec<Value>> {
        for command in commands {
            self.output().command(command);
        }
        self.receive_any(commands.len()).await
    }

    /// Sends what is queued and waits for `count` replies. What a server says that is busy, loading or
    /// without its primary is never handed out as a reply: nothing can be concluded from it.
    ///
    /// # Errors
    /// [`Kind::Transport`] or [`Kind::Protocol`]; [`Kind::Server`] that [passes](Error::passes), if the
    /// server is not ready: [`super::Line`] waits for it.
    pub async fn receive(&mut self, count: usize) -> Result<Vec<Value>> {
        let replies = self.receive_any(count).await?;
        replies.iter().try_for_each(|reply| self.is_ready(b"a command", reply))?;
        Ok(replies)
    }

    /// Whether a reply is one that something can be concluded from.
    fn is_ready(&self, command: &[u8], reply: &Value) -> Result<()> {
        let Value::Error(line) = reply else { return Ok(()) };
        let error = ServerError::parse(line.as_bytes());
        if error.cause.passes() { Err(self.refused(command, &error)) } else { Ok(()) }
    }

    async fn receive_any(&mut self, count: usize) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(count.min(1024));
        self.expect_replies();
        while values.len() < count {
            if let Some(longest) = self.longest {
                let value = self.next_value_cut(longest).await;
                values.push(value.map_err(|error| self.last_words(error, &values))?);
                continue;
            }
            match self.next_reply()?.map(|reply| Value::of(&reply)) {
                Some(value) => values.push(value),
                None => {
                    self.take_slab();
                    match timeout(self.timeouts.reply, self.turn()).await {
                        Ok(turn) => turn.map_err(|error| self.last_words(error, &values))?,
                        Err(_) => return Err(self.silent(self.timeouts.reply)),
                    };
                }
            }
        }
        self.take_slab();
        Ok(values)
    }

    /// Puts this connection's side and endpoint on an error.
    pub fn place(&self, error: Error) -> Error {
        error.at(self.server.side, &self.server.endpoint.to_string())
    }

    /// Reads at most so many bytes at once, and holds as many at least: for a run of very many
    /// connections.
    pub fn limit_slab(&mut self, bytes: usize) {
        self.input.limit_slab(bytes);
    }

    fn silent(&self, limit: Duration) -> Error {
        let waited = units::duration(limit);
        self.place(
            Error::new(Kind::Transport, format!("no reply for {waited}"))
                .advise("if the server is only slow, allow more by --reply-timeout"),
        )
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        let explained = tls::explain(error, &self.server, true).unwrap_or_else(|| {
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
