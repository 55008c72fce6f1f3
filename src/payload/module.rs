//! Passes over what a module wrote: its words are typed, so that their end is found without it.
//!
//! Layout: `rdbLoadCheckModuleValue` in Redis's `rdb.c`. Values of before Redis 4.0's release have
//! no such types and cannot be passed over.

use super::reader::Input;
use super::{PayloadError, Result};

const END: u64 = 0;
const SIGNED: u64 = 1;
const UNSIGNED: u64 = 2;
const FLOAT: u64 = 3;
const DOUBLE: u64 = 4;
const STRING: u64 = 5;

/// Reads up to the end of a module's value, from its module's id on.
pub(crate) fn skip<I: Input>(reader: &mut I) -> Result<(), I::Error> {
    // Nine characters of six bits for the name, ten bits for the version of its encoding.
    reader.number()?;
    skip_words(reader)
}

/// Reads words up to the one that says that they end.
pub(crate) fn skip_words<I: Input>(reader: &mut I) -> Result<(), I::Error> {
    loop {
        match reader.number()? {
            END => return Ok(()),
            SIGNED | UNSIGNED => {
                reader.number()?;
            }
            FLOAT => reader.pass(4, "a module's number")?,
            DOUBLE => reader.pass(8, "a module's number")?,
            STRING => reader.pass_string()?,
            _ => return Err(PayloadError::Malformed("a module's word of unknown type").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;

    #[test]
    fn every_type_of_word_is_passed_over() {
        let id = b"\x81\x11\x22\x33\x44\x55\x66\x77\x88";
        let words = b"\x01\x05\x02\x40\x80\x03abcd\x04abcdefgh\x05\x03str\x05\xc0\x07\x00";
        let bytes = [&id[..], words, b"rest"].concat();
        let mut reader = Reader::new(&bytes);
        skip(&mut reader).unwrap();
        assert_eq!(Reader::left(&reader), 4);
        for length in 0..id.len() + words.len() {
            assert!(skip(&mut Reader::new(&bytes[..length])).is_err(), "cut to {length}");
        }
        assert!(skip(&mut Reader::new(b"\x01\x06")).is_err());
    }
}
