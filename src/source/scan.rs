//! Names the keys of one database: the SCAN loop, the filters, the road to the fetch tasks.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::circles::{Circles, endless};
use super::duplicates::Recent;
use super::marks::Course;
use crate::command::{ServerError, keyspace};
use crate::config::Filter;
use crate::error::{Error, Kind, Result};
use crate::flow::{Keys, name_of};
use crate::net::{Connection, Link};
use crate::report::{Ahead, Count, Ledger};
use crate::resp::{self, Span, Value};

/// The first COUNT: large enough that a round trip names hundreds of keys, small enough that the
/// server is away from its other clients for well under a millisecond. What a page names is read
/// soon after, while the server still has it in its caches: a tenth of its time for small strings.
pub const FIRST_COUNT: u32 = 500;
/// The largest COUNT, reached only where the fetch tasks starve: some 3 ms of the server's time.
pub const LARGEST_COUNT: u32 = 12_000;
/// Keys handed over at once: what one fetch task holds, so that the others share the rest.
pub const CHUNK: usize = 128;

/// One scan of one database.
pub struct Scan {
    /// The way back, should the connection break.
    pub link: Link,
    /// On the database.
    pub connection: Connection,
    /// Which keys are meant.
    pub filter: Filter,
    /// Drop keys that SCAN names twice.
    pub once: bool,
    /// The largest COUNT, for where a page takes long to come.
    pub largest_count: u32,
    /// Where the keys go.
    pub keys: mpsc::Sender<Keys>,
    /// Where filtered keys are counted.
    pub ledger: Ledger,
    /// Ends the scan early, after the call at hand.
    pub stop: CancellationToken,
    /// Where it begins, and what becomes of how far it has come.
    pub course: Course,
}

/// Scans to the end, or until it is stopped, or until nobody takes keys any more.
///
/// # Errors
/// The connection broke, or SCAN (TYPE, with `--type`) was refused.
pub async fn scan(mut scan: Scan) -> Result<()> {
    let mut cursor = scan.course.from.take().unwrap_or_else(|| b"0".to_vec());
    let mut count = FIRST_COUNT;
    let mut recent = scan.once.then(Recent::default);
    let mut circles = Circles::default();
    // Since the last page: names may be too long to come in one reply.
    let mut cuts = 0;
    let mut progress = Instant::now();
    loop {
        scan.ledger.reach(|| Ahead::Cursor(cursor.clone()));
        if scan.stop.is_cancelled() {
            return Ok(());
        }
        let page = match scan.page(&cursor, count).await {
            Ok(page) => page,
            Err(error) => {
                if scan.reconnect(error, progress).await? {
                    cursor = b"0".to_vec();
                    circles = Circles::default();
                }
                cuts += 1;
                if cuts > 1 {
                    count = (count / 4).max(1);
                    scan.largest_count = count;
                }
                continue;
            }
        };
        cuts = 0;
        progress = Instant::now();
        let (next, mut keys) = page;
        keys.iter().for_each(|name| circles.name(name));
        if circles.close(&next) {
            return Err(endless(&scan.connection, b"SCAN"));
        }
        if let Some(recent) = &mut recent {
            let slab = keys.slab.clone();
            keys.wires.retain(|wire| recent.is_new(wire.of(&slab)));
        }
        if let Some(marks) = &mut scan.course.marks {
            marks.name(keys.wires.len());
        }
        let mut anew = false;
        let keys = loop {
            match scan.meant(&keys).await {
                Ok(meant) => break meant,
                Err(error) => anew |= scan.reconnect(error, progress).await?,
            }
        };
        let starving = scan.keys.capacity() == scan.keys.max_capacity();
        if starving {
            count = (count * 2).min(scan.largest_count);
        }
        let last = !anew && next == b"0";
        cursor = if anew { b"0".to_vec() } else { next };
        scan.ledger.reach(|| match last {
            true => Ahead::Nothing,
            false => Ahead::Cursor(cursor.clone()),
        });
        if !scan.hand_over(&keys).await || last {
            return Ok(());
        }
        if anew {
            circles = Circles::default();
            continue;
        }
        if let Some(marks) = &mut scan.course.marks {
            marks.tell(&cursor, &scan.stop).await;
        }
    }
}

impl Scan {
    /// Connects again; `true`: to another process, to which cursors of the last one mean nothing.
    async fn reconnect(&mut self, error: Error, progress: Instant) -> Result<bool> {
        let again = self.link.reconnect(error, progress).await?;
        self.link.trust(&again);
        self.connection = again.connection;
        if !again.same_process {
            tracing::warn!("a server was restarted; its keys are scanned anew");
            self.course.repeated.begin_again();
        }
        Ok(!again.same_process)
    }

    /// Sends keys in chunks; `false`: it is stopped, or nobody takes them any more.
    async fn hand_over(&self, keys: &Keys) -> bool {
        let mut chunks = keys.wires.chunks(CHUNK);
        while let Some(wires) = chunks.next() {
            let chunk = Keys { slab: keys.slab.clone(), wires: wires.to_vec() };
            let sent = tokio::select! {
                biased;
                () = self.stop.cancelled() => false,
                sent = self.keys.send(chunk) => sent.is_ok(),
            };
            if !sent {
                let left = [wires].into_iter().chain(chunks).flatten();
                left.for_each(|wire| self.ledger.leave(name_of(wire.of(&keys.slab))));
                return false;
            }
        }
        true
    }

    /// Asks for a page: the next cursor, and the keys in wire form.
    async fn page(&mut self, cursor: &[u8], count: u32) -> Result<(Vec<u8>, Keys)> {
        let connection = &mut self.connection;
        keyspace::scan(connection.output(), cursor, count);
        connection.expect_replies();
        let answer = loop {
            if let Some(reply) = connection.next_reply()? {
                break read_page(&reply);
            }
            connection.turn_within(&self.stop).await?;
        };
        let slab = connection.take_slab();
        match answer {
            Ok((cursor, wires)) => Ok((cursor, Keys { slab, wires })),
            Err(Some(error)) => Err(connection.refused(b"SCAN", &error)),
            Err(None) => {
                let text = "SCAN answered something else";
                Err(connection.place(Error::new(Kind::Protocol, text)))
            }
        }
    }

    /// Drops the keys that are not meant, and counts them.
    async fn meant(&mut self, keys: &Keys) -> Result<Keys> {
        let mut keys = keys.clone();
        if self.filter.is_all() {
            return Ok(keys);
        }
        let seen = keys.wires.len();
        let slab = keys.slab.clone();
        keys.wires.retain(|wire| self.filter.admits_name(name_of(wire.of(&slab))));
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
