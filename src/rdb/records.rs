//! A file's records, one after the other.

use std::io::Read;

use super::window::Window;
use super::{
    AUX, END, ENTERPRISE_LRU, ENTERPRISE_SLOT, EXPIRES_MS, EXPIRES_SECONDS, FIRST_CHECKED,
    FREQUENCY, FUNCTION, FUNCTION_PRE_GA, Foreign, IDLE, KEY_METADATA_OR_SLOT_IMPORT, MAGIC_BYTES,
    MODULE_AUX, RESIZE_DATABASE, RdbError, SELECT_DATABASE, SLOT_INFO, Version,
};
use crate::payload::{
    FOOTER_BYTES, Input, Kind, LONGEST_STRING, PayloadError, skip_module, skip_module_words,
    skip_value,
};
use crate::units::printable;

type Result<T> = std::result::Result<T, RdbError>;

/// One of a file's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// What the file says of itself.
    Aux {
        /// The name, as `redis-ver`.
        name: Vec<u8>,
        /// What it is.
        value: Vec<u8>,
    },
    /// The database of the keys that follow.
    Database(u32),
    /// What is said of the keys that follow.
    Announced {
        /// How many there are.
        keys: u64,
        /// How many of them expire.
        expires: u64,
    },
    /// The source code of a library of functions.
    Function(Vec<u8>),
    /// What a module keeps beside keys: nobody but that module can read it.
    ModuleData,
    /// What is said of slots in a cluster.
    Slots,
    /// A key with its value.
    Key(Key),
    /// Nothing follows.
    End,
}

/// A key of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: Vec<u8>,
    /// When it expires, in Unix milliseconds.
    pub expiry: Option<i64>,
    /// What it holds.
    pub kind: Kind,
    /// Whether modules keep something beside it, which was passed over.
    pub metadata: bool,
    /// The type byte.
    pub first: u8,
    /// Where in the file the rest of the value begins.
    pub at: u64,
    /// How long that is, in bytes.
    pub length: u64,
    /// Type byte and value, if they were wanted and are not too long.
    pub body: Option<Vec<u8>>,
}

impl Key {
    /// How long its payload is: what DUMP would answer.
    pub fn payload_bytes(&self) -> u64 {
        1 + self.length + FOOTER_BYTES as u64
    }

    /// Whether it has expired at this time, in Unix milliseconds.
    pub fn is_expired(&self, now_ms: i64) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now_ms)
    }
}

/// What stands in front of a key.
#[derive(Default)]
struct Prefix {
    any: bool,
    expiry: Option<i64>,
    metadata: bool,
}

/// Reads a file, or a part of it.
pub struct Records<R> {
    window: Window<R>,
    version: Version,
    /// Values of at most so many bytes are kept.
    keep: usize,
    whole: bool,
    checked: bool,
}

impl<R: Read> Records<R> {
    /// Reads a whole file of `length` bytes, values passed over.
    ///
    /// # Errors
    /// It does not begin as an RDB file does.
    pub fn of_file(from: R, length: u64) -> Result<Self> {
        let mut window = Window::new(from, 0, length, true);
        if length < MAGIC_BYTES as u64 {
            return Err(RdbError::NotRdb(Foreign::of(&window.owned(length)?)));
        }
        let version = Version::parse(&window.fixed("its first bytes")?)?;
        Ok(Self { window, version, keep: 0, whole: true, checked: false })
    }

    /// Reads the `length` bytes from `begin` on, which is where a record begins and where `from`
    /// stands. Values of at most `keep` bytes are kept with their keys.
    pub fn of_part(from: R, version: Version, begin: u64, length: u64, keep: usize) -> Self {
        let window = Window::new(from, begin, length, false);
        Self { window, version, keep, whole: false, checked: false }
    }

    /// The file's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where in the file the next record begins.
    pub fn position(&self) -> u64 {
        self.window.position()
    }

    /// Whether the file's end was reached and its checksum compared; some have none.
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    /// The next record.
    ///
    /// # Errors
    /// The file is damaged, or holds what is not known here.
    pub fn next_record(&mut self) -> Result<Record> {
        let begin = self.window.position();
        let mut prefix = Prefix::default();
        let record = self.read(&mut prefix, begin);
        record.map_err(|error| error.found_at(self.window.position().max(begin)))
    }

    fn read(&mut self, prefix: &mut Prefix, begin: u64) -> Result<Record> {
        loop {
            if !self.whole && !prefix.any && self.window.left() == 0 {
                return Ok(Record::End);
            }
            let byte = self.window.byte("a record")?;
            let window = &mut self.window;
            match byte {
                EXPIRES_SECONDS => {
                    let seconds = i32::from_le_bytes(window.fixed("an expiry")?);
                    prefix.expiry = Some(i64::from(seconds) * 1000);
                }
                EXPIRES_MS => {
                    prefix.expiry = Some(i64::from_le_bytes(window.fixed("an expiry")?));
                }
                IDLE => drop(window.number()?),
                // Other readers of such files ignore both.
                ENTERPRISE_LRU | ENTERPRISE_SLOT => {
                    window.number()?;
                    continue;
                }
                FREQUENCY => drop(window.byte("a frequency")?),
                KEY_METADATA_OR_SLOT_IMPORT if !self.version.is_valkey() => {
                    pass_metadata(window)?;
                    prefix.metadata = true;
                }
                ..=MOST_TYPES => return self.key(byte, prefix, begin),
                _ if prefix.any => {
                    let why = "an expiry that no key follows";
                    return Err(PayloadError::Malformed(why).into());
                }
                _ => return self.opcode(byte, begin),
            }
            prefix.any = true;
        }
    }

    fn key(&mut self, first: u8, prefix: &Prefix, begin: u64) -> Result<Record> {
        let name = self.window.owned_string(LONGEST_STRING)?;
        let at = self.window.position();
        self.window.keep(first, self.keep);
        let kind = skip_value(&mut self.window, first, self.version.number());
        let kind = kind.map_err(|error| unreadable(error, &name, begin))?;
        Ok(Record::Key(Key {
            name,
            // -1 is how servers write "never" in memory.
            expiry: prefix.expiry.filter(|&expiry| expiry != -1),
            kind,
            metadata: prefix.metadata,
            first,
            at,
            length: self.window.position() - at,
            body: self.window.kept(),
        }))
    }

    fn opcode(&mut self, byte: u8, at: u64) -> Result<Record> {
        let window = &mut self.window;
        Ok(match byte {
            AUX => Record::Aux {
                name: window.owned_string(LONGEST_STRING)?,
                value: window.owned_string(LONGEST_STRING)?,
            },
            SELECT_DATABASE => Record::Database(
                u32::try_from(window.number()?)
                    .map_err(|_| PayloadError::Malformed("a database beyond any number"))?,
            ),
            RESIZE_DATABASE => {
                Record::Announced { keys: window.number()?, expires: window.number()? }
            }
            FUNCTION => Record::Function(window.owned_string(LONGEST_STRING)?),
            FUNCTION_PRE_GA => Record::Function(pre_ga_function(window)?),
            MODULE_AUX => {
                skip_module(window)?;
                Record::ModuleData
            }
            SLOT_INFO if !self.version.is_valkey() => {
                for _ in 0..3 {
                    window.number()?;
                }
                Record::Slots
            }
            KEY_METADATA_OR_SLOT_IMPORT => {
                window.pass_string()?;
                for _ in 0..window.elements(2)? {
                    window.number()?;
                    window.number()?;
                }
                Record::Slots
            }
            END => self.end()?,
            _ => {
                let what = match byte {
                    100..=120 => format!("a record that only Redis Enterprise knows ({byte})"),
                    200..=240 => "a record that only Dragonfly knows".to_owned(),
                    242 => "a record of a newer server (242)".to_owned(),
                    _ => format!("a record that is not known ({byte})"),
                };
                return Err(RdbError::Unknown { at, what });
            }
        })
    }

    fn end(&mut self) -> Result<Record> {
        if !self.whole {
            return Err(PayloadError::Malformed("its end in its middle").into());
        }
        if self.version.number() >= FIRST_CHECKED {
            let made = self.window.checksum();
            let stored = u64::from_le_bytes(self.window.fixed("its checksum")?);
            // 0: `rdbchecksum no` on the server that wrote it.
            if stored != 0 && made != Some(stored) {
                return Err(RdbError::Checksum);
            }
            self.checked = stored != 0;
        }
        self.behind_the_end()
    }

    /// Nothing may follow the end, but for the mark by which a server that has not saved its file ends it on the
    /// wire to a replica.
    fn behind_the_end(&mut self) -> Result<Record> {
        let left = self.window.left();
        let first = self.window.owned(left.min(MARK_BYTES))?;
        let is_mark = first.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match left {
            0 => Ok(Record::End),
            MARK_BYTES if is_mark => Ok(Record::End),
            _ if Foreign::of(&first) == Foreign::Commands => Err(RdbError::CommandsFollow(left)),
            _ => Err(RdbError::Trailing(left)),
        }
    }
}

/// Bytes up to here are types of values, as far as servers use them; above are opcodes.
const MOST_TYPES: u8 = 99;
/// The length of the mark that a file may end with that was sent to a replica.
const MARK_BYTES: u64 = 40;

/// The error for a key at this place whose value has a type that cannot be read: the file is not damaged.
fn unreadable(error: RdbError, name: &[u8], at: u64) -> RdbError {
    let RdbError::Damaged { why, .. } = &error else { return error };
    let what = match why {
        PayloadError::UnknownType(byte) => format!("of a type that is not known ({byte})"),
        PayloadError::OldModule(of) => {
            format!("of the module type '{of}' in the format of before Redis 4.0")
        }
        _ => return error,
    };
    RdbError::Unknown { at, what: format!("the value of \"{}\", {what},", printable(name)) }
}

/// A library as the release candidates of Redis 7.0 kept it: its name, its engine, perhaps a description, its code.
/// Redis 7.0 makes of it what it writes itself.
fn pre_ga_function<I: Input>(input: &mut I) -> std::result::Result<Vec<u8>, I::Error> {
    let name = input.owned_string(LONGEST_STRING)?;
    let engine = input.owned_string(LONGEST_STRING)?;
    if input.number()? != 0 {
        input.pass_string()?;
    }
    let code = input.owned_string(LONGEST_STRING)?;
    Ok([b"#!", &engine[..], b" name=", &name, b"\n", &code].concat())
}

/// Passes over what modules keep beside a key: for each a name in four bytes, and its words.
fn pass_metadata<I: Input>(input: &mut I) -> std::result::Result<(), I::Error> {
    for _ in 0..input.elements(5)? {
        input.pass(4, "a key's metadata")?;
        skip_module_words(input)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    fn records(bytes: &[u8]) -> Result<Vec<Record>> {
        let mut records = Records::of_file(bytes, bytes.len() as u64)?;
        let mut found = Vec::new();
        loop {
            match records.next_record()? {
                Record::End => return Ok(found),
                record => found.push(record),
            }
        }
    }

    /// A file of this version with these bytes between its beginning and its end.
    fn file(version: u16, between: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), Version::new(version)).unwrap();
        writer.raw(between).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn every_record_that_is_known_is_passed_over_exactly() {
        let metadata = b"\xf3\x01name\x02\x05\x05\x01x\x00\x00\x01k\x01v";
        let mut found = records(&file(13, metadata)).unwrap();
        let Some(Record::Key(key)) = found.pop() else { panic!("{found:?}") };
        assert!(key.metadata && key.name == b"k" && key.payload_bytes() == 13, "{key:?}");
        let old = b"#!LUA name=lib\ncode".to_vec();
        let cases: [(u16, &[u8], Record); 8] = [
            (80, b"\xf3\x03job\x01\x00\x05", Record::Slots),
            (12, b"\xf4\x05\x01\x00", Record::Slots),
            (9, b"\xf7\x05\x02\x01\x05\x01x\x00", Record::ModuleData),
            (9, b"\xfb\x05\x02", Record::Announced { keys: 5, expires: 2 }),
            (10, b"\xf5\x03lib", Record::Function(b"lib".to_vec())),
            (10, b"\xf6\x03lib\x03LUA\x00\x04code", Record::Function(old.clone())),
            (10, b"\xf6\x03lib\x03LUA\x01\x04what\x04code", Record::Function(old)),
            (9, b"\xfe\x0f", Record::Database(15)),
        ];
        for (version, bytes, record) in cases {
            assert_eq!(records(&file(version, bytes)).unwrap(), [record]);
            let cut = records(&file(version, &bytes[..bytes.len() - 1]));
            assert!(cut.is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for byte in [100, 120, 122, 200, 240, 241, 242] {
            let refused = records(&file(9, &[byte, 0, 0])).unwrap_err();
            assert!(matches!(refused, RdbError::Unknown { at: 9, .. }), "{byte}: {refused}");
        }
        // A type that has no meaning, and one that has no end.
        for (bytes, says) in [
            (&b"\x08\x01k\x00"[..], "\"k\", of a type that is not known (8), at byte 9"),
            (b"\x06\x01k\x81E\xe2R8\xdf\x91,\x00\x00", "\"k\", of the module type 'ReJSON-RL' in"),
        ] {
            let refused = records(&file(9, bytes)).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        // An expiry without a key, an end in the middle of one.
        for bytes in [&b"\xfd\0\0\0\0\xfe\x00"[..], b"\xfd\0\0\0\0"] {
            let refused = records(&file(9, bytes)).unwrap_err();
            assert!(matches!(refused, RdbError::Damaged { at: 10.., .. }), "{refused}");
        }
        assert!(matches!(records(b"REDIS00"), Err(RdbError::NotRdb(Foreign::Cut))));
        assert!(matches!(records(b"<html></html>"), Err(RdbError::NotRdb(Foreign::Text))));
    }

    #[test]
    fn what_redis_enterprise_says_of_a_key_is_passed_over() {
        let key = b"\xfc\x02\0\0\0\0\0\0\0\x79\x05\x6b\x40\x43\xf8\x01\x6b\x05\x00\x01k\x01v";
        let found =
            records(&file(12, &[&b"\x79\x05\xfe\x01"[..], key, b"\x79\x01"].concat())).unwrap();
        assert!(
            matches!(&found[..], [Record::Database(1), Record::Key(key)] if key.expiry == Some(2) && key.name == b"k"),
            "{found:?}"
        );
        assert!(records(&file(12, b"\xfd\0\0\0\0\x6b\x05")).is_err(), "an expiry and no key");
    }

    #[test]
    fn behind_the_end_only_the_mark_of_a_replication_may_stand() {
        let behind = |more: &[u8]| records(&[&file(9, b"")[..], more].concat());
        let mark = b"6ce932509f837be39659508afae0e80443148d47";
        assert_eq!(behind(mark).unwrap(), []);
        for other in
            [&mark[1..], &mark.map(|byte| byte.to_ascii_uppercase()), &[mark, &b"0"[..]].concat()]
        {
            assert!(
                matches!(behind(other), Err(RdbError::Trailing(_))),
                "{}",
                other.escape_ascii()
            );
        }
        for commands in [&b"*1\r\n$4\r\nPING\r\n"[..], b"#TS:1700000000\r\n*1\r\n$4\r\nPING\r\n"] {
            let length = commands.len() as u64;
            assert!(matches!(behind(commands), Err(RdbError::CommandsFollow(n)) if n == length));
        }
    }

    #[test]
    fn expiries_have_two_units_and_one_never() {
        let expiries = [
            (&b"\xfd\x02\0\0\0\x00\x01k\x01v"[..], Some(2_000)),
            (b"\xfc\x02\0\0\0\0\0\0\0\xf8\x05\xf9\x07\x00\x01k\x01v", Some(2)),
            (b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01k\x01v", None),
        ];
        for (bytes, expiry) in expiries {
            let found = records(&file(9, bytes)).unwrap();
            assert!(matches!(&found[..], [Record::Key(key)] if key.expiry == expiry), "{found:?}");
        }
    }

    #[test]
    fn a_part_is_read_with_its_values() {
        let bytes = file(9, b"\xfe\x00\x00\x01k\x01v\x00\x01l\x03abc");
        let part = &bytes[9..bytes.len() - 9];
        let mut records =
            Records::of_part(part, Version::new(9), 9, part.len() as u64, b"\x00\x01v".len());
        assert_eq!(records.next_record().unwrap(), Record::Database(0));
        let Record::Key(key) = records.next_record().unwrap() else { panic!("no key") };
        assert_eq!((key.at, key.length, key.body.as_deref()), (14, 2, Some(&b"\x00\x01v"[..])));
        let Record::Key(key) = records.next_record().unwrap() else { panic!("no key") };
        // It is longer than what was to be kept.
        assert_eq!((key.at, key.length, key.body), (19, 4, None));
        assert_eq!(records.next_record().unwrap(), Record::End);
    }
}
