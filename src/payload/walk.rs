//! Finds where a value ends, without building it: small values are one string to pass over, large
//! ones as many as they have elements. Nothing is unpacked.

use super::kind::{self, Family, Kind, Type};
use super::reader::{Input, Reader};
use super::{PayloadError, Result, footer, module, stream};

/// Checks that a payload's value ends exactly where its footer begins. The checksum is not looked
/// at; see [`footer::check`].
///
/// # Errors
/// The type is not known, or the value breaks off, or something follows it. A server would take
/// the latter without a word.
pub fn walk(payload: &[u8]) -> Result<Kind> {
    let (body, footer) = footer::split(payload)?;
    let end = walk_body(body, footer.version)?;
    match body.len() - end {
        0 => Kind::of(payload),
        rest => Err(PayloadError::Trailing(rest)),
    }
}

/// Where the value that begins `bytes` with its type byte ends: an offset into `bytes`. `version` is
/// the RDB version of the one who wrote it, which tells the family that the type byte belongs to.
///
/// # Errors
/// The type is not known, or the value breaks off.
pub fn walk_body(bytes: &[u8], version: u16) -> Result<usize> {
    let mut reader = Reader::new(bytes);
    let byte = reader.byte("its type")?;
    skip_value(&mut reader, byte, version)?;
    Ok(bytes.len() - reader.left())
}

/// Passes over the value of a type byte that was read already. Of what lies elsewhere than in memory
/// only a few bytes are needed at a time.
///
/// # Errors
/// As [`walk_body`], and what can go wrong with the input.
pub(crate) fn skip_value<I: Input>(
    reader: &mut I,
    byte: u8,
    version: u16,
) -> Result<Kind, I::Error> {
    let of = Type::of(byte, version)?;
    skip(reader, of)?;
    Ok(of.kind)
}

fn skip<I: Input>(reader: &mut I, of: Type) -> Result<(), I::Error> {
    match (of.family, of.byte) {
        (None, kind::LIST | kind::SET | kind::LIST_QUICKLIST) => each(reader, 1, I::pass_string),
        (None, kind::HASH) => each(reader, 2, |reader| {
            reader.pass_string()?;
            reader.pass_string()
        }),
        (None, kind::ZSET) => each(reader, 2, |reader| {
            reader.pass_string()?;
            super::visit::text_score(reader).map(|_| ())
        }),
        (None, kind::ZSET_2) => each(reader, 9, |reader| {
            reader.pass_string()?;
            reader.pass(8, "a score")
        }),
        (None, kind::LIST_QUICKLIST_2) => each(reader, 2, |reader| {
            reader.number()?;
            reader.pass_string()
        }),
        (None, kind::MODULE_2) => module::skip(reader),
        (None, kind::MODULE_PRE_GA) => module::skip_pre_ga(reader),
        (_, kind::STREAM | kind::STREAM_2 | kind::STREAM_3 | kind::REDIS_STREAM_4) => {
            stream::skip(reader, of.byte)
        }
        (Some(Family::Valkey), kind::VALKEY_HASH_2) => each(reader, 10, |reader| {
            reader.pass_string()?;
            reader.pass_string()?;
            reader.pass(8, "a time")
        }),
        (Some(Family::Redis), kind::REDIS_HASH_METADATA_PRE_GA) => expiring_fields(reader),
        (Some(Family::Redis), kind::REDIS_HASH_METADATA) => {
            reader.pass(8, "a time")?;
            expiring_fields(reader)
        }
        (Some(Family::Redis), kind::REDIS_HASH_LISTPACK_EX) => {
            reader.pass(8, "a time")?;
            reader.pass_string()
        }
        // What is left is one string: a plain one, or a container in one block.
        _ => reader.pass_string(),
    }
}

fn expiring_fields<I: Input>(reader: &mut I) -> Result<(), I::Error> {
    each(reader, 3, |reader| {
        reader.number()?;
        reader.pass_string()?;
        reader.pass_string()
    })
}

/// Reads a count and as many elements, each of at least that many bytes.
fn each<I: Input>(
    reader: &mut I,
    least: usize,
    mut element: impl FnMut(&mut I) -> Result<(), I::Error>,
) -> Result<(), I::Error> {
    for _ in 0..reader.elements(least)? {
        element(reader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_with_anything_behind_it() {
        let cases: [(&[u8], u16); 9] = [
            (b"\x00\x03abc", 6),
            (b"\x01\x02\x01a\xc0\x07", 6),
            (b"\x03\x02\x01a\x033.5\x01b\xfe", 6),
            (b"\x04\x01\x01f\x01v", 6),
            (b"\x05\x01\x01a\0\0\0\0\0\0\xf0\x3f", 8),
            (b"\x12\x01\x01\x03abc", 10),
            (b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff", 80),
            (b"\x18\0\0\0\0\0\0\0\0\x01\x00\x01f\x01v", 12),
            (b"\x07\x05\x05\x01x\x00", 9),
        ];
        for (body, version) in cases {
            let longer = [body, b"\x00\x01"].concat();
            assert_eq!(walk_body(&longer, version), Ok(body.len()), "{}", body.escape_ascii());
            for length in 0..body.len() {
                assert!(walk_body(&body[..length], version).is_err(), "cut to {length}");
            }
            let payload = footer::seal(longer, version);
            assert_eq!(walk(&payload), Err(PayloadError::Trailing(2)));
            assert!(walk(&footer::seal(body.to_vec(), version)).is_ok());
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (byte, version) in [(8, 9), (22, 11), (23, 80), (27, 14), (0xf3, 13), (6, 8)] {
            assert!(walk_body(&[byte, 0, 0, 0, 0], version).is_err(), "{byte}");
        }
    }
}
