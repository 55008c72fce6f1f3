//! What keyferry made before, known by its first bytes: it is not to be lost to a mistyped name.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// What is read of a file, in bytes: a line's key is cut long before.
const LOOKED_AT: u64 = 4 << 10;

/// A file that holds what cannot be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Keys and values.
    Rdb,
    /// How far a run has come.
    Checkpoint,
    /// Keys that failed, by their names.
    Failures,
}

impl fmt::Display for Known {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Rdb => "an RDB file",
            Self::Checkpoint => "the checkpoint of a run (--state)",
            Self::Failures => "a list of keys that failed (--failures)",
        })
    }
}

impl Known {
    /// What a file is; `None`: nothing of that, or no file that can be read. Nothing but a file is opened.
    pub fn of(path: &Path) -> Option<Self> {
        if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
            return None;
        }
        let mut beginning = Vec::new();
        File::open(path).ok()?.take(LOOKED_AT).read_to_end(&mut beginning).ok()?;
        Self::of_bytes(&beginning)
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let version = bytes.strip_prefix(b"REDIS").or_else(|| bytes.strip_prefix(b"VALKEY"));
        if version.is_some_and(|version| version.first().is_some_and(u8::is_ascii_digit)) {
            return Some(Self::Rdb);
        }
        let fields = bytes.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
        if fields.starts_with(b"\"keyferry_checkpoint\"") {
            return Some(Self::Checkpoint);
        }
        // Inside of a text, quotes have a backslash in front.
        let has_hex = bytes.windows(HEX.len()).any(|part| part == HEX);
        (fields.starts_with(b"\"db\":") && has_hex).then_some(Self::Failures)
    }
}

/// What follows a line's key where it is a list of failures.
const HEX: &[u8] = b"\",\"hex\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_how_they_begin() {
        for (text, known) in [
            (&b"REDIS0011\xfa"[..], Some(Known::Rdb)),
            (b"VALKEY080", Some(Known::Rdb)),
            (b"REDIS is fast", None),
            (b"{\n  \"keyferry_checkpoint\": 1,", Some(Known::Checkpoint)),
            (br#"{"db":0,"target_db":0,"key":"a","hex":"61","error":"e"}"#, Some(Known::Failures)),
            (br#"{"db":0,"target_db":0,"key":"\",\"hex\":\"","kind":"missing"}"#, None),
            (b"{\n  \"schema\": 1", None),
            (b"", None),
        ] {
            assert_eq!(Known::of_bytes(text), known, "{}", text.escape_ascii());
        }
        assert_eq!(Known::of(Path::new("/dev/zero")), None);
    }
}
