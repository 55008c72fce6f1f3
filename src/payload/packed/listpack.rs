//! Listpack: `u32 bytes | u16 count | entry … | 0xff`, little endian; a count of 65535 says nothing.
//!
//! An entry is an encoding byte, its data, and its own length in 7-bit groups to be read from behind.

use super::Item;
use crate::payload::reader::Reader;
use crate::payload::{PayloadError, Result};

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
/// A count that did not fit.
const UNKNOWN_COUNT: u16 = u16::MAX;

/// The elements of a listpack.
#[derive(Clone, Debug)]
pub(crate) struct Listpack<'a> {
    reader: Reader<'a>,
    /// How many elements the header promises beyond those read, if it tells.
    promised: Option<u16>,
    ended: bool,
}

impl<'a> Listpack<'a> {
    /// # Errors
    /// The header is not that of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let wrong = PayloadError::Malformed("a listpack whose header is not its own");
        let mut reader = Reader::new(bytes);
        let total = reader.array("a listpack's header").map(u32::from_le_bytes)?;
        let count = reader.array("a listpack's header").map(u16::from_le_bytes)?;
        if usize::try_from(total) != Ok(bytes.len()) || bytes.last() != Some(&END) {
            return Err(wrong);
        }
        let promised = (count != UNKNOWN_COUNT).then_some(count);
        Ok(Self { reader, promised, ended: false })
    }

    fn entry(&mut self) -> Result<Option<Item<'a>>> {
        let before = self.reader.left();
        let first = self.reader.byte("a listpack")?;
        if first == END {
            return match (self.reader.left(), self.promised.unwrap_or(0)) {
                (0, 0) => Ok(None),
                _ => Err(PayloadError::Malformed("a listpack that ends before its end")),
            };
        }
        let item = self.item(first)?;
        let length = before - self.reader.left();
        if self.reader.take(back_length(length).len(), "a listpack")?
            != back_length(length).as_ref()
        {
            return Err(PayloadError::Malformed("a listpack that reads otherwise from behind"));
        }
        if let Some(promised) = &mut self.promised {
            *promised = promised
                .checked_sub(1)
                .ok_or(PayloadError::Malformed("a listpack of more elements than it says"))?;
        }
        Ok(Some(item))
    }

    fn item(&mut self, first: u8) -> Result<Item<'a>> {
        let what = "a listpack's element";
        let low = usize::from(first);
        Ok(match first {
            0x00..=0x7f => Item::Integer(i64::from(first)),
            0x80..=0xbf => Item::Bytes(self.reader.take(low & 0x3f, what)?),
            0xc0..=0xdf => {
                let number = u16::from_be_bytes([first & 0x1f, self.reader.byte(what)?]);
                // 13 bits with a sign: shifted up to the sign of 16, and back.
                Item::Integer(i64::from((number << 3).cast_signed() >> 3))
            }
            0xe0..=0xef => {
                let length = (low & 0x0f) << 8 | usize::from(self.reader.byte(what)?);
                Item::Bytes(self.reader.take(length, what)?)
            }
            0xf0 => {
                let length = u32::from_le_bytes(self.reader.array(what)?);
                // A length beyond memory is beyond what is left, too.
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Item::Bytes(self.reader.take(length, what)?)
            }
            0xf1 => Item::Integer(i64::from(i16::from_le_bytes(self.reader.array(what)?))),
            0xf2 => {
                let [a, b, c] = self.reader.array(what)?;
                Item::Integer(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
            }
            0xf3 => Item::Integer(i64::from(i32::from_le_bytes(self.reader.array(what)?))),
            0xf4 => Item::Integer(i64::from_le_bytes(self.reader.array(what)?)),
            _ => return Err(PayloadError::Malformed("a listpack's element of unknown encoding")),
        })
    }
}

impl<'a> Iterator for Listpack<'a> {
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

/// An entry's length as it stands behind it: one to five bytes, the last of which comes first.
#[derive(Clone, Copy)]
struct BackLength {
    bytes: [u8; 5],
    used: usize,
}

impl BackLength {
    fn len(&self) -> usize {
        self.used
    }
}

impl AsRef<[u8]> for BackLength {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// The borders are the servers' own, which leave one length below each of them unused.
fn back_length(length: usize) -> BackLength {
    let used = match length {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let mut bytes = [0; 5];
    for (index, byte) in bytes.iter_mut().take(used).enumerate() {
        let group = length >> (7 * (used - 1 - index));
        let more = if index == 0 { 0 } else { 0x80 };
        // Seven bits are below 256.
        *byte = (group & 0x7f) as u8 | more;
    }
    BackLength { bytes, used }
}

/// Lays elements into a listpack.
#[derive(Debug)]
pub(crate) struct ListpackWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for ListpackWriter {
    fn default() -> Self {
        Self { bytes: vec![0; HEADER_BYTES], count: 0 }
    }
}

impl ListpackWriter {
    /// How many bytes it has, without its end.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a string, as a number if it is one.
    pub(crate) fn push(&mut self, text: &[u8]) {
        match Item::of(text) {
            Item::Bytes(bytes) => self.push_bytes(bytes),
            Item::Integer(number) => self.push_integer(number),
        }
    }

    /// Appends a number.
    pub(crate) fn push_integer(&mut self, number: i64) {
        let start = self.bytes.len();
        let [a, b, c, d, ..] = number.to_le_bytes();
        match number {
            0..=127 => self.bytes.push(a),
            -4096..=4095 => self.bytes.extend_from_slice(&[0xc0 | (b & 0x1f), a]),
            -0x8000..=0x7fff => self.bytes.extend_from_slice(&[0xf1, a, b]),
            -0x80_0000..=0x7f_ffff => self.bytes.extend_from_slice(&[0xf2, a, b, c]),
            -0x8000_0000..=0x7fff_ffff => self.bytes.extend_from_slice(&[0xf3, a, b, c, d]),
            _ => {
                self.bytes.push(0xf4);
                self.bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        self.close(start);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let start = self.bytes.len();
        let [a, b, c, d, ..] = bytes.len().to_le_bytes();
        match bytes.len() {
            0..64 => self.bytes.push(0x80 | a),
            64..4096 => self.bytes.extend_from_slice(&[0xe0 | b, a]),
            _ => self.bytes.extend_from_slice(&[0xf0, a, b, c, d]),
        }
        self.bytes.extend_from_slice(bytes);
        self.close(start);
    }

    fn close(&mut self, start: usize) {
        let length = back_length(self.bytes.len() - start);
        self.bytes.extend_from_slice(length.as_ref());
        self.count += 1;
    }

    /// The finished listpack. Callers keep it far below the 4 GiB that its header can tell.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let count = u16::try_from(self.count).unwrap_or(UNKNOWN_COUNT);
        let header = total.to_le_bytes().into_iter().chain(count.to_le_bytes());
        self.bytes.iter_mut().zip(header).for_each(|(byte, value)| *byte = value);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Listpack::new(bytes)?.map(|item| item.map(|item| item.text().into_owned())).collect()
    }

    #[test]
    fn every_encoding_is_read_as_it_was_written() {
        let numbers = [0, 127, 128, -1, 4095, 4096, -4096, -4097, 32_767, 32_768, -32_769];
        let wide = [8_388_607, 8_388_608, -8_388_609, 2_147_483_648, -2_147_483_649];
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for number in numbers.into_iter().chain(wide).chain([i64::MIN, i64::MAX]) {
            texts.push(number.to_string().into_bytes());
        }
        for length in [0, 63, 64, 125, 126, 4095, 4096, 16_379, 16_380, 70_000] {
            texts.push(vec![b'x'; length]);
        }
        let mut writer = ListpackWriter::default();
        texts.iter().for_each(|text| writer.push(text));
        assert_eq!(read(&writer.finish()).unwrap(), texts);
    }

    #[test]
    fn a_servers_listpack_is_read_and_written_to_the_byte() {
        // The set {"x", "", "300"} of Redis 7.2 and later: type 20, then this.
        let bytes = b"\x0f\0\0\0\x03\0\x81x\x02\x80\x01\xc1\x2c\x02\xff";
        assert_eq!(read(bytes).unwrap(), [&b"x"[..], b"", b"300"]);
        let mut writer = ListpackWriter::default();
        [&b"x"[..], b"", b"300"].iter().for_each(|text| writer.push(text));
        assert_eq!(&writer.finish(), bytes);
    }

    #[test]
    fn a_count_that_does_not_fit_says_nothing() {
        let mut writer = ListpackWriter::default();
        (0..70_000).for_each(|number| writer.push_integer(number));
        let bytes = writer.finish();
        assert_eq!(&bytes[4..6], [0xff, 0xff]);
        assert_eq!(read(&bytes).unwrap().len(), 70_000);
    }

    #[test]
    fn damage_anywhere_is_an_error() {
        let mut writer = ListpackWriter::default();
        writer.push(b"abc");
        writer.push(&[b'y'; 200]);
        let good = writer.finish();
        let last = good.len() - 1;
        for (at, value) in [(0, 9), (4, 1), (4, 3), (6, 0x84), (10, 3), (last, 0), (last - 1, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(read(&bad).is_err(), "byte {at} as {value}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length}");
        }
    }
}
