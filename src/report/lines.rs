//! A file of JSON lines that tasks write to, an object a line.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;

/// The file, or none; and what went wrong with it first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: BufWriter<File>,
    broken: Option<io::Error>,
}

impl Lines {
    /// Lines of this file.
    pub(super) fn of(file: File) -> Self {
        Self { open: Mutex::new(Some(Open { file: BufWriter::new(file), broken: None })) }
    }

    /// Writes one more, if there is a file.
    pub(super) fn write_with<T: Serialize>(&self, object: impl FnOnce() -> T) {
        if let Some(open) = self.held().as_mut().filter(|open| open.broken.is_none()) {
            open.broken = writeln!(open.file, "{}", json!(object())).err();
        }
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// The first thing that went wrong with the file.
    pub(super) fn finish(&self) -> io::Result<()> {
        let Some(mut open) = self.held().take() else { return Ok(()) };
        if let Some(error) = open.broken {
            return Err(error);
        }
        open.file.flush()?;
        open.file.get_ref().sync_all()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Open>> {
        // Stays usable when a task that held it panicked: lines are only ever added.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
