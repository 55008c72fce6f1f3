//! Writes a file, record by record.

use std::io::{Result, Seek, SeekFrom, Write};

use super::{
    AUX, END, EXPIRES_MS, FIRST_CHECKED, FUNCTION, RESIZE_DATABASE, SELECT_DATABASE, Version,
};
use crate::payload::{add_to_checksum, footer, write_number, write_string};

/// Writes an RDB file.
pub struct Writer<W> {
    to: W,
    version: Version,
    state: Mark,
    /// What is laid together for one write.
    record: Vec<u8>,
}

/// How far a file is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    /// Its length, in bytes.
    pub length: u64,
    checksum: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written; so it is with all that follows.
    pub fn new(to: W, version: Version) -> Result<Self> {
        let mut writer = Self { to, version, state: Mark::default(), record: Vec::new() };
        writer.raw(version.magic().as_bytes())?;
        Ok(writer)
    }

    /// The version it is written in.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Says something of the file.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        self.record.push(AUX);
        write_string(&mut self.record, name);
        write_string(&mut self.record, value);
        self.write_record()
    }

    /// A library of functions.
    pub fn function(&mut self, code: &[u8]) -> Result<()> {
        self.record.push(FUNCTION);
        write_string(&mut self.record, code);
        self.write_record()
    }

    /// Begins a database of about so many keys, some of which expire: what a server makes room for.
    pub fn database(&mut self, number: u32, keys: u64, expires: u64) -> Result<()> {
        self.record.push(SELECT_DATABASE);
        write_number(&mut self.record, u64::from(number));
        self.record.push(RESIZE_DATABASE);
        write_number(&mut self.record, keys);
        write_number(&mut self.record, expires);
        self.write_record()
    }

    /// A key: its expiry in Unix milliseconds (0: never), its type byte and value.
    pub fn key(&mut self, name: &[u8], expiry: i64, body: &[u8]) -> Result<()> {
        let (first, rest) = body.split_first().map_or((0, body), |(first, rest)| (*first, rest));
        self.begin_key(name, expiry, first)?;
        self.raw(rest)
    }

    /// All of a key in front of its value, which follows by [`Self::raw`].
    pub fn begin_key(&mut self, name: &[u8], expiry: i64, first: u8) -> Result<()> {
        if expiry != 0 {
            self.record.push(EXPIRES_MS);
            self.record.extend_from_slice(&expiry.to_le_bytes());
        }
        self.record.push(first);
        write_string(&mut self.record, name);
        self.write_record()
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes)?;
        self.state.checksum = add_to_checksum(self.state.checksum, bytes);
        self.state.length += bytes.len() as u64;
        Ok(())
    }

    /// How far it is: a place to come back to.
    pub fn mark(&self) -> Mark {
        self.state
    }

    /// Ends the file, and hands back where it was written to.
    pub fn finish(mut self) -> Result<W> {
        self.raw(&[END])?;
        if self.version.number() >= FIRST_CHECKED {
            self.to.write_all(&self.state.checksum.to_le_bytes())?;
        }
        self.to.flush()?;
        Ok(self.to)
    }

    fn write_record(&mut self) -> Result<()> {
        let mut record = std::mem::take(&mut self.record);
        let written = self.raw(&record);
        record.clear();
        self.record = record;
        written
    }
}

impl<W: Write + Seek> Writer<W> {
    /// Goes back to a place: what follows takes the place of what was written since. The caller
    /// shortens the file to [`Mark::length`].
    pub fn go_back(&mut self, mark: Mark) -> Result<&mut W> {
        self.to.seek(SeekFrom::Start(mark.length))?;
        self.state = mark;
        Ok(&mut self.to)
    }
}

/// The RDB version since which there are functions: all servers that know them take it.
const OF_FUNCTIONS: u16 = 10;

/// What `FUNCTION RESTORE` takes: the records of libraries of this code, and a footer.
pub fn function_dump<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    for code in codes {
        body.push(FUNCTION);
        write_string(&mut body, code);
    }
    footer::seal(body, OF_FUNCTIONS)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::check;
    use super::*;

    #[test]
    fn going_back_leaves_nothing_of_what_was_there() {
        let mut writer = Writer::new(Cursor::new(Vec::new()), Version::new(9)).unwrap();
        writer.database(0, 1, 0).unwrap();
        let mark = writer.mark();
        writer.begin_key(b"half", 5, 0).unwrap();
        let file = writer.go_back(mark).unwrap();
        file.get_mut().truncate(usize::try_from(mark.length).unwrap());
        writer.key(b"whole", 0, b"\x00\x01v").unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        let found = check(&bytes[..], bytes.len() as u64).unwrap();
        assert_eq!((found.sections[0].keys, found.sections[0].expires), (1, 0));
        assert!(found.checked);
    }
}
