//! A source's own RDB file, by the handshake that replicas begin with.
//!
//! Only the file is taken: what follows it on the wire is never asked for, and nothing is ever
//! acknowledged, so that no write waits for us and no client is told of one replica more than there
//! is. Announced is what the file needs and no more: `eof`, so that a server may send it from memory
//! instead of writing it to its own disk first, and to a Valkey the version from which on it sends
//! expiries of hash fields. The connection is closed behind the file.

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::Value;
use crate::units::printable;

/// The mark that announces and ends a file whose length is not known beforehand.
const MARK_BYTES: usize = 40;
/// The longest line of the handshake; servers answer some 60 bytes.
const LONGEST_LINE: usize = 1024;
/// What is taken at once.
const PIECE: usize = 256 << 10;

/// How the end of a file is known.
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// This stands behind it.
    Mark([u8; MARK_BYTES]),
    /// It has come.
    Ended,
}

/// A file on its way.
pub struct Snapshot {
    connection: Connection,
    framing: Framing,
    /// The last bytes that have come: perhaps the mark's beginning.
    held: BytesMut,
}

/// What the source said to the handshake.
pub enum Begun {
    /// The file comes.
    Snapshot(Box<Snapshot>),
    /// It does not hand out its file, for this reason.
    Refused(String),
}

/// Where a source puts its file before it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// It sends it from memory.
    Memory,
    /// It writes it to its own disk first, in the place of its own `dump.rdb`. Where that fails, it refuses
    /// all writes of its clients from then on (MISCONF).
    Disk,
    /// It does not report that, for this reason.
    Unknown(String),
}

/// Asks where a source puts its file (`repl-diskless-sync`).
///
/// # Errors
/// The connection broke.
pub async fn medium(connection: &mut Connection) -> Result<Medium> {
    let reply = connection.call(&[b"CONFIG", b"GET", b"repl-diskless-sync"]).await?;
    if let Value::Error(line) = &reply {
        return Ok(Medium::Unknown(printable(line.as_bytes())));
    }
    let told = reply.elements().and_then(|pair| pair.get(1)?.bytes());
    Ok(match told {
        Some(b"yes") => Medium::Memory,
        Some(b"no") => Medium::Disk,
        _ => Medium::Unknown("it has no setting repl-diskless-sync".to_owned()),
    })
}

/// Asks for the file. `valkey`: the source is one.
///
/// # Errors
/// The run was stopped; everything else is a refusal.
pub async fn begin(
    mut connection: Connection,
    valkey: bool,
    stop: &CancellationToken,
) -> Result<Begun> {
    let mut options: Vec<&[&[u8]]> =
        vec![&[b"REPLCONF", b"capa", b"eof"], &[b"REPLCONF", b"rdb-only", b"1"]];
    if valkey {
        options.push(&[b"REPLCONF", b"version", b"9.1.0"]);
    }
    for option in options {
        // A server that does not know one of them says so, and does without.
        if let Err(error) = connection.call(option).await {
            return Ok(Begun::Refused(error.message().to_owned()));
        }
    }
    connection.output().command(&[b"PSYNC", b"?", b"-1"]);
    connection.expect_replies();
    let framing = match announced(&mut connection, stop).await {
        Ok(framing) => framing,
        Err(error) if error.kind() == Kind::Cancelled => return Err(error),
        Err(error) => return Ok(Begun::Refused(error.message().to_owned())),
    };
    Ok(Begun::Snapshot(Box::new(Snapshot { connection, framing, held: BytesMut::new() })))
}

/// Reads up to the file's first byte.
async fn announced(connection: &mut Connection, stop: &CancellationToken) -> Result<Framing> {
    let refused = |line: &[u8]| Error::new(Kind::Server, printable(line));
    let answer = line(connection, stop).await?;
    if !answer.starts_with(b"+FULLRESYNC") {
        return Err(refused(answer.strip_prefix(b"-").unwrap_or(&answer)));
    }
    let header = line(connection, stop).await?;
    let text = std::str::from_utf8(&header).unwrap_or_default();
    let mark =
        header.strip_prefix(b"$EOF:").and_then(|mark| <[u8; MARK_BYTES]>::try_from(mark).ok());
    match (mark, text.strip_prefix('$').and_then(|length| length.parse().ok())) {
        (Some(mark), _) => Ok(Framing::Mark(mark)),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Err(refused(header.strip_prefix(b"-").unwrap_or(&header))),
    }
}

/// A line; the line feeds before it only say that the source is still there.
async fn line(connection: &mut Connection, stop: &CancellationToken) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < LONGEST_LINE {
        match raw(connection, 1, stop).await?.first() {
            Some(b'\n') if line.is_empty() => {}
            Some(b'\n') => {
                line.pop_if(|byte| *byte == b'\r');
                return Ok(line);
            }
            Some(&byte) => line.push(byte),
            None => {}
        }
    }
    Err(connection.place(Error::new(Kind::Protocol, "its answer to PSYNC does not end")))
}

async fn raw(connection: &mut Connection, most: usize, stop: &CancellationToken) -> Result<Bytes> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::new(Kind::Cancelled, "stopped")),
        bytes = connection.next_raw(most, stop) => bytes,
    }
}

impl Snapshot {
    /// How long the file is, in bytes, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }

    /// The next piece of the file; `None` when all of it has come. Not to be cancelled.
    ///
    /// # Errors
    /// The connection broke, or the run was stopped: the file is not whole then.
    pub async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Bytes>> {
        loop {
            match &mut self.framing {
                Framing::Ended | Framing::Length(0) => return Ok(None),
                Framing::Length(left) => {
                    let most = usize::try_from(*left).unwrap_or(PIECE).min(PIECE);
                    let piece = raw(&mut self.connection, most, stop).await?;
                    *left -= piece.len() as u64;
                    return Ok(Some(piece));
                }
                Framing::Mark(mark) => {
                    let mark = *mark;
                    let piece = raw(&mut self.connection, PIECE, stop).await?;
                    self.held.extend_from_slice(&piece);
                    let ready = match position(&self.held, &mark) {
                        Some(end) => {
                            self.framing = Framing::Ended;
                            end
                        }
                        None => self.held.len().saturating_sub(MARK_BYTES - 1),
                    };
                    if ready > 0 {
                        return Ok(Some(self.held.split_to(ready).freeze()));
                    }
                }
            }
        }
    }
}

/// Where the mark begins. It is random: nothing but the file's end looks like it.
fn position(bytes: &[u8], mark: &[u8; MARK_BYTES]) -> Option<usize> {
    bytes.windows(MARK_BYTES).position(|window| window == mark)
}
