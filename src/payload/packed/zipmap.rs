//! Zipmap, in which servers up to 2.4 kept small hashes: `u8 count | (length field length gap value
//! gap bytes) … | 0xff`. Newer servers still take it.

use crate::payload::reader::Reader;
use crate::payload::{PayloadError, Result};

const END: u8 = 0xff;
/// A length of four more bytes.
const WIDE_LENGTH: u8 = 254;
/// A count that did not fit.
const UNKNOWN_COUNT: u8 = 254;

/// The fields and values of a zipmap.
#[derive(Clone, Debug)]
pub(crate) struct Zipmap<'a> {
    reader: Reader<'a>,
    promised: Option<u8>,
    ended: bool,
}

impl<'a> Zipmap<'a> {
    /// # Errors
    /// There are no bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.byte("a zipmap")?;
        Ok(Self { reader, promised: (count < UNKNOWN_COUNT).then_some(count), ended: false })
    }

    fn pair(&mut self) -> Result<Option<(&'a [u8], &'a [u8])>> {
        let what = "a zipmap";
        let first = self.reader.byte(what)?;
        if first == END {
            return match (self.reader.left(), self.promised.unwrap_or(0)) {
                (0, 0) => Ok(None),
                _ => Err(PayloadError::Malformed("a zipmap that ends before its end")),
            };
        }
        let length = self.length(first)?;
        let field = self.reader.take(length, what)?;
        let first = self.reader.byte(what)?;
        let length = self.length(first)?;
        let gap = self.reader.byte(what)?;
        let value = self.reader.take(length, what)?;
        self.reader.take(usize::from(gap), what)?;
        if let Some(promised) = &mut self.promised {
            *promised = promised
                .checked_sub(1)
                .ok_or(PayloadError::Malformed("a zipmap of more fields than it says"))?;
        }
        Ok(Some((field, value)))
    }

    fn length(&mut self, first: u8) -> Result<usize> {
        match first {
            END => Err(PayloadError::Malformed("a zipmap that ends inside a field")),
            WIDE_LENGTH => {
                let length = u32::from_le_bytes(self.reader.array("a zipmap")?);
                // A length beyond memory is beyond what is left, too.
                Ok(usize::try_from(length).unwrap_or(usize::MAX))
            }
            short => Ok(usize::from(short)),
        }
    }
}

impl<'a> Iterator for Zipmap<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let pair = self.pair();
        self.ended = !matches!(pair, Ok(Some(_)));
        pair.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
        Zipmap::new(bytes)?.collect()
    }

    #[test]
    fn pairs_with_gaps_are_read() {
        // The example in `zipmap.c`: "foo" => "bar", "hello" => "world".
        let bytes = b"\x02\x03foo\x03\0bar\x05hello\x05\0world\xff";
        assert_eq!(read(bytes).unwrap(), [(&b"foo"[..], &b"bar"[..]), (b"hello", b"world")]);
        let gap = b"\x01\x01f\xfe\x01\0\0\0\x02v..\xff";
        assert_eq!(read(gap).unwrap(), [(&b"f"[..], &b"v"[..])]);
        assert_eq!(read(b"\0\xff").unwrap(), []);
        assert_eq!(read(b"\xfe\x01f\x01\0v\xff").unwrap().len(), 1);
    }

    #[test]
    fn damage_is_an_error() {
        for bad in [
            &b""[..],
            b"\0",
            b"\x02\x01f\x01\0v\xff",
            b"\0\x01f\x01\0v\xff",
            b"\x01\x01f\xff",
            b"\x01\x01f\x01\x05v\xff",
            b"\x01\x01f\x01\0v\xff\0",
            b"\x01\xfe\xff\xff\xff\xff",
        ] {
            assert!(read(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
