//! Unpacks LZF (LibLZF by Marc Lehmann), by which servers compress strings of more than 20 bytes.
//!
//! A control byte below 32 announces that many literal bytes and one more. Any other one holds, in
//! its upper three bits, a length (7: add the next byte), plus 2, and in its lower five the upper
//! part of a distance whose lower part is the next byte, plus 1: that many bytes are repeated from
//! so far back, and may overlap what they make.

use super::reader::Reader;
use super::{PayloadError, Result};

/// The longest string that is unpacked: the servers' own bound of a value (`proto-max-bulk-len`).
pub const LONGEST_STRING: usize = 512 * 1024 * 1024;

/// The most that one compressed byte can become: three bytes repeat 264.
const MOST_FOR_A_BYTE: usize = 88;

/// Control bytes below this announce literal bytes.
const LITERALS: usize = 32;

/// Lengths below this are written into the control byte.
const LONG: usize = 7;

/// The declared length of a string, held against what its compressed form can become at most, so
/// that memory may be taken by it.
///
/// # Errors
/// It is longer than can be, or than [`LONGEST_STRING`].
pub(super) fn checked_length(packed: usize, declared: u64) -> Result<usize> {
    let length = usize::try_from(declared).unwrap_or(usize::MAX);
    if length > packed.saturating_mul(MOST_FOR_A_BYTE) {
        return Err(PayloadError::Malformed("a compressed string of an impossible length"));
    }
    if length > LONGEST_STRING {
        return Err(PayloadError::TooLarge("a compressed string of more than 512 MiB"));
    }
    Ok(length)
}

/// Unpacks a string of exactly `length` bytes, which [`checked_length`] has let through.
///
/// # Errors
/// The bytes are no LZF, or of another length.
pub(super) fn decompress(packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let what = "a compressed string";
    let mut out = Vec::with_capacity(length);
    let mut input = Reader::new(packed);
    while input.left() > 0 && out.len() <= length {
        let control = usize::from(input.byte(what)?);
        if control < LITERALS {
            out.extend_from_slice(input.take(control + 1, what)?);
        } else {
            let mut count = control >> 5;
            if count == LONG {
                count += usize::from(input.byte(what)?);
            }
            let distance = ((control & 0x1f) << 8) + usize::from(input.byte(what)?) + 1;
            repeat(&mut out, distance, count + 2)?;
        }
    }
    if out.len() == length {
        Ok(out)
    } else {
        Err(PayloadError::Malformed("LZF of another length than declared"))
    }
}

/// Appends `count` bytes from `distance` bytes back, some of which may not be there yet.
fn repeat(out: &mut Vec<u8>, distance: usize, count: usize) -> Result<()> {
    let from = out
        .len()
        .checked_sub(distance)
        .ok_or(PayloadError::Malformed("LZF that points before its beginning"))?;
    let mut left = count;
    while left > 0 {
        // What is there grows with each round, so that a run of one byte takes few of them.
        let there = (out.len() - from).min(left);
        out.extend_from_within(from..from + there);
        left -= there;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_overlapping_repetitions() {
        assert_eq!(decompress(b"\x02abc\x20\x02", 6).unwrap(), b"abcabc");
        assert_eq!(decompress(b"\x00a\xe0\x10\x00", 26).unwrap(), [b'a'; 26]);
        assert_eq!(decompress(b"\x01ab\x60\x01", 7).unwrap(), b"abababa");
        assert_eq!(decompress(b"", 0).unwrap(), b"");
    }

    #[test]
    fn damage_is_an_error() {
        for (bad, length) in [
            (&b"\x02ab"[..], 3),
            (b"\x00a\xe0", 26),
            (b"\x00a\xe0\x10", 26),
            (b"\x00a\x20", 4),
            (b"\x00a\x20\x01", 4),
            (b"\x20\x00", 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x00a\xe0\xff\x00", 5),
        ] {
            assert!(decompress(bad, length).is_err(), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_declared_length_takes_no_memory_that_the_bytes_do_not_cover() {
        assert_eq!(checked_length(3, 264), Ok(264));
        assert!(checked_length(3, 265).is_err());
        assert!(checked_length(3, u64::MAX).is_err());
        let most = LONGEST_STRING as u64;
        assert_eq!(checked_length(LONGEST_STRING, most), Ok(LONGEST_STRING));
        assert!(matches!(checked_length(LONGEST_STRING, most + 1), Err(PayloadError::TooLarge(_))));
    }
}
