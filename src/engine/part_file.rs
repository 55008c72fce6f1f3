//! A backup's file: under a name of its own until it is whole; then it gets its name, if nobody has it yet.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::files::{Part, directory_of};
use crate::units::printable;

/// Only its owner may read what may hold anything.
pub(super) const MODE: u32 = 0o600;

/// A backup that is being written. It is removed when it is dropped.
#[derive(Debug)]
pub(super) struct PartFile {
    path: PathBuf,
    part: Part,
}

impl PartFile {
    /// Begins a file that shall be at `path`, beside it.
    ///
    /// # Errors
    /// [`Kind::Refused`]: something is there already. [`Kind::Config`]: no file can be made there.
    pub(super) fn create(path: &Path) -> Result<Self> {
        Self::refuse_existing(path)?;
        let part = Part::beside(path, MODE).map_err(|error| {
            Error::config(format!("{} cannot be written: {error}", shown(path)))
        })?;
        Ok(Self { path: path.to_owned(), part })
    }

    /// Refuses a path where something is, or where no file can be.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(super) fn refuse_existing(path: &Path) -> Result<()> {
        if path.file_name().is_none() {
            return Err(Error::config(format!("{} is no name of a file", shown(path))));
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(exists(path));
        }
        let directory = directory_of(path);
        if !directory.is_dir() {
            return Err(Error::config(format!("{} is not a directory", shown(directory))));
        }
        Ok(())
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        self.part.file()
    }

    /// It again, to be read from its beginning, and its length.
    ///
    /// # Errors
    /// [`Kind::Local`].
    pub(super) fn reopen(&self) -> Result<(File, u64)> {
        let open = || {
            let file = self.part.reopen()?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        open().map_err(|error| self.broken(&error))
    }

    /// Brings it to the disk.
    ///
    /// # Errors
    /// [`Kind::Local`].
    pub(super) fn sync(&self) -> Result<()> {
        self.file().sync_all().map_err(|error| self.broken(&error))
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`Kind::Refused`]: somebody has taken it meanwhile.
    pub(super) fn publish(self) -> Result<()> {
        let Self { path, part } = self;
        part.publish_new(&path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(&path),
            _ => unwritable(&path, &error),
        })
    }

    /// What went wrong with it.
    pub(super) fn broken(&self, error: &io::Error) -> Error {
        unwritable(&self.path, error)
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Local, format!("{} cannot be written: {error}", shown(path)))
}

/// A path as it may be shown.
pub(super) fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_bytes())
}

fn exists(path: &Path) -> Error {
    Error::refused(format!("{} exists", shown(path)))
        .advise("a backup never takes the place of a file: name another one, or move that away")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_taken_meanwhile_stays_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rdb");
        let part = PartFile::create(&path).unwrap();
        fs::write(&path, b"theirs").unwrap();
        assert_eq!(part.publish().unwrap_err().kind(), Kind::Refused);
        assert_eq!(PartFile::create(&path).unwrap_err().kind(), Kind::Refused);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
