//! A list or a report on its way to the file that was named for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::identity::resolved;
use super::part::Part;

/// A file that is written. What was in it stays until the new content is whole ([`Self::finish`]). Dropped
/// before, it leaves what was written so far where nothing was, and nothing where that is nothing.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    file: File,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Beside a file that holds something, which it replaces.
    Part(Part),
    /// Where nothing was: a new file, or an empty one.
    New {
        /// It was not there before.
        made: bool,
    },
    /// In place already: a run goes on with it, or it is finished.
    Kept,
    /// A pipe, a terminal, a device: written as it comes.
    Special,
}

impl Output {
    /// Begins a new content.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn begin(path: &Path) -> io::Result<Self> {
        // `/dev/stdout` may be a file, which others write to as well.
        let is_special = path.starts_with("/dev") || path.starts_with("/proc");
        if is_special || fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let file = OpenOptions::new().append(true).open(path)?;
            return Ok(Self { path: path.to_owned(), file, place: Place::Special });
        }
        let path = resolved(path);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create_new(true).open(&path)?;
                return Ok(Self { path, file, place: Place::New { made: true } });
            }
            Err(error) => return Err(error),
        };
        // Known before any work: whether it may be written at all.
        let file = options.open(&path)?;
        if found.len() == 0 {
            return Ok(Self { path, file, place: Place::New { made: false } });
        }
        let part = Part::beside(&path, found.mode() & 0o777)?;
        let file = part.file().try_clone()?;
        Ok(Self { path, file, place: Place::Part(part) })
    }

    /// Goes on with what is there, if anything is.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn go_on(path: &Path) -> io::Result<Self> {
        let mut output = Self::begin(path)?;
        if let Place::Part(_) = output.place {
            output.file = OpenOptions::new().read(true).write(true).open(&output.path)?;
            output.place = Place::Kept;
        }
        Ok(output)
    }

    /// Where it will be, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file to write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What was written so far, to be read from its beginning.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reopen(&self) -> io::Result<File> {
        match &self.place {
            Place::Part(part) => part.reopen(),
            _ => File::open(&self.path),
        }
    }

    /// Whether it can be read and cut: a pipe cannot.
    pub fn is_regular(&self) -> bool {
        !matches!(self.place, Place::Special)
    }

    /// What was written is whole: it is brought to the disk, and takes the place of what was there.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.is_regular() {
            return Ok(());
        }
        self.file.sync_all()?;
        match std::mem::replace(&mut self.place, Place::Kept) {
            Place::Part(part) => part.replace(&self.path),
            _ => Ok(()),
        }
    }

    /// Nothing of it is wanted: what was there before stays, and nothing where nothing was.
    pub fn discard(mut self) {
        match self.place {
            Place::New { made: true } => drop(fs::remove_file(&self.path)),
            Place::New { made: false } => {
                let _ = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.set_len(0));
            }
            Place::Part(_) | Place::Kept | Place::Special => {}
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let is_empty = || self.file.metadata().is_ok_and(|found| found.len() == 0);
        if matches!(self.place, Place::New { made: true }) && is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) -> Output {
        let output = Output::begin(path).unwrap();
        output.file().write_all(text.as_bytes()).unwrap();
        output
    }

    #[test]
    fn an_old_content_stays_until_the_new_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        drop(Output::begin(&path).unwrap());
        write(&path, "old").finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, "half").discard();
        drop(write(&path, "half"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let link = directory.path().join("link");
        symlink("list", &link).unwrap();
        write(&link, "new").finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2);
    }

    #[test]
    fn nothing_is_left_where_nothing_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        write(&path, "half").discard();
        assert!(!path.exists());
        drop(Output::begin(&path).unwrap());
        assert!(!path.exists());
        Output::begin(&path).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "whole, and empty");
        fs::remove_file(&path).unwrap();
        drop(write(&path, "half"));
        assert_eq!(
            fs::read(&path).unwrap(),
            b"half",
            "all there is of a run that was stopped at once"
        );
        fs::write(&path, "").unwrap();
        write(&path, "half").discard();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_run_that_goes_on_adds_to_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        write(&path, "old").finish().unwrap();
        let output = Output::go_on(&path).unwrap();
        assert!(output.is_regular());
        output.discard();
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn devices_are_written_as_it_comes() {
        let output = write(Path::new("/dev/null"), "x");
        assert!(!output.is_regular());
        output.finish().unwrap();
        assert!(Output::begin(Path::new("/")).is_err());
        assert!(Output::begin(Path::new("/no/such/directory")).is_err());
    }
}
