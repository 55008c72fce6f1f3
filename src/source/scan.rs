//! Names the keys of one database: the SCAN loop, the filters, the road to the fetch tasks.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::circles::{Circles, endless};
use super::duplicates::Recent;
use super::marks::Course;
use super::page_of_names::{self, Page};
use crate::command::{ServerError, keyspace};
use crate::config::Filter;
use crate::error::{Error, Result};
use crate::flow::{Keys, name_of};
use crate::net::{Connection, Link};
use crate::report::{Ahead, Count, Ledger};
use crate::resp::Value;
use crate::units;

/// The very first COUNT, until it is known how long names are: those of a page come together.
const CAREFUL_COUNT: u32 = 4;
/// What the names of a page should come to, in bytes.
const PAGE_BYTES: usize = 1 << 20;
/// The COUNT that is soon reached: large enough that a round trip names hundreds of keys, small enough that the
/// server is away from its other clients for well under a millisecond. What a page names is read
/// soon after, while the server still has it in its caches: a tenth of its time for small strings.
pub const FIRST_COUNT: u32 = 500;
/// The largest COUNT, reached only where the fetch tasks starve: some 3 ms of the server's time.
pub const LARGEST_COUNT: u32 = 12_000;
/// Names that are on their way to those who read their keys, in bytes, where they are longer than usual.
const LONG_NAMES: usize = 8 << 20;
/// Chunks of less are not counted in that: their number is bounded.
const SHORT: usize = 64 << 10;
/// By so many bytes they are counted.
const KIB: usize = 1 << 10;
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
    /// The longest name that is held, in bytes.
    pub longest_name: usize,
    /// Where keys are counted whose names are longer.
    pub too_long: Ledger,
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
    let mut count = CAREFUL_COUNT;
    // Names longer than usual, or a source that sends no long replies, keep it below this.
    let mut most = scan.largest_count;
    let mut recent = scan.once.then(|| Recent::for_pages(scan.largest_count));
    let mut circles = Circles::default();
    let room = Arc::new(Semaphore::new(LONG_NAMES / KIB));
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
                    most = (count / 4).max(1);
                    count = most;
                }
                continue;
            }
        };
        cuts = 0;
        progress = Instant::now();
        let Page { next, keys: parts, too_long, bytes } = page;
        parts.iter().flat_map(Keys::iter).for_each(|name| circles.name(name));
        too_long.iter().for_each(|(beginning, _)| circles.name(beginning));
        if circles.close(&next) {
            return Err(endless(&scan.connection, b"SCAN"));
        }
        let named: usize =
            parts.iter().map(|keys| keys.wires.len()).sum::<usize>() + too_long.len();
        scan.pass_over(too_long);
        let (mut anew, mut meant) = (false, Vec::with_capacity(parts.len()));
        for mut keys in parts {
            if let Some(recent) = &mut recent {
                let slab = keys.slab.clone();
                keys.wires.retain(|wire| recent.is_new(wire.of(&slab)));
            }
            if let Some(marks) = &mut scan.course.marks {
                marks.name(keys.wires.len());
            }
            meant.push(loop {
                match scan.meant(&keys).await {
                    Ok(meant) => break meant,
                    Err(error) => anew |= scan.reconnect(error, progress).await?,
                }
            });
        }
        let fitting = u32::try_from(PAGE_BYTES.saturating_mul(named) / bytes.max(1));
        let starving = scan.keys.capacity() == scan.keys.max_capacity();
        count = if count < FIRST_COUNT {
            (count * 4).min(FIRST_COUNT)
        } else if starving {
            count * 2
        } else {
            count
        };
        count = count.min(most);
        if named > 0 {
            count = count.min(fitting.unwrap_or(u32::MAX).max(1));
        }
        let last = !anew && next == b"0";
        cursor = if anew { b"0".to_vec() } else { next };
        scan.ledger.reach(|| match last {
            true => Ahead::Nothing,
            false => Ahead::Cursor(cursor.clone()),
        });
        for keys in meant {
            if !scan.hand_over(&keys, &room).await {
                return Ok(());
            }
        }
        if last {
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

/// Waits until there is room for names of so many bytes.
async fn room_for(room: &Arc<Semaphore>, bytes: usize) -> Option<Arc<OwnedSemaphorePermit>> {
    if bytes < SHORT {
        return None;
    }
    let count = u32::try_from(bytes.min(LONG_NAMES) / KIB).ok()?;
    room.clone().acquire_many_owned(count).await.ok().map(Arc::new)
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
    async fn hand_over(&self, keys: &Keys, room: &Arc<Semaphore>) -> bool {
        let mut chunks = keys.wires.chunks(CHUNK);
        while let Some(wires) = chunks.next() {
            let mut chunk = Keys { slab: keys.slab.clone(), wires: wires.to_vec(), room: None };
            let sent = tokio::select! {
                biased;
                () = self.stop.cancelled() => false,
                sent = async {
                    chunk.room = room_for(room, chunk.bytes()).await;
                    self.keys.send(chunk).await
                } => sent.is_ok(),
            };
            if !sent {
                let left = [wires].into_iter().chain(chunks).flatten();
                left.for_each(|wire| self.ledger.leave(name_of(wire.of(&keys.slab))));
                return false;
            }
        }
        true
    }

    async fn page(&mut self, cursor: &[u8], count: u32) -> Result<Page> {
        keyspace::scan(self.connection.output(), cursor, count);
        page_of_names::read(&mut self.connection, self.longest_name, &self.stop).await
    }

    /// Counts keys whose names cannot be held as failed.
    fn pass_over(&self, too_long: Vec<(Vec<u8>, usize)>) {
        for (beginning, length) in too_long {
            let (length, most) =
                (units::bytes(length as u64), units::bytes(self.longest_name as u64));
            let text = format!(
                "its name has {length}: --memory has room for names of up to {most}, allow more by it"
            );
            self.too_long.add(Count::Scanned, 1);
            self.too_long.fail_unnamed(&beginning, &text);
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
