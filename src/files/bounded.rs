//! Files of options: a password, a key, certificates. They may be pipes, and are small.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::units;

/// What such a file may hold, in bytes: all the authorities that a system trusts are a quarter of it. Devices have
/// no end.
pub const LONGEST_OPTION_FILE: u64 = 1 << 20;

/// Reads such a file to its end.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn read_option_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_OPTION_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_OPTION_FILE {
        let most = units::bytes(LONGEST_OPTION_FILE);
        return Err(io::Error::other(format!("it holds more than {most}")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read() {
        assert!(read_option_file(Path::new("/dev/zero")).is_err());
        assert_eq!(read_option_file(Path::new("/dev/null")).unwrap(), b"");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let longest = vec![b'x'; LONGEST_OPTION_FILE as usize];
        std::fs::write(&path, &longest).unwrap();
        assert_eq!(read_option_file(&path).unwrap(), longest);
    }
}
