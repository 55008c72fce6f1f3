//! Keeps a second process away from a checkpoint: a lock on a file beside it, and one on the file itself, which
//! may have other names (hard links). The system lets go of them when their owner dies, however that happens.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{MODE, shown, with_suffix};
use crate::error::{Error, Kind, Result};

/// How often a lock is taken whose file its last owner has just removed.
const TRIES: usize = 5;

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
    /// The checkpoint as it was found.
    _found: Option<File>,
}

impl Lock {
    /// Takes the lock of a checkpoint.
    ///
    /// # Errors
    /// [`Kind::State`]: another process has it. [`Kind::Config`]: nothing can be written there.
    pub(super) fn take(checkpoint: &Path) -> Result<Self> {
        let path = with_suffix(checkpoint, ".lock");
        let unusable = |error: &std::io::Error| {
            Error::config(format!("{} cannot be written: {error}", shown(&path)))
        };
        for _ in 0..TRIES {
            let mut options = File::options();
            let opened = options.write(true).create(true).truncate(false).mode(MODE).open(&path);
            let file = opened.map_err(|error| unusable(&error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use(checkpoint)),
                Err(TryLockError::Error(error)) => return Err(unusable(&error)),
            }
            // Removed by its last owner between our opening and our locking, it keeps nobody away.
            let is_there = fs::metadata(&path).is_ok_and(|named| {
                file.metadata()
                    .is_ok_and(|ours| (ours.dev(), ours.ino()) == (named.dev(), named.ino()))
            });
            if is_there {
                let found = File::open(checkpoint).ok();
                if let Some(Err(TryLockError::WouldBlock)) = found.as_ref().map(File::try_lock) {
                    return Err(in_use(checkpoint));
                }
                return Ok(Self { path, _file: file, _found: found });
            }
        }
        let text = format!("the lock of {} is taken again and again", shown(checkpoint));
        Err(Error::new(Kind::State, text).advise("give this run a file of its own"))
    }
}

fn in_use(checkpoint: &Path) -> Error {
    let text = format!("the checkpoint {} is in use by another process", shown(checkpoint));
    Error::new(Kind::State, text).advise("wait for it to end, or give this run a file of its own")
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: whoever has opened it already will see that its name is gone.
        let _ = fs::remove_file(&self.path);
    }
}
