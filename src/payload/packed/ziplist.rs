//! Ziplist, the listpack's forerunner: `u32 bytes | u32 last | u16 count | entry … | 0xff`, little
//! endian; a count of 65535 says nothing.
//!
//! An entry begins with the length of the one before it (one byte, or 254 and four), then an
//! encoding byte and the data. Servers older than 7.0 keep small values so and take them fastest.

use super::Item;
use crate::payload::reader::Reader;
use crate::payload::{PayloadError, Result};

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
/// The length of the entry before stands in the next four bytes.
const WIDE_LENGTH: u8 = 254;
const UNKNOWN_COUNT: u16 = u16::MAX;

/// The elements of a ziplist.
#[derive(Clone, Debug)]
pub(crate) struct Ziplist<'a> {
    reader: Reader<'a>,
    total: usize,
    /// Where the header says that the last entry begins.
    last: usize,
    /// Where the last entry that was read begins, and its length.
    at: usize,
    length: usize,
    promised: Option<u16>,
    ended: bool,
}

impl<'a> Ziplist<'a> {
    /// # Errors
    /// The header is not that of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let what = "a ziplist's header";
        let mut reader = Reader::new(bytes);
        let total = reader.array(what).map(u32::from_le_bytes)?;
        let last = reader.array(what).map(u32::from_le_bytes)?;
        let count = reader.array(what).map(u16::from_le_bytes)?;
        if usize::try_from(total) != Ok(bytes.len()) || bytes.last() != Some(&END) {
            return Err(PayloadError::Malformed("a ziplist whose header is not its own"));
        }
        Ok(Self {
            reader,
            total: bytes.len(),
            last: usize::try_from(last).unwrap_or(usize::MAX),
            // Where an empty ziplist's "last entry" is said to be.
            at: HEADER_BYTES,
            length: 0,
            promised: (count != UNKNOWN_COUNT).then_some(count),
            ended: false,
        })
    }

    fn entry(&mut self) -> Result<Option<Item<'a>>> {
        let what = "a ziplist";
        let before = self.reader.left();
        let first = self.reader.byte(what)?;
        if first == END {
            let done = self.reader.left() == 0 && self.promised.unwrap_or(0) == 0;
            return if done && self.at == self.last {
                Ok(None)
            } else {
                Err(PayloadError::Malformed("a ziplist that ends before its end"))
            };
        }
        let previous = match first {
            WIDE_LENGTH => u32::from_le_bytes(self.reader.array(what)?),
            short => u32::from(short),
        };
        if usize::try_from(previous) != Ok(self.length) {
            return Err(PayloadError::Malformed("a ziplist that reads otherwise from behind"));
        }
        let item = self.item()?;
        self.at = self.total - before;
        self.length = before - self.reader.left();
        if let Some(promised) = &mut self.promised {
            *promised = promised
                .checked_sub(1)
                .ok_or(PayloadError::Malformed("a ziplist of more elements than it says"))?;
        }
        Ok(Some(item))
    }

    fn item(&mut self) -> Result<Item<'a>> {
        let what = "a ziplist's element";
        let first = self.reader.byte(what)?;
        let low = first & 0x3f;
        Ok(match first {
            0x00..=0x3f => Item::Bytes(self.reader.take(usize::from(low), what)?),
            0x40..=0x7f => {
                let length = u16::from_be_bytes([low, self.reader.byte(what)?]);
                Item::Bytes(self.reader.take(usize::from(length), what)?)
            }
            0x80 => {
                let length = u32::from_be_bytes(self.reader.array(what)?);
                // A length beyond memory is beyond what is left, too.
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Item::Bytes(self.reader.take(length, what)?)
            }
            0xc0 => Item::Integer(i64::from(i16::from_le_bytes(self.reader.array(what)?))),
            0xd0 => Item::Integer(i64::from(i32::from_le_bytes(self.reader.array(what)?))),
            0xe0 => Item::Integer(i64::from_le_bytes(self.reader.array(what)?)),
            0xf0 => {
                let [a, b, c] = self.reader.array(what)?;
                Item::Integer(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
            }
            0xfe => Item::Integer(i64::from(self.reader.byte(what)?.cast_signed())),
            0xf1..=0xfd => Item::Integer(i64::from(first & 0x0f) - 1),
            _ => return Err(PayloadError::Malformed("a ziplist's element of unknown encoding")),
        })
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Item<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.entry();
        self.ended = !matches!(entry, Ok(Some(_)));
        entry.transpose()
    }
}

/// Lays elements into a ziplist.
#[derive(Debug)]
pub(crate) struct ZiplistWriter {
    bytes: Vec<u8>,
    count: usize,
    /// Where the last entry begins.
    last: usize,
}

impl Default for ZiplistWriter {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0, last: HEADER_BYTES }
    }
}

impl ZiplistWriter {
    /// How many bytes it has, without its end.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a string, as a number if it is one.
    pub(crate) fn push(&mut self, text: &[u8]) {
        let previous = if self.count == 0 { 0 } else { self.bytes.len() - self.last };
        self.last = self.bytes.len();
        match u8::try_from(previous) {
            Ok(short) if short < WIDE_LENGTH => self.bytes.push(short),
            _ => {
                let [a, b, c, d, ..] = previous.to_le_bytes();
                self.bytes.extend_from_slice(&[WIDE_LENGTH, a, b, c, d]);
            }
        }
        match Item::of(text) {
            Item::Bytes(bytes) => self.push_bytes(bytes),
            Item::Integer(number) => self.push_integer(number),
        }
        self.count += 1;
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let [a, b, c, d, ..] = bytes.len().to_le_bytes();
        match bytes.len() {
            0..64 => self.bytes.push(a),
            64..16_384 => self.bytes.extend_from_slice(&[0x40 | b, a]),
            _ => self.bytes.extend_from_slice(&[0x80, d, c, b, a]),
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn push_integer(&mut self, number: i64) {
        let [a, b, c, d, ..] = number.to_le_bytes();
        match number {
            0..=12 => self.bytes.push(0xf1 + a),
            -0x80..=0x7f => self.bytes.extend_from_slice(&[0xfe, a]),
            -0x8000..=0x7fff => self.bytes.extend_from_slice(&[0xc0, a, b]),
            -0x80_0000..=0x7f_ffff => self.bytes.extend_from_slice(&[0xf0, a, b, c]),
            -0x8000_0000..=0x7fff_ffff => self.bytes.extend_from_slice(&[0xd0, a, b, c, d]),
            _ => {
                self.bytes.push(0xe0);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// The finished ziplist. Callers keep it far below the 4 GiB that its header can tell.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let last = u32::try_from(self.last).unwrap_or(u32::MAX);
        let count = u16::try_from(self.count).unwrap_or(UNKNOWN_COUNT);
        let header = total.to_le_bytes().into_iter().chain(last.to_le_bytes());
        let header = header.chain(count.to_le_bytes());
        self.bytes.iter_mut().zip(header).for_each(|(byte, value)| *byte = value);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ziplist::new(bytes)?.map(|item| item.map(|item| item.text().into_owned())).collect()
    }

    fn write(texts: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = ZiplistWriter::default();
        texts.iter().for_each(|text| writer.push(text));
        writer.finish()
    }

    #[test]
    fn every_encoding_is_read_as_it_was_written() {
        let numbers = [0, 1, 12, 13, -1, 127, 128, -129, 32_767, 32_768, -32_769, 8_388_607];
        let wide = [8_388_608, -8_388_609, 2_147_483_648, -2_147_483_649, i64::MIN, i64::MAX];
        let mut texts: Vec<Vec<u8>> =
            numbers.iter().chain(&wide).map(|number| number.to_string().into_bytes()).collect();
        texts.extend([0, 63, 64, 251, 252, 253, 16_383, 16_384].map(|length| vec![b'x'; length]));
        assert_eq!(read(&write(&texts)).unwrap(), texts);
        assert_eq!(read(&write(&[])).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_servers_ziplist_is_read_and_written_to_the_byte() {
        // RPUSH k a "" 1 -5 99999999999 on Redis 6.2.5: type 14, one node, then this.
        let bytes = b"\x1f\0\0\0\x14\0\0\0\x05\0\0\x01a\x03\0\x02\xf2\x02\xfe\xfb\x03\xe0\
                      \xff\xe7\x76\x48\x17\0\0\0\xff";
        let texts = ["a", "", "1", "-5", "99999999999"].map(|text| text.as_bytes().to_vec());
        assert_eq!(read(bytes).unwrap(), texts);
        assert_eq!(write(&texts), bytes);
    }

    #[test]
    fn damage_anywhere_is_an_error() {
        let good = write(&[b"abc".to_vec(), vec![b'y'; 300], b"z".to_vec()]);
        let last = good.len() - 1;
        for (at, value) in [(0, 9), (4, 11), (8, 2), (8, 4), (10, 1), (11, 4), (last, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(read(&bad).is_err(), "byte {at} as {value}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length}");
        }
    }
}
