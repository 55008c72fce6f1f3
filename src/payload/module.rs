//! Passes over what a module wrote: its words are typed, so that their end is found without it.
//!
//! Layout: `rdbLoadCheckModuleValue` in Redis's `rdb.c`. Values of before Redis 4.0's release have
//! no such types and cannot be passed over.

use std::fmt;

use super::kind::MODULE_PRE_GA;
use super::reader::{Input, Reader};
use super::{PayloadError, Result};

const END: u64 = 0;
const SIGNED: u64 = 1;
const UNSIGNED: u64 = 2;
const FLOAT: u64 = 3;
const DOUBLE: u64 = 4;
const STRING: u64 = 5;

/// The characters of a type's name, by their numbers.
const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The type of a module's value: nine characters of six bits, and ten bits for the version of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleType(u64);

impl fmt::Display for ModuleType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (1..=9).rev() {
            let number = self.0 >> (4 + 6 * place) & 63;
            let character = usize::try_from(number).ok().and_then(|at| CHARACTERS.get(at));
            write!(out, "{}", char::from(*character.unwrap_or(&b'?')))?;
        }
        Ok(())
    }
}

/// Reads up to the end of a module's value, from its module's id on.
pub(crate) fn skip<I: Input>(reader: &mut I) -> Result<(), I::Error> {
    reader.number()?;
    skip_words(reader)
}

/// Reads the id of a value that has no end that could be found.
pub(super) fn skip_pre_ga<I: Input>(reader: &mut I) -> Result<(), I::Error> {
    let of = ModuleType(reader.number()?);
    Err(PayloadError::OldModule(of).into())
}

/// Why a module's value cannot be decoded: the type byte, and what begins with the module's id.
pub(super) fn opaque(byte: u8, mut reader: Reader<'_>) -> PayloadError {
    match reader.number() {
        Ok(id) if byte == MODULE_PRE_GA => PayloadError::OldModule(ModuleType(id)),
        Ok(id) => PayloadError::Module(ModuleType(id)),
        Err(error) => error,
    }
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

    #[test]
    fn the_id_tells_the_types_name() {
        // As the servers name it that refuse these values.
        let of = |body: &[u8]| opaque(7, Reader::new(body)).to_string();
        let (json, hello) = (b"\x81E\xe2R8\xdf\x91,\x00", b"\x81\x85\xe9e\xa2\xdc\xa9x\x00");
        assert!(of(json).contains("'ReJSON-RL'"), "{}", of(json));
        assert!(of(hello).contains("'hellotype'"), "{}", of(hello));
    }
}
