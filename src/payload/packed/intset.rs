//! Intset: `u32 width (2, 4, 8) | u32 count | integers in order`, little endian.

use crate::payload::reader::Reader;
use crate::payload::{PayloadError, Result};

/// The members of an intset, least first.
#[derive(Clone, Debug)]
pub(crate) struct Intset<'a> {
    reader: Reader<'a>,
    width: u32,
    previous: Option<i64>,
}

impl<'a> Intset<'a> {
    /// # Errors
    /// Its header is not that of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let width = reader.array("an intset's header").map(u32::from_le_bytes)?;
        let count = reader.array("an intset's header").map(u32::from_le_bytes)?;
        let wanted = u64::from(width) * u64::from(count);
        if !matches!(width, 2 | 4 | 8) || u64::try_from(reader.left()) != Ok(wanted) {
            return Err(PayloadError::Malformed("an intset whose header is not its own"));
        }
        Ok(Self { reader, width, previous: None })
    }

    fn member(&mut self) -> Result<i64> {
        let what = "an intset";
        let number = match self.width {
            2 => i64::from(i16::from_le_bytes(self.reader.array(what)?)),
            4 => i64::from(i32::from_le_bytes(self.reader.array(what)?)),
            _ => i64::from_le_bytes(self.reader.array(what)?),
        };
        if self.previous.is_some_and(|previous| previous >= number) {
            return Err(PayloadError::Malformed("an intset out of order"));
        }
        self.previous = Some(number);
        Ok(number)
    }
}

impl Iterator for Intset<'_> {
    type Item = Result<i64>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.reader.left() > 0).then(|| self.member())
    }
}

/// An intset of these numbers, which are in order and different.
pub(crate) fn write(numbers: &[i64]) -> Vec<u8> {
    let fits = |least: i64, most: i64| numbers.iter().all(|n| (least..=most).contains(n));
    let width: u32 = if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let mut bytes = [width.to_le_bytes(), count.to_le_bytes()].concat();
    for number in numbers {
        // The width fits into memory, and the number into the width.
        bytes.extend(number.to_le_bytes().iter().take(width as usize));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_is_read_as_it_was_written() {
        for numbers in [
            &[-300, 1, 2, 32_767][..],
            &[-70_000, 1, 70_000],
            &[i64::MIN, -1, 5_000_000_000, i64::MAX],
            &[],
        ] {
            let bytes = write(numbers);
            let read: Result<Vec<i64>> = Intset::new(&bytes).unwrap().collect();
            assert_eq!(read.unwrap(), numbers);
        }
        // The set {1, 2, -300} as servers keep it.
        assert_eq!(write(&[-300, 1, 2]), b"\x02\0\0\0\x03\0\0\0\xd4\xfe\x01\0\x02\0");
    }

    #[test]
    fn damage_is_an_error() {
        for bad in [
            &b"\x03\0\0\0\x01\0\0\0\x01\0\0"[..],
            b"\x02\0\0\0\x02\0\0\0\x01\0",
            b"\x02\0\0\0\x01\0\0\0\x01\0\x02\0",
            b"\x02\0\0\0",
            b"\x08\0\0\0\xff\xff\xff\xff",
        ] {
            assert!(Intset::new(bad).is_err(), "{}", bad.escape_ascii());
        }
        let unordered = b"\x02\0\0\0\x02\0\0\0\x02\0\x02\0";
        assert!(Intset::new(unordered).unwrap().any(|number| number.is_err()));
    }
}
