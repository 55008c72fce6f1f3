//! Which file a path names, however it is written: through `..`, symbolic links and hard links.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Symbolic links that are followed one after the other, as the system does (ELOOP).
const MOST_LINKS: usize = 40;

/// A file, whatever its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It is there: device and inode.
    There(u64, u64),
    /// It would be made in this directory, by this name.
    ToBe(u64, u64, OsString),
}

impl Identity {
    /// The file that a path names; `None`: no regular file (a pipe, a terminal, `/dev/null`), which several
    /// may write to, or nothing that can be.
    pub fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(found) => found.is_file().then(|| Self::There(found.dev(), found.ino())),
            Err(_) => {
                let path = resolved(path);
                let directory = fs::metadata(directory_of(&path)).ok()?;
                let name = path.file_name()?.to_owned();
                Some(Self::ToBe(directory.dev(), directory.ino(), name))
            }
        }
    }
}

/// A path without symbolic links at its end: where a file is, or would be made.
pub fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::read_link(&path) else { break };
        // An absolute one takes the place of all.
        path = directory_of(&path).join(link);
    }
    path
}

/// The directory that a file is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Brings the name of a file to the disk, which its directory holds.
///
/// # Errors
/// The directory cannot be opened or written.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(directory_of(path)).and_then(|directory| directory.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_one_identity_whatever_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("below")).unwrap();
        fs::write(at("file"), "x").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        symlink("file", at("soft")).unwrap();
        symlink(at("soft"), at("below/soft of soft")).unwrap();
        for path in ["below/../file", "hard", "soft", "below/soft of soft", "./file"] {
            assert_eq!(Identity::of(&at(path)), Identity::of(&at("file")), "{path}");
        }
        symlink("to be", at("dangling")).unwrap();
        for path in ["dangling", "below/../to be"] {
            assert_eq!(Identity::of(&at(path)), Identity::of(&at("to be")), "{path}");
        }
        assert_ne!(Identity::of(&at("to be")), Identity::of(&at("below/to be")));
        assert_ne!(Identity::of(&at("file")), Identity::of(&at("to be")));
        for path in ["/dev/null", "/", "no directory/file"] {
            assert_eq!(Identity::of(&directory.path().join(path)), None, "{path}");
        }
        symlink("loop", at("loop")).unwrap();
        let _ = Identity::of(&at("loop"));
    }
}
