//! Pull from an RDB file: what a scan and fetches do of a server, one thread does of a file.
//!
//! The file was read once before, from end to end, so that nothing is done with a damaged one; here
//! its keys are read again, database after database. Threads read, since they wait for the disk.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::laid::{BATCH_BYTES, BATCH_KEYS, Laid};
use super::opened::{From, Opened};
use super::twice::Twice;
use crate::config::Filter;
use crate::error::{Error, Kind, Result};
use crate::flow::{Batch, Form, Keys, Large, PIECES, Piece, Verdict, channel, wire_of};
use crate::payload::{
    Footer, Losses, add_to_checksum, all_fields_expired, footer, has_nan, holds_nothing,
};
use crate::rdb::{Key, Record, Records, Section, Version};
use crate::report::{Count, Ledger};
use crate::resp::Span;
use crate::units;

/// A piece of a value that comes in pieces, in bytes.
const PIECE: usize = 256 << 10;

/// Why a sorted set is not sent at all.
const NAN: &str = "a score is not a number (NaN), which crashes some servers; it is not sent";

/// One database of a file, being read.
pub struct Reading {
    /// The file.
    pub opened: Opened,
    /// Its version.
    pub version: Version,
    /// The database's place in it.
    pub section: Section,
    /// Which keys are meant.
    pub filter: Filter,
    /// Names that are there twice.
    pub twice: Arc<Twice>,
    /// How far the target's clock, by which keys expire, is ahead of ours, in milliseconds.
    pub ahead_ms: i64,
    /// Values whose payloads are longer are passed on in pieces.
    pub large: usize,
    /// Where keys are counted.
    pub ledger: Ledger,
    /// Containers without an element that were met.
    pub empty: Cell<u64>,
}

/// Some names, and when their keys expire (Unix milliseconds, 0: never).
#[derive(Debug, Default)]
pub struct Names {
    /// In wire form.
    pub keys: Keys,
    /// One for each of them.
    pub expiries: Vec<i64>,
    /// By their places: what keys would lose on their way, or why they would fail, where that was asked for.
    pub foreseen: BTreeMap<usize, std::result::Result<Losses, String>>,
}

/// Foresees what a payload would lose on its way, or why it would fail.
pub type Foresee = dyn Fn(&[u8]) -> std::result::Result<Losses, String> + Send + Sync;

/// The road to the lanes.
struct Out<'a> {
    lanes: &'a [channel::Sender],
    turn: usize,
    handle: &'a Handle,
}

impl Reading {
    fn records(&self, keep: usize) -> Records<From> {
        self.opened.records(&self.section, self.version, keep)
    }

    /// The next key that is meant and has not expired; the others are counted.
    fn next_meant(&self, records: &mut Records<From>) -> Result<Option<Key>> {
        loop {
            let key = match records.next_record() {
                Ok(Record::Key(key)) => key,
                Ok(Record::End) => return Ok(None),
                Ok(_) => continue,
                Err(error) => {
                    let error = self.opened.explain(error);
                    // Stopped: what was read until here goes on.
                    return if error.kind() == Kind::Cancelled { Ok(None) } else { Err(error) };
                }
            };
            let kind = type_name(&key);
            let meant = self.filter.admits_name(&key.name) && self.filter.admits_type(kind);
            let count = match meant {
                false => Count::Filtered,
                // The later one of its name takes its place.
                true if self.twice.is_replaced(self.section.database, &key.name, key.at) => {
                    Count::Skipped
                }
                true if self.has_expired(&key) => Count::Expired,
                true if self.holds_nothing(&key) => {
                    self.empty.set(self.empty.get() + 1);
                    Count::Skipped
                }
                true if self.ends_a_server(&key) => {
                    self.ledger.add(Count::Scanned, 1);
                    self.ledger.fail(&key.name, NAN);
                    continue;
                }
                true => return Ok(Some(key)),
            };
            self.ledger.add(Count::Scanned, 1);
            self.ledger.add(count, 1);
        }
    }

    /// Whether a key is not there any more for those who use it: it has expired, or all fields of a hash
    /// have. (A value that is not held is not looked at; the target drops it if so, and the proof finds
    /// that.)
    fn has_expired(&self, key: &Key) -> bool {
        let now_ms = unix_ms().saturating_add(self.ahead_ms);
        let fields_have = |body: &Vec<u8>| {
            all_fields_expired(body, self.version.number(), now_ms).unwrap_or(false)
        };
        key.is_expired(now_ms) || key.body.as_ref().is_some_and(fields_have)
    }

    /// Returns true for a container without an element: old servers left such keys behind, and every server drops
    /// them when it loads a file. (A value that is not held is too long to be one.)
    fn holds_nothing(&self, key: &Key) -> bool {
        key.body.as_ref().is_some_and(|body| holds_nothing(body, self.version.number()))
    }

    /// Returns true for a value that would end a server that does not check it.
    fn ends_a_server(&self, key: &Key) -> bool {
        key.body.as_ref().is_some_and(|body| has_nan(body, self.version.number()))
    }

    /// Sends all names, for a look at each of them.
    ///
    /// # Errors
    /// The file was changed meanwhile.
    pub fn send_names(&self, to: &mpsc::Sender<Names>, foresee: Option<&Foresee>) -> Result<()> {
        let mut records = self.records(self.large);
        let (mut slab, mut names) = (Vec::new(), Names::default());
        loop {
            let key = self.next_meant(&mut records)?;
            if let Some(key) = &key {
                let start = slab.len();
                slab.extend_from_slice(&wire_of(&key.name));
                names.keys.wires.extend(Span::new(start, slab.len()));
                if let (Some(foresee), Some(body)) = (foresee, &key.body) {
                    let end = footer::made(body, self.version.number()).to_bytes();
                    let found = foresee(&[&body[..], &end].concat());
                    names.foreseen.insert(names.expiries.len(), found);
                }
                names.expiries.push(key.expiry.unwrap_or(0));
            }
            let full = names.expiries.len() >= BATCH_KEYS || slab.len() >= BATCH_BYTES;
            if full || key.is_none() {
                names.keys.slab = std::mem::take(&mut slab).into();
                let gone = to.blocking_send(std::mem::take(&mut names)).is_err();
                if gone || key.is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Sends all values to the lanes in turn.
    ///
    /// # Errors
    /// The file was changed meanwhile; keys that were taken up and not sent are counted as failed.
    pub fn send_values(&self, lanes: &[channel::Sender], handle: &Handle) -> Result<()> {
        let mut out = Out { lanes, turn: 0, handle };
        let mut laid = Laid::default();
        let sent = self.send_each(&mut laid, &mut out);
        if self.empty.get() > 0 {
            let (keys, database) = (units::count(self.empty.get()), self.section.database);
            tracing::warn!(
                "database {database} of the file holds keys without an element, which every server drops when it \
                 loads them; keys that are skipped: {keys}"
            );
        }
        match &sent {
            Ok(true) => {}
            // The lane has ended and said why; more keys would only fail too.
            Ok(false) => self.opened.give_up(),
            Err(error) => self.fail(&laid.batch, error.message()),
        }
        sent.map(|_| ())
    }

    /// Sends until nothing is left; `false`: nobody takes it.
    fn send_each(&self, laid: &mut Laid, out: &mut Out<'_>) -> Result<bool> {
        let mut records = self.records(self.large);
        while let Some(key) = self.next_meant(&mut records)? {
            self.ledger.add(Count::Scanned, 1);
            let open = match &key.body {
                Some(body) => {
                    laid.push(&key, body, self.version);
                    !laid.is_full() || self.send(laid, out)
                }
                None => {
                    let large = match self.send(laid, out) {
                        true => self.send_large(&key, out),
                        false => {
                            Err(Error::new(Kind::Local, "the run ended before it was written"))
                        }
                    };
                    if let Err(error) = &large {
                        self.ledger.fail(&key.name, error.message());
                    }
                    match large {
                        Err(error) if error.kind() == Kind::State => return Err(error),
                        large => large.unwrap_or(false),
                    }
                }
            };
            if !open {
                return Ok(false);
            }
        }
        Ok(self.send(laid, out))
    }

    fn fail(&self, batch: &Batch, reason: &str) {
        for entry in &batch.entries {
            self.ledger.fail(batch.name(entry), reason);
        }
    }

    /// Sends what is laid together; `false`: nobody takes it.
    fn send(&self, laid: &mut Laid, out: &mut Out<'_>) -> bool {
        if laid.batch.entries.is_empty() {
            return true;
        }
        let Laid { mut batch, payloads } = std::mem::take(laid);
        batch.payloads = payloads.into();
        let Some(lane) = out.next() else { return false };
        match out.handle.block_on(lane.send(batch)) {
            Ok(()) => true,
            Err(batch) => {
                self.fail(&batch, "the run ended before it was written");
                false
            }
        }
    }

    /// Passes a value on that is not held whole, until it is settled; `false`: nobody takes it.
    fn send_large(&self, key: &Key, out: &mut Out<'_>) -> Result<bool> {
        let footer = self.footer(key)?;
        let Some(lane) = out.next() else { return Ok(false) };
        // A file on a 64-bit machine holds no longer values than an address can tell.
        let bytes = usize::try_from(key.payload_bytes()).unwrap_or(usize::MAX);
        let mut doubtful = false;
        loop {
            let (sender, pieces) = mpsc::channel(PIECES);
            let (verdict, answer) = oneshot::channel();
            let large = Large {
                key: wire_of(&key.name),
                form: Form::Dump,
                bytes,
                expiry: key.expiry.unwrap_or(0),
                pieces,
                verdict,
                doubtful,
            };
            if out.handle.block_on(lane.send_large(large)).is_ok() {
                self.send_pieces(key, footer, lane, &sender, out)?;
            }
            drop(sender);
            match out.handle.block_on(answer) {
                // Nobody copies a file's values element by element; then the lane has said so.
                Ok(Verdict::Settled | Verdict::HandedOver) => return Ok(true),
                Ok(Verdict::Again { .. }) if self.opened.is_stopped() => {
                    self.ledger.fail(&key.name, "stopped before it was sent whole");
                    return Ok(false);
                }
                Ok(Verdict::Again { doubtful: since }) => doubtful |= since,
                Ok(Verdict::Whole { doubtful }) => {
                    return self.send_whole(key, doubtful, lane, out);
                }
                Err(_) => {
                    let text = "the run ended before it was written";
                    self.ledger.fail(&key.name, text);
                    return Ok(false);
                }
            }
        }
    }

    /// Reads a value over, for the checksum that stands behind it.
    fn footer(&self, key: &Key) -> Result<Footer> {
        let mut checksum = add_to_checksum(0, &[key.first]);
        self.each_piece(key, |piece| {
            checksum = add_to_checksum(checksum, &piece);
            true
        })?;
        let version = self.version.number();
        Ok(Footer { version, checksum: add_to_checksum(checksum, &version.to_le_bytes()) })
    }

    /// Sends a payload in pieces, for as long as somebody takes them.
    fn send_pieces(
        &self,
        key: &Key,
        footer: Footer,
        lane: &channel::Sender,
        to: &mpsc::Sender<Piece>,
        out: &Out<'_>,
    ) -> Result<()> {
        let mut send = |piece: Bytes| {
            out.handle.block_on(lane.pace_piece(piece.len()));
            to.blocking_send(Piece::Bytes(piece)).is_ok()
        };
        if send(Bytes::copy_from_slice(&[key.first])) {
            self.each_piece(key, &mut send)?;
            send(Bytes::copy_from_slice(&footer.to_bytes()));
        }
        let _ = to.blocking_send(Piece::End(None));
        Ok(())
    }

    /// Sends a value in one batch after all, held whole, so that it can be compared with what the target
    /// holds; `false`: nobody takes it.
    fn send_whole(
        &self,
        key: &Key,
        doubtful: bool,
        lane: &channel::Sender,
        out: &Out<'_>,
    ) -> Result<bool> {
        let mut body = vec![key.first];
        self.each_piece(key, |piece| {
            body.extend_from_slice(&piece);
            true
        })?;
        let mut laid = Laid::default();
        laid.push(key, &body, self.version);
        drop(body);
        let Laid { mut batch, payloads } = laid;
        (batch.payloads, batch.doubtful) = (payloads.into(), doubtful);
        let refused = out.handle.block_on(lane.send(batch)).err();
        refused.iter().for_each(|batch| self.fail(batch, "the run ended before it was written"));
        Ok(refused.is_none())
    }

    /// Reads a value from the file again, without its type byte, as long as it is wanted. A large
    /// value is read to its end also when the run is being stopped.
    fn each_piece(&self, key: &Key, mut each: impl FnMut(Bytes) -> bool) -> Result<()> {
        let (mut at, mut left) = (key.at, key.length);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; count];
            self.opened.read_exact_at(&mut piece, at)?;
            (at, left) = (at + count as u64, left - count as u64);
            if !each(piece.into()) {
                break;
            }
        }
        Ok(())
    }
}

impl<'a> Out<'a> {
    fn next(&mut self) -> Option<&'a channel::Sender> {
        self.turn = (self.turn + 1) % self.lanes.len().max(1);
        self.lanes.get(self.turn)
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What TYPE would answer; a module's type is told by no file.
fn type_name(key: &Key) -> &'static [u8] {
    use crate::payload::Kind;
    match key.kind {
        Kind::String => b"string",
        Kind::List => b"list",
        Kind::Set => b"set",
        Kind::SortedSet => b"zset",
        Kind::Hash => b"hash",
        Kind::Stream => b"stream",
        Kind::Module => b"",
    }
}
