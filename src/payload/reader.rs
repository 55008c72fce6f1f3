//! The primitives of the RDB format, read from the front: lengths, strings, fixed-width numbers.
//!
//! Layout: `rdbLoadLenByRef` and `rdbGenericLoadStringObject` in Redis's `rdb.c`.

use std::borrow::Cow;

use super::{PayloadError, Result, lzf};

/// The first two bits of a length byte: the length's own width, or a special string.
const WIDTH: u8 = 0xc0;
const SIX_BITS: u8 = 0x00;
const FOURTEEN_BITS: u8 = 0x40;
const WIDE: u8 = 0x80;
const THIRTY_TWO_BITS: u8 = 0x80;
const SIXTY_FOUR_BITS: u8 = 0x81;

/// What the other six bits say of a special string.
const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

/// Bytes that are passed over front to back, wherever they lie: in memory, or in a file of which
/// only a window is.
pub(crate) trait Input {
    /// What can go wrong.
    type Error: From<PayloadError>;

    /// The most bytes there can be left.
    fn left(&self) -> u64;

    /// Reads as many bytes as there is room for.
    fn fill(&mut self, room: &mut [u8], what: &'static str) -> Result<(), Self::Error>;

    /// Passes over so many bytes.
    fn pass(&mut self, count: u64, what: &'static str) -> Result<(), Self::Error>;

    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Self::Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn byte(&mut self, what: &'static str) -> Result<u8, Self::Error> {
        self.fixed::<1>(what).map(|[byte]| byte)
    }

    /// What the next length byte announces.
    fn length(&mut self) -> Result<Length, Self::Error> {
        let what = "a length";
        let first = self.byte(what)?;
        Ok(match first & WIDTH {
            SIX_BITS => Length::Bytes(u64::from(first)),
            FOURTEEN_BITS => {
                Length::Bytes(u64::from(u16::from_be_bytes([first & !WIDTH, self.byte(what)?])))
            }
            WIDE => Length::Bytes(match first {
                THIRTY_TWO_BITS => u64::from(u32::from_be_bytes(self.fixed(what)?)),
                SIXTY_FOUR_BITS => u64::from_be_bytes(self.fixed(what)?),
                _ => return Err(PayloadError::Malformed("a length of an unknown width").into()),
            }),
            _ => Length::Special(first & !WIDTH),
        })
    }

    /// A number in the encoding of lengths.
    fn number(&mut self) -> Result<u64, Self::Error> {
        match self.length()? {
            Length::Bytes(number) => Ok(number),
            Length::Special(_) => {
                Err(PayloadError::Malformed("a string where a number belongs").into())
            }
        }
    }

    /// How many elements follow. Each takes at least `least` bytes (1 or more): a count that
    /// cannot fit into what is left is refused here.
    fn elements(&mut self, least: usize) -> Result<u64, Self::Error> {
        let number = self.number()?;
        // A length in memory is never beyond 64 bits.
        if number > self.left() / least.max(1) as u64 {
            return Err(PayloadError::Truncated("its elements").into());
        }
        Ok(number)
    }

    /// The lengths of a compressed string: as it lies there, and unpacked.
    fn compressed_lengths(&mut self) -> Result<(usize, usize), Self::Error> {
        let packed = self.number()?;
        let length = self.number()?;
        if packed > self.left() {
            return Err(PayloadError::Truncated("a string").into());
        }
        let packed = usize::try_from(packed).map_err(|_| PayloadError::Truncated("a string"))?;
        Ok((packed, lzf::checked_length(packed, length)?))
    }

    /// A string that is kept as an integer.
    fn integer(&mut self, special: u8) -> Result<i64, Self::Error> {
        let what = "an integer";
        Ok(match special {
            INT8 => i64::from(i8::from_le_bytes(self.fixed(what)?)),
            INT16 => i64::from(i16::from_le_bytes(self.fixed(what)?)),
            INT32 => i64::from(i32::from_le_bytes(self.fixed(what)?)),
            _ => return Err(PayloadError::Malformed("a string of an unknown encoding").into()),
        })
    }

    /// Passes over a string; what is compressed is not unpacked.
    fn pass_string(&mut self) -> Result<(), Self::Error> {
        match self.length()? {
            Length::Bytes(length) => self.pass(length, "a string"),
            Length::Special(LZF) => {
                let (packed, _) = self.compressed_lengths()?;
                self.pass(packed as u64, "a string")
            }
            Length::Special(special) => self.integer(special).map(|_| ()),
        }
    }

    /// A string as its bytes, at most so many.
    fn owned_string(&mut self, most: usize) -> Result<Vec<u8>, Self::Error> {
        let long = PayloadError::TooLarge("a string longer than any server takes");
        match self.length()? {
            Length::Bytes(length) if length > most as u64 => Err(long.into()),
            Length::Bytes(length) => self.owned(length),
            Length::Special(LZF) => {
                let (packed, length) = self.compressed_lengths()?;
                if length > most {
                    return Err(long.into());
                }
                let packed = self.owned(packed as u64)?;
                Ok(lzf::decompress(&packed, length)?)
            }
            Length::Special(special) => Ok(self.integer(special)?.to_string().into_bytes()),
        }
    }

    /// So many bytes: memory is taken for them in steps, as they really come.
    fn owned(&mut self, count: u64) -> Result<Vec<u8>, Self::Error> {
        let what = "a string";
        if count > self.left() {
            return Err(PayloadError::Truncated(what).into());
        }
        let count = usize::try_from(count).map_err(|_| PayloadError::Truncated(what))?;
        let mut bytes = Vec::new();
        while bytes.len() < count {
            let had = bytes.len();
            bytes.resize(count.min(had + had.max(STEP)), 0);
            self.fill(bytes.get_mut(had..).unwrap_or_default(), what)?;
        }
        Ok(bytes)
    }
}

/// The first step in which memory is taken for a string, in bytes.
const STEP: usize = 64 << 10;

/// What a length byte announces.
pub(crate) enum Length {
    /// A length or a number.
    Bytes(u64),
    /// A string of a special encoding.
    Special(u8),
}

/// Bytes in memory that are read front to back.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl Input for Reader<'_> {
    type Error = PayloadError;

    fn left(&self) -> u64 {
        // A length in memory is never beyond 64 bits.
        self.left.len() as u64
    }

    fn fill(&mut self, room: &mut [u8], what: &'static str) -> Result<()> {
        let taken = self.take(room.len(), what)?;
        room.copy_from_slice(taken);
        Ok(())
    }

    fn pass(&mut self, count: u64, what: &'static str) -> Result<()> {
        self.bytes(count, what).map(|_| ())
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.left.len()
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8]> {
        let (taken, left) =
            self.left.split_at_checked(count).ok_or(PayloadError::Truncated(what))?;
        self.left = left;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (taken, left) = self.left.split_first_chunk().ok_or(PayloadError::Truncated(what))?;
        self.left = left;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8> {
        Input::byte(self, what)
    }

    /// A point in time: milliseconds since 1970.
    pub(crate) fn milliseconds(&mut self) -> Result<i64> {
        self.array("a time").map(i64::from_le_bytes)
    }

    pub(crate) fn double(&mut self) -> Result<f64> {
        self.array("a score").map(f64::from_le_bytes)
    }

    /// A number in the encoding of lengths.
    pub(crate) fn number(&mut self) -> Result<u64> {
        Input::number(self)
    }

    /// How many elements follow. Each takes at least `least` bytes (1 or more): a count that
    /// cannot fit into what is left is refused here, so that memory may be taken by it.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.elements(least)?;
        usize::try_from(count).map_err(|_| PayloadError::Truncated("its elements"))
    }

    /// A string as its bytes: borrowed where they lie there as they are.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>> {
        match self.length()? {
            Length::Bytes(length) => self.bytes(length, "a string").map(Cow::Borrowed),
            Length::Special(LZF) => {
                let (packed, length) = self.compressed_lengths()?;
                lzf::decompress(self.take(packed, "a string")?, length).map(Cow::Owned)
            }
            Length::Special(special) => {
                let number = self.integer(special)?;
                Ok(Cow::Owned(number.to_string().into_bytes()))
            }
        }
    }

    fn bytes(&mut self, length: u64, what: &'static str) -> Result<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| PayloadError::Truncated(what))?;
        self.take(length, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut skipping = Reader::new(bytes);
        let mut reader = Reader::new(bytes);
        let string = reader.string()?;
        skipping.pass_string().unwrap();
        assert_eq!(skipping.left(), reader.left(), "skipping ends elsewhere");
        assert_eq!(reader.left(), 0);
        Ok(string.into_owned())
    }

    #[test]
    fn lengths_of_every_width() {
        let cases: [(&[u8], u64); 8] = [
            (b"\x00", 0),
            (b"\x3f", 63),
            (b"\x40\x40", 64),
            (b"\x7f\xff", 16_383),
            (b"\x80\x00\x00\x40\x00", 16_384),
            (b"\x80\xff\xff\xff\xff", u64::from(u32::MAX)),
            (b"\x81\x00\x00\x00\x01\x00\x00\x00\x00", u64::from(u32::MAX) + 1),
            (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
        ];
        for (bytes, number) in cases {
            assert_eq!(Reader::new(bytes).number(), Ok(number));
            let cut = Reader::new(&bytes[..bytes.len() - 1]).number();
            assert_eq!(cut, Err(PayloadError::Truncated("a length")));
        }
        assert!(Reader::new(b"\x82\0\0\0\0\0\0\0\0").number().is_err());
        assert!(Reader::new(b"\xc0\x01").number().is_err());
    }

    #[test]
    fn strings_of_every_encoding() {
        assert_eq!(string(b"\x03abc").unwrap(), b"abc");
        assert_eq!(string(b"\x00").unwrap(), b"");
        assert_eq!(string(b"\xc0\x80").unwrap(), b"-128");
        assert_eq!(string(b"\xc1\xff\x7f").unwrap(), b"32767");
        assert_eq!(string(b"\xc2\x00\x00\x00\x80").unwrap(), b"-2147483648");
        // DUMP of 90 times "a": one literal, then a reference that overlaps itself.
        assert_eq!(string(b"\xc3\x09\x40\x5a\x01aa\xe0\x4d\x00\x01aa").unwrap(), [b'a'; 90]);
        for bad in [&b"\xc4\x01"[..], b"\x05abc", b"\xc2\x00\x00", b"\xc3\x02", b""] {
            assert!(Reader::new(bad).string().is_err(), "{}", bad.escape_ascii());
            assert!(Reader::new(bad).pass_string().is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn counts_that_cannot_be_are_refused_before_memory_is_taken() {
        assert_eq!(Reader::new(b"\x02abcd").count(2), Ok(2));
        assert!(Reader::new(b"\x03abcd").count(2).is_err());
        assert!(Reader::new(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff").count(1).is_err());
        assert!(Reader::new(b"\x00").count(0).is_ok());
    }
}
