//! An RDB file, opened once: checked from end to end, read again in parts, and looked at whether it is
//! still what it was.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::twice::{MOST_TWICE, Next, Search, Twice};
use crate::error::{Error, Kind, Result};
use crate::rdb::{Foreign, Key, RdbError, Record, Records, Section, Summary, Version, check_each};

const WRITTEN_TO: &str = "it was written to while it was read";
const LEAVE_ALONE: &str = "copy a file that nobody writes to, with --if-exists replace this time";

/// A file that was opened once: whatever becomes of its name, the same bytes are read again.
#[derive(Clone)]
pub struct Opened {
    file: Arc<File>,
    /// Its length, in bytes.
    length: u64,
    /// When it was last written to, in seconds and nanoseconds.
    written: (i64, i64),
    stop: CancellationToken,
}

/// Its bytes from a place on.
pub(super) struct From {
    opened: Opened,
    at: u64,
}

impl Read for From {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.opened.stop.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.opened.file.read_at(room, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Opened {
    /// Opens a file; reading it ends early once `stop` says so.
    ///
    /// # Errors
    /// [`Kind::Config`]: it cannot be read, or is not a file: a pipe gives its bytes only once, and may keep
    /// its reader waiting for ever.
    pub fn open(path: &Path, stop: CancellationToken) -> Result<Self> {
        let unreadable = |error| Error::config(format!("it cannot be read: {error}"));
        let found = std::fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() {
            let (what, advice) = match found.is_dir() {
                true => ("a directory", "name the RDB file in it"),
                false => (
                    "a pipe or a device",
                    "an RDB file is read more than once; save what comes out of a pipe to a file",
                ),
            };
            return Err(Error::config(format!("it is {what}, not a file")).advise(advice));
        }
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        let written = (found.mtime(), found.mtime_nsec());
        Ok(Self { file: Arc::new(file), length: found.len(), written, stop })
    }

    /// Refuses a file that somebody wrote to since it was opened.
    ///
    /// # Errors
    /// [`Kind::Local`]: somebody did, or it cannot be told.
    pub fn ensure_unchanged(&self) -> Result<()> {
        if self.is_unchanged() {
            return Ok(());
        }
        let text = format!("{WRITTEN_TO}: what was copied may be of neither content");
        Err(Error::new(Kind::Local, text).advise(LEAVE_ALONE))
    }

    /// Ends every reading of it early.
    pub(super) fn give_up(&self) {
        self.stop.cancel();
    }

    /// Whether reading it is to end early.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    fn is_unchanged(&self) -> bool {
        let found = self.file.metadata();
        let now = found.map(|found| (found.len(), (found.mtime(), found.mtime_nsec())));
        now.is_ok_and(|now| now == (self.length, self.written))
    }

    /// Fills `room` with the bytes at a place.
    ///
    /// # Errors
    /// [`Kind::State`]: it became shorter, or cannot be read any more.
    pub(super) fn read_exact_at(&self, room: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(room, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Error::new(Kind::State, format!("{WRITTEN_TO}: it became shorter"))
                    .advise(LEAVE_ALONE)
            }
            _ => Error::new(Kind::State, format!("it cannot be read: {error}")),
        })
    }

    fn from(&self, at: u64) -> From {
        From { opened: self.clone(), at }
    }

    /// Reads all of it, and looks for names that are there twice.
    ///
    /// # Errors
    /// [`Kind::State`]: it is no RDB file, or damaged.
    pub fn check(&self) -> Result<(Summary, Twice)> {
        let mut search = Search::default();
        let read = check_each(self.from(0), self.length, |database, key| {
            search.take(database, &key.name);
        });
        let summary = read.map_err(|error| self.explain(error))?;
        loop {
            match search.next() {
                Next::Nothing => return Ok((summary, Twice::default())),
                Next::Again(again) => {
                    search = again;
                    self.each_key(&summary, |database, key| {
                        search.take(database, &key.name);
                        true
                    })?;
                }
                Next::Close(mut close) => {
                    let each = |database, key: &Key| close.take(database, &key.name, key.at);
                    if !self.each_key(&summary, each)? {
                        let text = format!("more than {MOST_TWICE} keys are there twice");
                        return Err(Error::new(Kind::State, text)
                            .advise("no server loads such a file; save the source again"));
                    }
                    return Ok((summary, close.end()));
                }
            }
        }
    }

    /// Reads every key again, until `each` answers `false`.
    fn each_key(&self, summary: &Summary, mut each: impl FnMut(u32, &Key) -> bool) -> Result<bool> {
        let version = Version::new(summary.version);
        for section in &summary.sections {
            let mut records = self.records(section, version, 0);
            loop {
                match records.next_record().map_err(|error| self.explain(error))? {
                    Record::Key(key) if !each(section.database, &key) => return Ok(false),
                    Record::End => break,
                    _ => {}
                }
            }
        }
        Ok(true)
    }

    /// Its records of one section; values of at most `keep` bytes are held.
    pub(super) fn records(
        &self,
        section: &Section,
        version: Version,
        keep: usize,
    ) -> Records<From> {
        let Section { begin, end, .. } = *section;
        Records::of_part(self.from(begin), version, begin, end.saturating_sub(begin), keep)
    }

    /// Reads the library of functions that begins at this place.
    ///
    /// # Errors
    /// [`Kind::State`]: there is none any more.
    pub fn function(&self, version: Version, at: u64) -> Result<Vec<u8>> {
        let length = self.length.saturating_sub(at);
        let mut records = Records::of_part(self.from(at), version, at, length, 0);
        match records.next_record().map_err(|error| self.explain(error))? {
            Record::Function(code) => Ok(code),
            _ => Err(Error::new(Kind::State, "it was changed while it was read")),
        }
    }

    /// What it means that it could not be read.
    pub(super) fn explain(&self, error: RdbError) -> Error {
        match error {
            _ if self.stop.is_cancelled() => Error::new(Kind::Cancelled, "stopped"),
            RdbError::Io(error) => Error::new(Kind::Local, format!("it cannot be read: {error}")),
            // It was whole when it was checked.
            other if !self.is_unchanged() => {
                Error::new(Kind::State, format!("{WRITTEN_TO}: {other}")).advise(LEAVE_ALONE)
            }
            other => {
                let advice = advice(&other);
                Error::new(Kind::State, other.to_string()).advise(advice)
            }
        }
    }
}

/// The advice for the operator about a file that is not used.
fn advice(error: &RdbError) -> &'static str {
    match error {
        RdbError::NotRdb(foreign) => foreign.advice(),
        RdbError::CommandsFollow(_) => Foreign::Commands.advice(),
        RdbError::NoVersion(_) | RdbError::Unknown { .. } => {
            "load it with the server that wrote it, and copy from that server"
        }
        _ => "take another copy of it; this one is not used",
    }
}
