//! A file under a name of its own beside another, until it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::identity::{directory_of, sync_directory};
use crate::units::printable;

/// The names of unfinished files: `.NAME.<16 hexadecimal digits>.part`.
const DIGITS: usize = 16;
const ENDING: &[u8] = b".part";

/// How often another name is tried, should the first be taken.
const TRIES: usize = 5;

/// A file that is being written. It is removed when it is dropped; one that a killed process left behind is
/// found by its name, and that nobody holds its lock.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Begins a file that shall be at `path`, beside it; removes, and reports, what killed runs left there.
    ///
    /// # Errors
    /// Nothing can be made there.
    pub fn beside(path: &Path, mode: u32) -> io::Result<Self> {
        let name = path.file_name().unwrap_or_default();
        remove_left_behind(directory_of(path), name);
        for _ in 0..TRIES {
            let mut own = OsString::from(".");
            own.push(name);
            own.push(format!(".{:0DIGITS$x}.part", fastrand::u64(..)));
            let part = path.with_file_name(own);
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create_new(true).mode(mode).open(&part)?;
            // Where there are no locks, it is not found if it is left behind.
            let _ = file.try_lock();
            // Another run may have taken it for one that was left behind, before it was locked.
            let ours = file.metadata()?.ino();
            if fs::metadata(&part).is_ok_and(|named| named.ino() == ours) {
                return Ok(Self { path: part, file });
            }
        }
        Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "its unfinished file is removed again and again",
        ))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// It again, to be read from its beginning.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reopen(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Gives it a name that nobody has yet.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`]: somebody has. Or the directory cannot be written.
    pub fn publish_new(self, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, path) {
            // A file system without links: the name is taken first, then the file is put there.
            Err(error)
                if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
            {
                let taken = OpenOptions::new().write(true).create_new(true).open(path);
                taken.and_then(|_| fs::rename(&self.path, path))
            }
            named => named,
        }?;
        // Its other name goes first, so that the directory is brought to the disk as it stays.
        let _ = fs::remove_file(&self.path);
        sync_directory(path)
    }

    /// Puts it in the place of a file.
    ///
    /// # Errors
    /// That file cannot be replaced or written.
    pub fn replace(self, path: &Path) -> io::Result<()> {
        if fs::rename(&self.path, path).is_ok() {
            return sync_directory(path);
        }
        // A file that is mounted by itself, as in a container, keeps its inode.
        let mut into = OpenOptions::new().write(true).truncate(true).open(path)?;
        io::copy(&mut self.reopen()?, &mut into)?;
        into.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already where it got its name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes unfinished files of a name whose runs are dead: nobody holds their locks.
fn remove_left_behind(directory: &Path, name: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if !is_part_of(&entry.file_name(), name) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        let dead = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        };
        if dead && fs::remove_file(&path).is_ok() {
            let shown = printable(path.as_os_str().as_bytes());
            tracing::warn!("removed {shown}: an earlier run was killed before it was whole");
        }
    }
}

fn is_part_of(entry: &OsStr, name: &OsStr) -> bool {
    let rest = entry.as_bytes().strip_prefix(b".");
    let rest = rest.and_then(|rest| rest.strip_prefix(name.as_bytes()));
    let digits = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(ENDING));
    digits.is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const MODE: u32 = 0o600;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_a_whole_file_has_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rdb");
        drop(Part::beside(&path, MODE).unwrap());
        assert!(names(directory.path()).is_empty());
        let part = Part::beside(&path, MODE).unwrap();
        part.file().write_all(b"x").unwrap();
        assert!(!path.exists());
        part.publish_new(&path).unwrap();
        assert_eq!(names(directory.path()), ["a.rdb"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        let other = Part::beside(&path, MODE).unwrap();
        assert_eq!(other.publish_new(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let other = Part::beside(&path, MODE).unwrap();
        other.file().write_all(b"y").unwrap();
        other.replace(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"y");
        assert_eq!(names(directory.path()), ["a.rdb"]);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_another_is_writing_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.rdb");
        let left = directory.path().join(".a.rdb.0123456789abcdef.part");
        let others =
            [".b.rdb.0123456789abcdef.part", ".a.rdb.1234.part", ".a.rdb.0123456789abcdeg.part"];
        fs::write(&left, "half").unwrap();
        for other in others {
            fs::write(directory.path().join(other), "theirs").unwrap();
        }
        let first = Part::beside(&path, MODE).unwrap();
        assert!(!left.exists());
        let second = Part::beside(&path, MODE).unwrap();
        assert_eq!(names(directory.path()).len(), others.len() + 2);
        drop((first, second));
        assert_eq!(names(directory.path()).len(), others.len());
    }
}
