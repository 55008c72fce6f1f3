//! A file of JSON lines that tasks write to, an object a line.

use std::fs::File;
use std::io::{
    self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _,
};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;

use crate::files::Output;

/// The longest line that is kept, in bytes: a name of 8 MiB.
pub(super) const LONGEST_LINE: u64 = (16 << 20) + (64 << 10);

/// The file, or none; and what went wrong with it first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    output: Output,
    file: BufWriter<File>,
    broken: Option<io::Error>,
}

impl Lines {
    /// Lines of this file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn of(output: Output) -> io::Result<Self> {
        let file = BufWriter::new(output.file().try_clone()?);
        Ok(Self { open: Mutex::new(Some(Open { output, file, broken: None })) })
    }

    /// Whether there is a file.
    pub(super) fn are_kept(&self) -> bool {
        self.held().is_some()
    }

    /// Writes one more, if there is a file; `false`: it is longer than lines are read.
    pub(super) fn write_with<T: Serialize>(&self, object: impl FnOnce() -> T) -> bool {
        let mut held = self.held();
        let Some(open) = held.as_mut().filter(|open| open.broken.is_none()) else { return true };
        let line = json!(object()).to_string();
        let fits = (line.len() as u64) < LONGEST_LINE;
        if fits {
            open.broken = writeln!(open.file, "{line}").err();
        }
        fits
    }

    /// Hands what was written so far to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.held().as_mut().map_or(Ok(()), |open| match &open.broken {
            Some(broken) => Err(io::Error::new(broken.kind(), broken.to_string())),
            None => open.file.flush(),
        })
    }

    /// Keeps only the lines of the file that are `wanted`, each in its place; a line that is not ended is
    /// none. The next line is written behind them. What went into a pipe stays there.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(super) fn retain(&self, mut wanted: impl FnMut(&str) -> bool) -> io::Result<()> {
        let mut held = self.held();
        let Some(open) = held.as_mut().filter(|open| open.output.is_regular()) else {
            return Ok(());
        };
        open.file.flush()?;
        let mut all = BufReader::new(open.output.reopen()?);
        // What is kept moves to the front, and never past what is still to be read.
        open.file.seek(SeekFrom::Start(0))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            all.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            let Some(text) = line.strip_suffix(b"\n") else { break };
            if std::str::from_utf8(text).is_ok_and(&mut wanted) {
                open.file.write_all(&line)?;
            }
        }
        let length = open.file.stream_position()?;
        open.file.get_ref().set_len(length)
    }

    /// Ends the file: what was written takes the place of what was there. If it is not `wanted`, that
    /// stays.
    ///
    /// # Errors
    /// The first thing that went wrong with the file.
    pub(super) fn finish(&self, wanted: bool) -> io::Result<()> {
        let Some(Open { output, mut file, broken }) = self.held().take() else { return Ok(()) };
        if !wanted {
            // What is still to be written is not wanted either.
            drop(file.into_parts());
            output.discard();
            return Ok(());
        }
        if let Some(error) = broken {
            return Err(error);
        }
        file.flush()?;
        output.finish()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        // Stays usable when a task that held it panicked: lines are only ever added.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
