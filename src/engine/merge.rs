//! `--if-exists merge`: a collection on the target gets the members it lacks, page by page, each in a
//! transaction that proves that the key is still the one that was looked at (`target::members`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{Form, Member, wire_of};
use crate::net::{Line, Link};
use crate::report::{Count, Ledger};
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::circles::{Circles, endless};
use crate::source::elements::{Collection, Page, fields, page};
use crate::source::expiry::Moment;
use crate::source::pages::{PAGE_BYTES, PageSize};
use crate::source::reading::{Held, Manner, Reading, read};
use crate::target::crossing::Crossing;
use crate::target::members::{Added, add};
use crate::units;

/// The task that merges, with a connection of its own to each side.
struct Merge {
    source: Line,
    target: Line,
    clock: ExpiryClock,
    crossing: Crossing,
    /// Whether fields of hashes may expire on the source, as far as it is known.
    fields_expire: bool,
    /// It was said that expiries are lost.
    lost: bool,
    room: Room,
    /// Members that are asked for at once, as learned from those that came.
    size: PageSize,
    /// The room for members that are longer than usual, until the key at hand is done.
    permit: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
}

/// The memory for members.
#[derive(Clone)]
pub(super) struct Room {
    /// The longest page of one merge alone, in bytes.
    longest: usize,
    /// Held by the one that needs more than [`USUAL`] of it. Not the place of keys in pieces: the task that holds
    /// that one may be waiting for this merge to take a key.
    place: Arc<Semaphore>,
}

impl Room {
    /// Of `memory` bytes; by `place` the merges of all databases take turns.
    pub(super) fn new(memory: u64, place: Arc<Semaphore>) -> Self {
        Self { longest: usize::try_from(memory / PARTS).unwrap_or(usize::MAX), place }
    }
}

/// The part of the memory that a page may be: it is held as it came, as it was read again, with its expiries, and
/// on its way to the target.
const PARTS: u64 = 6;

/// What a page may come to in every merge at once, in bytes; it is asked for what comes to a quarter of that.
const USUAL: usize = 4 * PAGE_BYTES;
/// Members that are asked for at first.
const FIRST_MEMBERS: usize = 16;

/// So often a page, or a key that the target has lost, is begun again that changes under our hands.
const TRIES: u32 = 20;

/// What became of a key.
enum Fate {
    Merged,
    /// The target had lost it: it is there with the source's value, of so many bytes.
    Copied(u64),
    Skipped,
    Gone,
}

/// Merges `keys`, which the target holds already, until the lanes have ended.
///
/// # Errors
/// A connection broke for good; the keys that wait are counted as failed.
pub(super) async fn merge(
    [source, target]: [Link; 2],
    mut keys: mpsc::Receiver<Vec<u8>>,
    clock: ExpiryClock,
    crossing: Crossing,
    room: Room,
    ledger: Ledger,
    stop: CancellationToken,
) -> Result<()> {
    let (source, target) = (Line::new(source), Line::new(target));
    let mut task = Merge {
        source,
        target,
        clock,
        crossing,
        fields_expire: true,
        lost: false,
        room,
        size: PageSize::beginning_with(FIRST_MEMBERS, PAGE_BYTES),
        permit: None,
        stop: stop.clone(),
    };
    let mut broken = Ok(());
    while let Some(key) = keys.recv().await {
        let fate = match &broken {
            Ok(()) => task.merge_or_recover(&key).await,
            Err(error) => Err(Error::clone(error)),
        };
        task.permit = None;
        match fate {
            Ok(Ok(Fate::Merged)) => ledger.keep_own(Count::Merged, &key),
            Ok(Ok(Fate::Copied(bytes))) => {
                ledger.add_bytes(bytes);
                ledger.add(Count::Copied, 1);
            }
            Ok(Ok(Fate::Skipped)) => ledger.keep_own(Count::Skipped, &key),
            Ok(Ok(Fate::Gone)) => ledger.add(Count::Expired, 1),
            Ok(Err(why)) => ledger.fail(&key, why.message()),
            Err(error) => {
                // Before anything is given up: nobody may take these keys for settled.
                stop.cancel();
                ledger.give_up(&key, error.message());
                broken = Err(error);
            }
        }
    }
    broken
}

impl Merge {
    /// What became of a key, or why it failed. Merging is idempotent: on a new connection a key is begun again.
    ///
    /// # Errors
    /// No key can be merged any more.
    async fn merge_or_recover(&mut self, key: &[u8]) -> Result<Result<Fate>> {
        loop {
            let error = match self.merge_key(key).await {
                Ok(fate) => {
                    self.source.answered();
                    self.target.answered();
                    return Ok(Ok(fate));
                }
                Err(error) => error,
            };
            let line = match error.side() {
                Some(Side::Source) => &mut self.source,
                _ => &mut self.target,
            };
            if error.kind() == Kind::Transport && error.side() == Some(Side::Source) {
                // Perhaps for the length of its replies.
                self.size.shrink();
            }
            // It may be in the middle of a transaction.
            line.close();
            match error.kind() {
                _ if error.passes() => line.recover(error).await?,
                Kind::Server => {
                    line.answered();
                    return Ok(Err(error));
                }
                _ => return Err(error),
            }
        }
    }

    /// Merges a key, which the target may have lost since it was seen there, or lose meanwhile.
    async fn merge_key(&mut self, key: &[u8]) -> Result<Fate> {
        for _ in 0..TRIES {
            if let Some(fate) = self.try_to_merge(key).await? {
                return Ok(fate);
            }
        }
        let text = "the target's key came and went each time that it was to be merged";
        Err(Error::new(Kind::Server, text))
    }

    /// `None`: what was to be written whole found a key again.
    async fn try_to_merge(&mut self, key: &[u8]) -> Result<Option<Fate>> {
        let from = type_of(&mut self.source, key).await?;
        if from == "none" {
            return Ok(Some(Fate::Gone));
        }
        let Some(collection) = Collection::from_type(&from) else {
            return match type_of(&mut self.target, key).await?.as_str() {
                "none" => self.copy_whole(key).await,
                _ => Ok(Some(Fate::Skipped)),
            };
        };
        let (mut cursor, mut seen) = (b"0".to_vec(), false);
        let mut circles = Circles::default();
        loop {
            let (next, mut members) = self.page(collection, key, &cursor).await?;
            let source = self.source.open().await?;
            if collection == Collection::Hash && self.fields_expire && !members.is_empty() {
                match fields(source, key, self.clock.ahead_ms, &members).await? {
                    Some(read) => members = read,
                    None => self.fields_expire = false,
                }
            }
            seen |= !members.is_empty();
            members.iter().for_each(|member| circles.name(&member.name));
            if next != b"0" && circles.close(&next) {
                return Err(endless(source, collection.scan_command()));
            }
            match self.add_page(key, &from, members).await? {
                Added::Absent => return self.copy_whole(key).await,
                Added::OtherType => return Ok(Some(Fate::Skipped)),
                _ if next == b"0" => {
                    return Ok(Some(if seen { Fate::Merged } else { Fate::Gone }));
                }
                _ => cursor = next,
            }
        }
    }

    /// Reads a page that there is memory for.
    async fn page(
        &mut self,
        collection: Collection,
        key: &[u8],
        cursor: &[u8],
    ) -> Result<(Vec<u8>, Vec<Member>)> {
        loop {
            let source = self.source.open().await?;
            let longest = self.room.longest;
            let most = if self.permit.is_some() { longest } else { USUAL.min(longest) };
            match page(source, collection, key, cursor, &mut self.size, most).await? {
                Page::Members(next, members) => return Ok((next, members)),
                Page::TooLong(_) if self.size.shrink() => {}
                Page::TooLong(_) if self.permit.is_none() && longest > USUAL => {
                    self.permit = self.room.place.clone().acquire_owned().await.ok();
                }
                Page::TooLong(bytes) => {
                    let text = format!(
                        "members that come at once are of {}, and --memory has room for {}",
                        units::bytes(bytes as u64),
                        units::bytes(most as u64)
                    );
                    let error = self.source.open().await?.place(Error::new(Kind::Server, text));
                    return Err(error.advise("allow more memory (--memory)"));
                }
            }
        }
    }

    /// Adds what the target lacks of a page.
    async fn add_page(
        &mut self,
        key: &[u8],
        kind: &str,
        mut members: Vec<Member>,
    ) -> Result<Added> {
        if members.is_empty() {
            return Ok(Added::All);
        }
        let latest = self.crossing.target.latest_field_expiry();
        if latest.is_none() && self.crossing.lossy && members.iter().any(|of| of.expiry > 0) {
            if !std::mem::replace(&mut self.lost, true) {
                tracing::warn!("expiries of hash fields are lost: the target knows none");
            }
            members.iter_mut().for_each(|member| member.expiry = 0);
        }
        for _ in 0..TRIES {
            let target = self.target.open().await?;
            match add(target, key, kind, &members, latest.unwrap_or(0)).await? {
                Added::Touched => {}
                Added::TooLate => {
                    let text = match latest {
                        None => "fields of this hash expire, and the target knows no such expiries",
                        Some(_) => "a field expires later than the target lets one",
                    };
                    return Err(Error::new(Kind::Server, text));
                }
                added => return Ok(added),
            }
        }
        let text =
            "other clients wrote to it on the target each time that members were to be added";
        Err(Error::new(Kind::Server, text))
    }

    /// Writes the source's value, expiry and all. `None`: the target holds a key, and nothing was written.
    async fn copy_whole(&mut self, key: &[u8]) -> Result<Option<Fate>> {
        let longest = self.crossing.target.longest_bulk.min(self.room.longest as u64);
        let manner = Manner {
            clock: self.clock,
            moment: Moment::of(self.clock),
            form: Form::Dump,
            hold: usize::try_from(longest).unwrap_or(usize::MAX),
        };
        let source = self.source.open().await?;
        let wire = wire_of(key);
        let mut read = read(source, manner, &[&wire], &self.stop).await?;
        let (expiry, payload) = match read.pop() {
            Some(Reading { expiry, held: Held::Whole(payload) }) => (expiry, payload),
            Some(Reading { held: Held::Refused(why), .. }) => {
                return Err(Error::new(Kind::Server, why));
            }
            Some(Reading { held: Held::Long { .. }, .. }) => {
                let text = "the target lost it, and its value is longer than the target takes at once, or than \
                            --memory has room for";
                return Err(Error::new(Kind::Server, text));
            }
            Some(Reading { held: Held::Gone, .. }) | None => return Ok(Some(Fate::Gone)),
        };
        let payload = match self.crossing.whole(&payload) {
            Ok(payload) => payload,
            Err(reason) => return Err(Error::new(Kind::Server, reason)),
        };
        let expiry = expiry.to_string();
        let command: [&[u8]; 5] = [b"RESTORE", key, expiry.as_bytes(), &payload, b"ABSTTL"];
        let target = self.target.open().await?;
        let Value::Error(line) = target.call(&command).await? else {
            return Ok(Some(Fate::Copied(payload.len() as u64)));
        };
        let error = ServerError::parse(line.as_bytes());
        match error.cause {
            Cause::KeyExists => Ok(None),
            _ => Err(target.refused(b"RESTORE", &error)),
        }
    }
}

async fn type_of(line: &mut Line, key: &[u8]) -> Result<String> {
    let connection = line.open().await?;
    match connection.demand(&[b"TYPE", key]).await? {
        Value::Simple(name) => Ok(name),
        _ => {
            let error = Error::new(Kind::Protocol, "unexpected reply to TYPE");
            Err(connection.place(error))
        }
    }
}
