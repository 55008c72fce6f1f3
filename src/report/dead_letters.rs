//! `--failures FILE`: every key that was not copied, a JSON object a line, as exact as it takes to
//! copy just these later.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::lines::{LONGEST_LINE, Lines};
use crate::files::Output;
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
    path: PathBuf,
    complete: AtomicBool,
    /// Keys failed that are not named here: in an earlier run, or by names that are too long.
    lacks: AtomicBool,
}

impl DeadLetters {
    /// The longest line, in bytes.
    pub const LONGEST_LINE: u64 = LONGEST_LINE;

    /// They are written to this file. What it holds stays until the run has its own, or, if a run
    /// `goes_on`, until that says what of it is kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn open(path: &Path, goes_on: bool) -> io::Result<Self> {
        let output = if goes_on { Output::go_on(path)? } else { Output::begin(path)? };
        let path = output.path().canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Self { lines: Lines::of(output)?, path, ..Self::default() })
    }

    /// Keeps so many of the letters of each pair of databases, the first ones, and drops the others:
    /// their keys are copied again. Answers how many of them the file does not hold for certain: it
    /// was written by another run than the one that they failed in, and is not complete then.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_first(
        &self,
        mut letters: BTreeMap<(u32, u32), u64>,
        written_to: Option<&Path>,
    ) -> io::Result<u64> {
        let failed: u64 = letters.values().sum();
        self.lines.retain(|line| {
            let Ok(letter) = DeadLetter::parse(line) else { return false };
            let left = letters.get_mut(&(letter.db, letter.target_db)).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        })?;
        let same = written_to == self.path();
        let lacking = if same { letters.values().sum() } else { failed };
        self.lacks.store(lacking > 0, Ordering::Relaxed);
        Ok(lacking)
    }

    /// Drops all letters: every key will be copied, or looked at, again.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn clear(&self) -> io::Result<()> {
        self.lacks.store(false, Ordering::Relaxed);
        self.lines.retain(|_| false)
    }

    /// Says whether every key that differs is named, as far as anybody knows.
    pub fn are_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Relaxed);
    }

    /// Whether every key that differs is named; `None`: there is no file.
    pub fn is_complete(&self) -> Option<bool> {
        let complete = self.complete.load(Ordering::Relaxed) && !self.lacks.load(Ordering::Relaxed);
        self.are_kept().then(|| complete && self.flush().is_ok())
    }

    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        self.are_kept().then_some(&self.path)
    }

    /// Whether there is a file.
    pub fn are_kept(&self) -> bool {
        self.lines.are_kept()
    }

    /// Hands what was written so far to the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.lines.flush()
    }

    /// Says that a key failed that cannot be named here.
    pub fn lack(&self) {
        self.lacks.store(true, Ordering::Relaxed);
    }

    /// Writes one more, if there is a file.
    pub fn tell(&self, letter: impl FnOnce() -> DeadLetter) {
        if !self.lines.write_with(letter) {
            self.lack();
            tracing::warn!(
                "a key that failed has a name that is too long for the list of --failures"
            );
        }
    }

    /// Ends the file; if the letters are not `wanted`, it is as it was before.
    ///
    /// # Errors
    /// The first thing that went wrong with the file.
    pub fn finish(&self, wanted: bool) -> io::Result<()> {
        self.lines.finish(wanted)
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
    fn a_name_that_could_not_be_read_back_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(&directory.path().join("letters"), false).unwrap();
        letters.are_complete(true);
        letters.tell(|| DeadLetter::new(0, 0, &vec![b'n'; 7 << 20], "why"));
        assert_eq!(letters.is_complete(), Some(true));
        letters.tell(|| DeadLetter::new(0, 0, &vec![b'n'; 17 << 20], "why"));
        letters.tell(|| DeadLetter::new(0, 0, b"short", "why"));
        assert_eq!(letters.is_complete(), Some(false));
        letters.finish(true).unwrap();
        let text = std::fs::read_to_string(directory.path().join("letters")).unwrap();
        let read: Vec<_> = text.lines().map(DeadLetter::parse).collect();
        assert_eq!((read.len(), read.iter().filter(|letter| letter.is_ok()).count()), (2, 2));
    }

    #[test]
    fn a_run_that_goes_on_keeps_the_first_letters_of_each_database() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("letters");
        let first = DeadLetters::open(&path, false).unwrap();
        for number in 0..9_u8 {
            let database = u32::from(number % 3);
            first.tell(|| DeadLetter::new(database, 7, &[number], "why"));
        }
        first.flush().unwrap();
        // Killed in the middle of a line.
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"{\"db\":0,\"tar").unwrap();
        let again = DeadLetters::open(&path, true).unwrap();
        again.are_complete(true);
        let same = again.path().map(Path::to_owned);
        let keep = |letters: &[((u32, u32), u64)], written_to: Option<&Path>| {
            let lacking = again.keep_first(letters.iter().copied().collect(), written_to).unwrap();
            (lacking, again.is_complete())
        };
        assert_eq!(keep(&[((0, 7), 2), ((1, 7), 2)], same.as_deref()), (0, Some(true)));
        assert_eq!(keep(&[((0, 7), 2), ((1, 7), 2)], None), (4, Some(false)), "of another run");
        let more = [((0, 7), 2), ((1, 7), 9), ((2, 8), 3)];
        assert_eq!(keep(&more, same.as_deref()), (10, Some(false)), "some are not in the file");
        again.tell(|| DeadLetter::new(2, 7, b"new", "why"));
        again.finish(true).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let letters: Vec<DeadLetter> =
            text.lines().map(|line| DeadLetter::parse(line).unwrap()).collect();
        let names: Vec<&str> = letters.iter().map(|letter| letter.hex.as_str()).collect();
        assert_eq!(names, ["00", "01", "03", "04", "6e6577"]);
        let anew = DeadLetters::open(&path, false).unwrap();
        anew.finish(true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
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
