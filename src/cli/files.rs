//! The files that a command line names: each has one use, and what a run writes takes the place of an old
//! file only once it is whole.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{Identity, Known, Output, resolved};

/// A file that an option or an argument names.
pub(super) struct Named {
    option: String,
    path: PathBuf,
    written: bool,
    /// Why nothing but a file will do, where it is so.
    no_pipe: Option<&'static str>,
}

impl Named {
    /// A file that is only read.
    pub(super) fn read(option: impl Into<String>, path: &Path) -> Self {
        Self { option: option.into(), path: path.to_owned(), written: false, no_pipe: None }
    }

    /// A list that is read more than once.
    pub(super) fn list(option: &str, path: &Path) -> Self {
        Self { no_pipe: Some("it is read more than once"), ..Self::read(option, path) }
    }

    /// A file that is written.
    pub(super) fn written(option: impl Into<String>, path: &Path) -> Self {
        Self { written: true, ..Self::read(option, path) }
    }

    /// A checkpoint, and the files that are made beside it.
    pub(super) fn checkpoint(option: &str, path: &Path) -> [Self; 3] {
        let no_pipe = Some("how far a run has come is read from it, and it is replaced");
        let path = resolved(path);
        ["", ".lock", ".part"].map(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            let option =
                if suffix.is_empty() { option.to_owned() } else { format!("{option} ({suffix})") };
            Self { no_pipe, ..Self::written(option, Path::new(&name)) }
        })
    }
}

/// Refuses what cannot be used as it is meant, before any is opened: opening a pipe may wait for ever.
pub(super) fn refuse_unusable(files: &[Named]) -> Result<()> {
    for Named { option, path, no_pipe, .. } in files {
        let Some(why) = no_pipe else { continue };
        refuse_dash(option, path)?;
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let text = format!("{option}: {} is a pipe, a device or a directory", path.display());
            return Err(Error::config(text).advise(format!("name a file: {why}")));
        }
    }
    for Named { option, path, .. } in files.iter().filter(|file| file.written) {
        refuse_known(option, path)?;
    }
    refuse_shared(files)
}

/// Refuses to write over what cannot be had again. A list of failures may take the place of an older one, and a
/// checkpoint is gone on with.
pub(super) fn refuse_known(option: &str, path: &Path) -> Result<()> {
    let Some(known) = Known::of(path) else { return Ok(()) };
    let own = match option {
        "--failures" => known == Known::Failures,
        "--report" | "--differences" | "--svg" => false,
        // A backup never replaces a file, and a checkpoint is read first.
        _ => true,
    };
    if own {
        return Ok(());
    }
    let text = format!("{option}: {} is {known}, and would be replaced", path.display());
    Err(Error::config(text).advise("name another file, or move that one away"))
}

/// Refuses a file that is written and has another use as well.
fn refuse_shared(files: &[Named]) -> Result<()> {
    let known: Vec<_> = files.iter().map(|file| Identity::of(&file.path)).collect();
    for (at, (one, file)) in files.iter().zip(&known).enumerate() {
        let others = files.iter().zip(&known).skip(at + 1);
        let mut same = others
            .filter(|(other, of)| of.is_some() && *of == file && (one.written || other.written));
        if let Some((other, _)) = same.next() {
            // Not the path, which may be a secret in the place of its file.
            let text = format!("{} and {} name the same file", one.option, other.option);
            return Err(Error::config(text).advise("give each a file of its own"));
        }
    }
    Ok(())
}

/// Where the JSON report goes.
pub(super) enum Sink {
    Stdout,
    File(Output),
}

impl Sink {
    /// Opened before any work: a report that cannot be written is better known then.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        Output::begin(path).map(Self::File).map_err(|error| unwritable("the report", path, &error))
    }

    /// Writes the report, whole or not at all.
    pub(super) fn write(self, report: &impl Display) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                writeln!(out, "{report:#}").and_then(|()| out.flush())
            }
            Self::File(output) => match writeln!(output.file(), "{report:#}") {
                Ok(()) => output.finish(),
                Err(error) => {
                    output.discard();
                    Err(error)
                }
            },
        }
    }
}

/// Only a report can go to stdout by `-`: a list there would be mixed with the summary.
pub(super) fn refuse_dash(what: &str, path: &Path) -> Result<()> {
    if path.as_os_str() == "-" {
        let text = format!("{what} cannot be '-'");
        return Err(Error::config(text).advise("name a file, or ./- for one of that name"));
    }
    Ok(())
}

pub(super) fn unwritable(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::config(format!("{what} {} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_is_written_needs_to_be_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let other = directory.path().join("other");
        let read = |path: &Path| Named::read("--one", path);
        let written = |path: &Path| Named::written("--two", path);
        assert!(refuse_shared(&[read(&path), read(&path)]).is_ok());
        assert!(refuse_shared(&[read(&path), written(&other)]).is_ok());
        assert!(refuse_shared(&[written(&path), read(&path)]).is_err());
        let error = refuse_shared(&[read(&other), read(&path), written(&path)]).unwrap_err();
        assert!(error.to_string().contains("--one and --two name the same file"), "{error}");
        let null = Path::new("/dev/null");
        assert!(refuse_shared(&[written(null), written(null)]).is_ok());
        let [_, lock, _] = Named::checkpoint("--state", &path);
        let beside = directory.path().join("file.lock");
        assert!(refuse_shared(&[lock, written(&beside)]).is_err());
    }
}
