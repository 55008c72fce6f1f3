//! Names the keys of one database: the SCAN loop, the filters, the road to the fetch tasks.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::duplicates::Recent;
use crate::command::{ServerError, keyspace};
use crate::config::Filter;
use crate::error::{Error, Kind, Result};
use crate::flow::Keys;
use crate::net::Connection;
use crate::report::{Count, Ledger};
use crate::resp::{self, Span, Value};

/// The first COUNT: large enough that a round trip names hundreds of keys, small enough that the
/// server is away from its other clients for well under a millisecond.
const FIRST_COUNT: u32 = 1_000;
/// The largest COUNT, reached only where the fetch tasks starve: some 2 ms of the server's time.
const LARGEST_COUNT: u32 = 8_000;
/// Keys handed over at once: what one fetch task holds, so that the others share the rest.
const CHUNK: usize = 128;

/// One scan of one database.
pub struct Scan {
    /// On the database.
    pub connection: Connection,
    /// Which keys are meant.
    pub filter: Filter,
    /// Drop keys that SCAN names twice.
    pub once: bool,
    /// Where the keys go.
    pub keys: mpsc::Sender<Keys>,
    /// Where filtered keys are counted.
    pub ledger: Ledger,
    /// Ends the scan early, after the call at hand.
    pub stop: CancellationToken,
}

/// Scans to the end, or until it is stopped, or until nobody takes keys any more.
///
/// # Errors
/// The connection broke, or SCAN (TYPE, with `--type`) was refused.
pub async fn scan(mut scan: Scan) -> Result<()> {
    let mut cursor = b"0".to_vec();
    let mut count = FIRST_COUNT;
    let mut recent = scan.once.then(Recent::default);
    while !scan.stop.is_cancelled() {
        keyspace::scan(scan.connection.output(), &cursor, count);
        let (next, mut keys) = page(&mut scan.connection).await?;
        if let Some(recent) = &mut recent {
            let slab = keys.slab.clone();
            keys.wires.retain(|wire| recent.is_new(wire.of(&slab)));
        }
        let keys = scan.meant(keys).await?;
        let starving = scan.keys.capacity() == scan.keys.max_capacity();
        if starving {
            count = (count * 2).min(LARGEST_COUNT);
        }
        for chunk in keys.wires.chunks(CHUNK) {
            let chunk = Keys { slab: keys.slab.clone(), wires: chunk.to_vec() };
            tokio::select! {
                biased;
                () = scan.stop.cancelled() => return Ok(()),
                sent = scan.keys.send(chunk) => if sent.is_err() { return Ok(()) },
            }
        }
        if next == b"0" {
            break;
        }
        cursor = next;
    }
    Ok(())
}

impl Scan {
    /// Drops the keys that are not meant, and counts them.
    async fn meant(&mut self, mut keys: Keys) -> Result<Keys> {
        if self.filter.is_all() {
            return Ok(keys);
        }
        let seen = keys.wires.len();
        let slab = keys.slab.clone();
        keys.wires.retain(|wire| self.filter.admits_name(crate::flow::name_of(wire.of(&slab))));
        let mut gone = 0;
        if !self.filter.types.is_empty() {
            for wire in &keys.wires {
                keyspace::key_type(self.connection.output(), wire.of(&slab));
            }
            let types = self.connection.receive(keys.wires.len()).await?;
            let mut types = types.iter();
            let mut refused = None;
            keys.wires.retain(|_| match types.next() {
                // Gone since SCAN named it.
                Some(Value::Simple(name)) if name == "none" => {
                    gone += 1;
                    false
                }
                Some(Value::Error(line)) => {
                    refused.get_or_insert_with(|| line.clone());
                    false
                }
                other => other.and_then(Value::bytes).is_some_and(|n| self.filter.admits_type(n)),
            });
            if let Some(line) = refused {
                let error = ServerError::parse(line.as_bytes());
                return Err(self.connection.refused(b"TYPE", &error));
            }
        }
        let dropped = (seen - keys.wires.len()) as u64;
        self.ledger.add(Count::Scanned, dropped);
        self.ledger.add(Count::Expired, gone);
        self.ledger.add(Count::Filtered, dropped - gone);
        Ok(keys)
    }
}

/// Reads the reply to a SCAN: the next cursor, and the keys in wire form.
async fn page(connection: &mut Connection) -> Result<(Vec<u8>, Keys)> {
    connection.expect_replies();
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
    let (cursor, wires) = loop {
        if let Some(reply) = connection.next_reply()? {
            break read_page(&reply);
        }
        tokio::select! {
            biased;
            turn = connection.turn() => { turn?; }
            _ = tick.tick() => connection.check_silence()?,
        }
    }
    .map_err(|refused| match refused {
        Some(error) => connection.refused(b"SCAN", &error),
        None => connection.place(Error::new(Kind::Protocol, "SCAN answered something else")),
    })?;
    Ok((cursor, Keys { slab: connection.take_slab(), wires }))
}

/// `[cursor, [key, key, …]]`; an error reply is `Err(Some)`, anything else `Err(None)`.
fn read_page(
    reply: &resp::Reply<'_>,
) -> std::result::Result<(Vec<u8>, Vec<Span>), Option<ServerError>> {
    if let Some(line) = reply.error() {
        return Err(Some(ServerError::parse(line)));
    }
    match reply.tokens() {
        [outer, cursor, inner, keys @ ..]
            if outer.kind == resp::Kind::Array
                && outer.number == 2
                && cursor.kind == resp::Kind::Bulk
                && inner.kind == resp::Kind::Array
                && keys.iter().all(|key| key.kind == resp::Kind::Bulk) =>
        {
            Ok((reply.body(*cursor).to_vec(), keys.iter().map(|key| key.wire).collect()))
        }
        _ => Err(None),
    }
}
