//! Reads a whole file to its end and says what it holds: the proof before anything is done with it.

use std::io::Read;

use super::{Key, RdbError, Record, Records, Version};
use crate::payload::PayloadError;
use crate::units::printable;

/// Databases, and libraries of functions, of one file: more than any server is configured with, few enough to be counted in
/// memory (4 MiB).
pub const MOST_SECTIONS: usize = 65_536;

/// What a whole file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Its version's number.
    pub version: u16,
    /// Family and version of the server that wrote it, as far as it tells: `redis 7.0.15`.
    pub server: String,
    /// Its databases, in order.
    pub sections: Vec<Section>,
    /// Where in the file its libraries of functions are.
    pub functions: Vec<u64>,
    /// Things that modules keep beside keys.
    pub module_data: u64,
    /// Keys that modules keep something beside.
    pub keys_with_metadata: u64,
    /// Whether it has a checksum, which is right.
    pub checked: bool,
    /// It is the base of an append-only file, whose newer writes are in other files.
    pub append_only_base: bool,
}

/// The keys of one database, as they stand in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Its number.
    pub database: u32,
    /// How many keys it holds, with those that have expired.
    pub keys: u64,
    /// How many of them have an expiry.
    pub expires: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// How many keys the file says it holds, and how many with an expiry.
    pub announced: Option<(u64, u64)>,
    /// Where in the file it begins.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
}

impl Summary {
    /// Version and server for people: `rdb 11 of redis 7.2.4`.
    pub fn describe(&self) -> String {
        let version = Version::new(self.version);
        match self.server.as_str() {
            "" => version.to_string(),
            server => format!("{version} of {server}"),
        }
    }

    /// Returns true for a version newer than those whose types are known here.
    pub fn is_newer_than_known(&self) -> bool {
        Version::new(self.version).is_newer_than_known()
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"valkey-ver" => self.server = format!("valkey {}", printable(value)),
            b"aof-base" => self.append_only_base = value != b"0",
            // Valkey may name both.
            b"redis-ver" if self.server.is_empty() => {
                self.server = format!("redis {}", printable(value));
            }
            _ => {}
        }
    }
}

/// Reads a file of `length` bytes: every record known, every value walked to its end, the checksum
/// right, nothing behind it.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(from: impl Read, length: u64) -> Result<Summary, RdbError> {
    check_each(from, length, |_, _| {})
}

/// As [`check`]; `each` sees every key, and the number of its database.
///
/// # Errors
/// As [`check`].
pub fn check_each(
    from: impl Read,
    length: u64,
    mut each: impl FnMut(u32, &Key),
) -> Result<Summary, RdbError> {
    let mut records = Records::of_file(from, length)?;
    let mut found = Summary { version: records.version().number(), ..Summary::default() };
    loop {
        let at = records.position();
        match records.next_record()? {
            Record::Aux { name, value } => found.aux(&name, &value),
            Record::Database(database) => {
                end_section(&mut found, at);
                if found.sections.len() == MOST_SECTIONS {
                    let why = PayloadError::TooLarge("more than 65,536 databases");
                    return Err(RdbError::Damaged { at, why });
                }
                found.sections.push(Section { database, begin: at, ..Section::default() });
            }
            Record::Announced { keys, expires } => {
                if let Some(section) = found.sections.last_mut() {
                    section.announced = Some((keys, expires));
                }
            }
            Record::Function(_) => {
                if found.functions.len() == MOST_SECTIONS {
                    let why = PayloadError::TooLarge("more than 65,536 libraries of functions");
                    return Err(RdbError::Damaged { at, why });
                }
                found.functions.push(at);
            }
            Record::ModuleData => found.module_data += 1,
            Record::Slots => {}
            Record::Key(key) => {
                found.keys_with_metadata += u64::from(key.metadata);
                if found.sections.is_empty() {
                    // Keys before any SELECTDB belong to database 0.
                    found.sections.push(Section { begin: at, ..Section::default() });
                }
                if let Some(section) = found.sections.last_mut() {
                    section.keys += 1;
                    section.expires += u64::from(key.expiry.is_some());
                    section.bytes += key.payload_bytes();
                    each(section.database, &key);
                }
            }
            Record::End => {
                end_section(&mut found, at);
                found.checked = records.is_checked();
                return Ok(found);
            }
        }
    }
}

fn end_section(found: &mut Summary, at: u64) {
    if let Some(section) = found.sections.last_mut() {
        section.end = at;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), Version::new(80)).unwrap();
        writer.aux(b"redis-ver", b"7.2.4").unwrap();
        writer.aux(b"valkey-ver", b"9.1.2").unwrap();
        writer.function(b"#!lua name=x").unwrap();
        writer.database(0, 2, 1).unwrap();
        writer.key(b"a", 0, b"\x00\x01v").unwrap();
        writer.key(b"b", 99, b"\x01\x02\x01v\x01w").unwrap();
        writer.database(7, 1, 0).unwrap();
        writer.key(b"", 0, b"\x00\x00").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_counted() {
        let bytes = sample();
        let found = check(&bytes[..], bytes.len() as u64).unwrap();
        assert_eq!(found.describe(), "rdb 80 of valkey 9.1.2");
        assert!(found.checked && found.functions.len() == 1);
        let [first, second] = &found.sections[..] else { panic!("{found:?}") };
        assert_eq!((first.database, first.keys, first.expires), (0, 2, 1));
        assert_eq!((first.announced, first.bytes), (Some((2, 1)), 13 + 16));
        assert_eq!((second.database, second.keys, second.end), (7, 1, bytes.len() as u64 - 9));
        assert_eq!(first.end, second.begin);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_shows() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(check(&bytes[..length], length as u64).is_err(), "cut to {length}");
            // A file that ends before it should.
            assert!(check(&bytes[..length], bytes.len() as u64).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let found = check(&damaged[..], damaged.len() as u64);
                assert!(found.is_err(), "bit {bit} of byte {at}");
            }
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert!(matches!(check(&longer[..], longer.len() as u64), Err(RdbError::Trailing(1))));
    }

    #[test]
    fn a_file_without_a_checksum_says_so() {
        let mut bytes = sample();
        let end = bytes.len() - 8;
        bytes[end..].fill(0);
        assert!(!check(&bytes[..], bytes.len() as u64).unwrap().checked);
    }
}
