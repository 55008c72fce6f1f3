//! `--failures FILE`: every key that was not copied, a JSON object a line, as exact as it takes to
//! copy just these later.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::lines::Lines;
use crate::units::printable;

/// A key that was not copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The source database.
    pub db: u32,
    /// The target database.
    pub target_db: u32,
    /// The key for people: escaped and cut.
    pub key: String,
    /// The key, every byte as two hexadecimal digits.
    pub hex: String,
    /// The reason.
    pub error: String,
}

impl DeadLetter {
    /// A key and why it was not copied.
    pub fn new(db: u32, target_db: u32, name: &[u8], error: &str) -> Self {
        let hex = name.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { db, target_db, key: printable(name), hex, error: error.to_owned() }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let letter: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        letter.name().map(|_| letter.clone())
    }

    /// The key's name.
    ///
    /// # Errors
    /// `hex` is no such text.
    pub fn name(&self) -> Result<Vec<u8>, String> {
        let wrong = || format!("'hex' holds {} characters that are no bytes", self.hex.len());
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = self.hex.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        pairs.iter().map(byte).collect::<Option<_>>().ok_or_else(wrong)
    }
}

/// Where the keys are written that were not copied.
#[derive(Debug, Default)]
pub struct DeadLetters {
    lines: Lines,
}

impl DeadLetters {
    /// They are written to this file.
    pub fn into_file(file: File) -> Self {
        Self { lines: Lines::of(file) }
    }

    /// Writes one more, if there is a file.
    pub fn tell(&self, letter: impl FnOnce() -> DeadLetter) {
        self.lines.write_with(letter);
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// The first thing that went wrong with the file.
    pub fn finish(&self) -> io::Result<()> {
        self.lines.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back_from_its_line() {
        let all: Vec<u8> = (0..=255).collect();
        for name in [&b""[..], b"a", b"\xff\n\"", &all] {
            let letter = DeadLetter::new(1, 2, name, "why");
            let line = serde_json::to_string(&letter).unwrap();
            assert!(!line.contains('\n'));
            let read = DeadLetter::parse(&line).unwrap();
            assert_eq!(read.name().unwrap(), name);
            assert_eq!(read, letter);
        }
    }

    #[test]
    fn lines_that_are_no_letters_are_refused() {
        let line =
            |hex: &str| format!(r#"{{"db":0,"target_db":0,"key":"k","hex":"{hex}","error":"e"}}"#);
        assert!(DeadLetter::parse(&line("6b")).is_ok());
        for wrong in ["6", "6g", "6b6", "+1"] {
            assert!(DeadLetter::parse(&line(wrong)).is_err(), "{wrong}");
        }
        assert!(DeadLetter::parse("{}").is_err());
        assert!(DeadLetter::parse("").is_err());
    }
}
