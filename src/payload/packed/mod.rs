//! Containers that lie in one block of memory, in which servers keep small values.
//!
//! Layouts: `listpack.c`, `ziplist.c`, `intset.c`, `zipmap.c` of Redis. A block is read front to
//! back; what only a walk back to front would use is checked too, since a server walks both ways.

mod intset;
mod listpack;
mod ziplist;
mod zipmap;

pub(crate) use intset::{Intset, write as write_intset};
pub(crate) use listpack::{Listpack, ListpackWriter};
pub(crate) use ziplist::{Ziplist, ZiplistWriter};
pub(crate) use zipmap::Zipmap;

use std::borrow::Cow;

use super::{PayloadError, Result};

/// An element of a block. Servers write text that is a number as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Bytes(&'a [u8]),
    Integer(i64),
}

impl<'a> Item<'a> {
    /// The bytes that a client sees.
    pub(crate) fn text(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
        }
    }

    /// The number it is, where a number must be.
    pub(crate) fn number(self) -> Result<i64> {
        match self {
            Self::Integer(number) => Ok(number),
            Self::Bytes(bytes) => {
                integer(bytes).ok_or(PayloadError::Malformed("text where a number belongs"))
            }
        }
    }

    /// How a writer keeps a string: as the number that it is exactly, or as its bytes.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        integer(bytes).map_or(Self::Bytes(bytes), Self::Integer)
    }
}

/// The longest text of a 64-bit integer, with its sign.
const LONGEST_INTEGER: usize = 20;

/// The number whose only text this is: no leading zero, no plus, no blank.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    if text.len() > LONGEST_INTEGER {
        return None;
    }
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let mut buffer = itoa::Buffer::new();
    (buffer.format(number).as_bytes() == text).then_some(number)
}

/// The next element of a block that must have one.
pub(crate) fn expect<'a>(items: &mut impl Iterator<Item = Result<Item<'a>>>) -> Result<Item<'a>> {
    items.next().unwrap_or(Err(PayloadError::Malformed("a block that lacks an element")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_of_a_number_is_one() {
        for text in ["0", "-1", "7", "9223372036854775807", "-9223372036854775808"] {
            let item = Item::of(text.as_bytes());
            assert!(matches!(item, Item::Integer(_)), "{text}");
            assert_eq!(item.text(), text.as_bytes());
        }
        for text in
            ["", "-", "-0", "+1", "007", " 1", "1 ", "9223372036854775808", "1.0", "\u{661}"]
        {
            assert_eq!(Item::of(text.as_bytes()), Item::Bytes(text.as_bytes()), "{text}");
        }
    }
}
