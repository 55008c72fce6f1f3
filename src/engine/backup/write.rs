//! The threads that write a file: they wait for the disk, which no task may.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::super::part_file::PartFile;
use crate::error::{Error, Kind, Result};
use crate::flow::{Batch, Entry, Large, Load, Piece, Verdict, channel, name_of};
use crate::payload::{self, FOOTER_BYTES, Footer, PayloadError, add_to_checksum, footer};
use crate::rdb::{Mark, RdbError, Summary, Version, Writer, check};
use crate::report::{Count, Ledger};

/// What is laid together for one write, in bytes.
const BUFFER: usize = 256 << 10;

/// A file that is on the disk, with what was found in it when it was read back.
pub(super) struct Written {
    pub(super) part: PartFile,
    pub(super) summary: Summary,
}

/// What a file is made of, in order.
pub(super) enum Chapter {
    /// Records of libraries of functions.
    Functions(Vec<u8>),
    /// A database, and about how many keys it holds, and how many of them expire.
    Database { number: u32, about: (u64, u64), loads: channel::Receiver, ledger: Ledger },
    /// All has been told.
    End,
}

/// Writes a file that comes in pieces; `None`: its end did not come.
pub(super) fn pieces(part: PartFile, mut pieces: mpsc::Receiver<Piece>) -> Result<Option<Written>> {
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(piece)) => {
                part.file().write_all(&piece).map_err(|error| part.broken(&error))?;
            }
            Some(Piece::End(_)) => break,
            None => return Ok(None),
        }
    }
    let summary = read_back(&part)?;
    for section in &summary.sections {
        let told = section.announced.unwrap_or_default();
        if section.announced.is_some() && told != (section.keys, section.expires) {
            let text = format!(
                "the source's RDB file announces {} keys in database {} and holds {}",
                told.0, section.database, section.keys
            );
            return Err(Error::new(Kind::Server, text).advise("run it again, or with --fetch dump"));
        }
    }
    Ok(Some(Written { part, summary }))
}

/// Brings it to the disk and reads it as a copy of it would be read.
fn read_back(part: &PartFile) -> Result<Summary> {
    part.sync()?;
    let (file, length) = part.reopen()?;
    check(file, length).map_err(|error| match error {
        RdbError::Io(error) => part.broken(&error),
        other => Error::new(Kind::State, format!("what was written is not good: {other}"))
            .advise("it is not kept; run it again, or with --fetch dump"),
    })
}

/// How a file begins.
pub(super) struct Title {
    /// The version of the source's payloads, and so of the file.
    pub(super) version: Version,
    /// Family and version of the source.
    pub(super) server: (String, String),
    /// When it was made, in Unix seconds.
    pub(super) made: u64,
}

/// Writes a file of keys that were dumped; `None`: its end was not told.
pub(super) fn dumped(
    part: PartFile,
    title: &Title,
    mut chapters: mpsc::Receiver<Chapter>,
    handle: &Handle,
) -> Result<Option<Written>> {
    let begun = part.file().try_clone().and_then(|file| begin(file, title));
    let writer = begun.map_err(|error| part.broken(&error))?;
    let mut book = Book { part, writer, written: BTreeMap::new() };
    match book.tell(&mut chapters, handle) {
        Ok(true) => book.finish().map(Some),
        Ok(false) => Ok(None),
        Err(error) => {
            give_up(chapters, handle, &error);
            Err(error)
        }
    }
}

/// The file cannot be written: the keys that are on their way to it have failed.
fn give_up(mut chapters: mpsc::Receiver<Chapter>, handle: &Handle, why: &Error) {
    chapters.close();
    while let Some(chapter) = chapters.blocking_recv() {
        if let Chapter::Database { mut loads, ledger, .. } = chapter {
            give_up_loads(&mut loads, &ledger, handle, why);
        }
    }
}

/// Whoever waits for the verdict on a large value counts it.
fn give_up_loads(loads: &mut channel::Receiver, ledger: &Ledger, handle: &Handle, why: &Error) {
    loads.close();
    while let Some(load) = handle.block_on(loads.next()) {
        if let Load::Batch(batch) = load {
            batch.entries.iter().for_each(|entry| ledger.fail(batch.name(entry), why.message()));
        }
    }
}

/// What servers write in front: who made it, and when.
fn begin(file: File, title: &Title) -> std::io::Result<Out> {
    let mut writer = Writer::new(BufWriter::with_capacity(BUFFER, file), title.version)?;
    let (family, version) = &title.server;
    writer.aux(format!("{family}-ver").as_bytes(), version.as_bytes())?;
    writer.aux(b"redis-bits", b"64")?;
    writer.aux(b"ctime", title.made.to_string().as_bytes())?;
    Ok(writer)
}

type Out = Writer<BufWriter<File>>;

/// A database that is being written.
struct Database {
    number: u32,
    about: (u64, u64),
    begun: bool,
    ledger: Ledger,
}

/// A file that is being written.
struct Book {
    part: PartFile,
    writer: Out,
    /// Keys of each database that were written.
    written: BTreeMap<u32, u64>,
}

impl Book {
    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.raw(bytes).map_err(|error| self.part.broken(&error))
    }

    /// Writes what it is told; answers whether its end was told.
    fn tell(&mut self, chapters: &mut mpsc::Receiver<Chapter>, handle: &Handle) -> Result<bool> {
        loop {
            match chapters.blocking_recv() {
                Some(Chapter::Functions(records)) => self.raw(&records)?,
                Some(Chapter::Database { number, about, mut loads, ledger }) => {
                    let mut database = Database { number, about, begun: false, ledger };
                    if let Err(error) = self.database(&mut database, &mut loads, handle) {
                        give_up_loads(&mut loads, &database.ledger, handle, &error);
                        return Err(error);
                    }
                }
                Some(Chapter::End) => return Ok(true),
                None => return Ok(false),
            }
        }
    }

    fn database(
        &mut self,
        database: &mut Database,
        loads: &mut channel::Receiver,
        handle: &Handle,
    ) -> Result<()> {
        while let Some(load) = handle.block_on(loads.next()) {
            match load {
                Load::Batch(batch) => self.batch(database, &batch)?,
                Load::Large(large) => self.large(database, large, handle)?,
            }
        }
        Ok(())
    }

    fn batch(&mut self, database: &mut Database, batch: &Batch) -> Result<()> {
        let (mut keys, mut bytes) = (0, 0);
        let mut broken = Ok(());
        for entry in &batch.entries {
            let written = match &broken {
                Ok(()) => self.entry(database, batch, entry),
                Err(error) => Err(Error::clone(error)),
            };
            match written {
                Ok(None) => {
                    keys += 1;
                    bytes += u64::from(entry.bytes);
                }
                Ok(Some(why)) => database.ledger.fail(batch.name(entry), &why),
                Err(error) => {
                    database.ledger.fail(batch.name(entry), error.message());
                    broken = Err(error);
                }
            }
        }
        self.count(database, keys, bytes);
        broken
    }

    fn count(&mut self, database: &Database, keys: u64, bytes: u64) {
        *self.written.entry(database.number).or_default() += keys;
        database.ledger.add(Count::Copied, keys);
        database.ledger.add_bytes(bytes);
    }

    /// Writes one key, or says why it cannot be in the file.
    fn entry(
        &mut self,
        database: &mut Database,
        batch: &Batch,
        entry: &Entry,
    ) -> Result<Option<String>> {
        let payload = name_of(entry.payload.of(&batch.payloads));
        let read = payload::walk(payload).and_then(|_| footer::check(payload));
        let body = match read {
            Ok((body, footer)) if footer.version == self.writer.version().number() => body,
            Ok((_, footer)) => return Ok(Some(self.another_version(footer))),
            Err(error) => return Ok(Some(error.to_string())),
        };
        let written = self
            .begin_database(database)
            .and_then(|()| self.writer.key(batch.name(entry), entry.expiry, body));
        written.map_err(|error| self.part.broken(&error))?;
        Ok(None)
    }

    fn another_version(&self, footer: Footer) -> String {
        let ours = self.writer.version().number();
        format!("its payload is of version {}, the file of {ours}", footer.version)
    }

    fn begin_database(&mut self, database: &mut Database) -> std::io::Result<()> {
        if database.begun {
            return Ok(());
        }
        database.begun = true;
        self.writer.database(database.number, database.about.0, database.about.1)
    }

    /// Writes a value that nobody holds whole. What was begun and is not good is taken back.
    fn large(&mut self, database: &mut Database, mut large: Large, handle: &Handle) -> Result<()> {
        let begun = self.begin_database(database);
        begun.map_err(|error| self.part.broken(&error))?;
        let mark = self.writer.mark();
        let mut value = Tail::default();
        let whole = loop {
            match handle.block_on(large.pieces.recv()) {
                None => break false,
                Some(Piece::End(_)) => break true,
                Some(Piece::Bytes(piece)) => {
                    let written = self.piece(&mut value, &large, &piece);
                    written.map_err(|error| self.part.broken(&error))?;
                }
            }
        };
        let wrong = if whole { self.is_wrong(&value) } else { None };
        if !whole || wrong.is_some() {
            self.take_back(mark).map_err(|error| self.part.broken(&error))?;
        }
        let verdict = match (whole, wrong) {
            (false, _) => Verdict::Again { doubtful: false },
            (true, Some(why)) => {
                database.ledger.fail(name_of(&large.key), &why);
                Verdict::Settled
            }
            (true, None) => {
                // A length in memory is never beyond 64 bits.
                self.count(database, 1, large.bytes as u64);
                Verdict::Settled
            }
        };
        let _ = large.verdict.send(verdict);
        Ok(())
    }

    /// Writes a piece, all but what may be the footer.
    fn piece(&mut self, value: &mut Tail, large: &Large, piece: &[u8]) -> std::io::Result<()> {
        value.held.extend_from_slice(piece);
        let ready = value.held.len().saturating_sub(FOOTER_BYTES);
        let mut ready = value.held.get(..ready).unwrap_or_default();
        let length = ready.len();
        value.checksum = add_to_checksum(value.checksum, ready);
        if let (None, Some((&first, rest))) = (value.first, ready.split_first()) {
            value.first = Some(first);
            self.writer.begin_key(name_of(&large.key), large.expiry, first)?;
            ready = rest;
        }
        self.writer.raw(ready)?;
        value.held.drain(..length);
        Ok(())
    }

    /// Why a value that has come is none.
    fn is_wrong(&self, value: &Tail) -> Option<String> {
        let head = [&[value.first?][..], &value.held].concat();
        let footer = match payload::Kind::of(&head).and_then(|_| footer::split(&head)) {
            Ok((_, footer)) => footer,
            Err(error) => return Some(error.to_string()),
        };
        let made = add_to_checksum(value.checksum, &footer.version.to_le_bytes());
        if footer.version != self.writer.version().number() {
            Some(self.another_version(footer))
        } else if footer.checksum != made && !footer.is_unchecked() {
            Some(PayloadError::Checksum.to_string())
        } else {
            None
        }
    }

    fn take_back(&mut self, mark: Mark) -> std::io::Result<()> {
        self.writer.go_back(mark)?.get_ref().set_len(mark.length)
    }

    /// Ends the file, and compares what is in it with what was put there.
    fn finish(self) -> Result<Written> {
        let Self { part, writer, written } = self;
        writer.finish().map_err(|error| part.broken(&error))?;
        let summary = read_back(&part)?;
        let found: BTreeMap<u32, u64> =
            summary.sections.iter().map(|section| (section.database, section.keys)).collect();
        if written.iter().any(|(number, keys)| found.get(number).unwrap_or(&0) != keys) {
            let text = "what was written holds another number of keys than were put there";
            return Err(Error::new(Kind::State, text).advise("it is not kept; run it again"));
        }
        Ok(Written { part, summary })
    }
}

/// A large value on its way into the file.
#[derive(Default)]
struct Tail {
    /// Its type byte, which stands in front of the key there.
    first: Option<u8>,
    /// What has come last and may be its footer.
    held: Vec<u8>,
    /// Of all before that.
    checksum: u64,
}
