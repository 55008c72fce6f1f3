//! A file under a name of its own until it is whole: then it gets its name, if nobody has it yet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::units::printable;

/// Only its owner may read what may hold anything.
pub(super) const MODE: u32 = 0o600;

/// A file that is being written. It is removed when it is dropped.
#[derive(Debug)]
pub(super) struct PartFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
}

impl PartFile {
    /// Begins a file that shall be at `path`, beside it.
    ///
    /// # Errors
    /// [`Kind::Refused`]: something is there already. [`Kind::Config`]: no file can be made there.
    pub(super) fn create(path: &Path) -> Result<Self> {
        Self::refuse_existing(path)?;
        let name = path.file_name().unwrap_or_default();
        let mut own = std::ffi::OsString::from(".");
        own.push(name);
        own.push(format!(".{:016x}.part", fastrand::u64(..)));
        let part = path.with_file_name(own);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(MODE).open(&part);
        let file = opened.map_err(|error| {
            Error::config(format!("{} cannot be written: {error}", shown(path)))
        })?;
        Ok(Self { path: path.to_owned(), part, file })
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
        &self.file
    }

    /// It again, to be read from its beginning, and its length.
    ///
    /// # Errors
    /// [`Kind::Local`].
    pub(super) fn reopen(&self) -> Result<(File, u64)> {
        let open = || {
            let file = File::open(&self.part)?;
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
        self.file.sync_all().map_err(|error| self.broken(&error))
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// [`Kind::Refused`]: somebody has taken it meanwhile.
    pub(super) fn publish(self) -> Result<()> {
        let named = match fs::hard_link(&self.part, &self.path) {
            // A file system without links: the name is taken first, then the file is put there.
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
            {
                let taken = OpenOptions::new().write(true).create_new(true).open(&self.path);
                taken.and_then(|_| fs::rename(&self.part, &self.path))
            }
            named => named,
        };
        named.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(&self.path),
            _ => self.broken(&error),
        })?;
        // Its other name goes first, so that the directory is brought to the disk as it stays.
        let _ = fs::remove_file(&self.part);
        let synced =
            File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.broken(&error))
    }

    /// What went wrong with it.
    pub(super) fn broken(&self, error: &io::Error) -> Error {
        let text = format!("{} cannot be written: {error}", shown(&self.path));
        Error::new(Kind::Local, text)
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Gone already where it got its name.
        let _ = fs::remove_file(&self.part);
    }
}

/// The directory that a file is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
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
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn only_a_whole_file_has_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rdb");
        drop(PartFile::create(&path).unwrap());
        assert!(names(directory.path()).is_empty());
        let part = PartFile::create(&path).unwrap();
        part.file().write_all(b"x").unwrap();
        assert!(!path.exists());
        part.publish().unwrap();
        assert_eq!(names(directory.path()), ["a.rdb"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_stays_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rdb");
        let part = PartFile::create(&path).unwrap();
        fs::write(&path, b"theirs").unwrap();
        assert_eq!(part.publish().unwrap_err().kind(), Kind::Refused);
        assert_eq!(PartFile::create(&path).unwrap_err().kind(), Kind::Refused);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert_eq!(names(directory.path()), ["a.rdb"]);
    }
}
