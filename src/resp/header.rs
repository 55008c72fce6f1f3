//! The line in front of every node: one type byte, then a number or a text, then CR LF.
//!
//! A hand loop: headers are a few bytes long and come by the million. An unfinished number is read
//! again when more has come (at most [`MAX_DIGITS`] bytes); a text is never scanned twice, its
//! search goes on where it ended.

use super::ProtocolError;

/// `-9223372036854775808` has 19 digits.
const MAX_DIGITS: usize = 19;

/// The number that starts at `from`, and the offset behind its line end; `None`: more is needed.
pub(super) fn number(buffer: &[u8], from: usize) -> Result<Option<(i64, usize)>, ProtocolError> {
    let rest = buffer.get(from..).unwrap_or_default();
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut magnitude: u64 = 0;
    for (place, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 && place < MAX_DIGITS {
            magnitude = magnitude * 10 + u64::from(digit);
            continue;
        }
        if *byte != b'\r' || place == 0 {
            return Err(ProtocolError("a number of at most 19 digits".into()));
        }
        return match digits.get(place + 1) {
            None => Ok(None),
            Some(b'\n') => {
                let end = from + (rest.len() - digits.len()) + place + 2;
                Ok(Some((with_sign(magnitude, negative)?, end)))
            }
            Some(_) => Err(ProtocolError("a line feed after the carriage return".into())),
        };
    }
    Ok(None)
}

fn with_sign(magnitude: u64, negative: bool) -> Result<i64, ProtocolError> {
    let value =
        if negative { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() };
    value.ok_or_else(|| ProtocolError("a number that fits 64 bits".into()))
}

/// Where the text ends that is being searched for its CR LF from `scanned` on.
pub(super) enum Line {
    /// The offset of the CR; the line feed follows it.
    Ends(usize),
    /// Not yet; the search goes on at this offset.
    Open(usize),
}

/// Looks for the line end of a text from `scanned` on.
pub(super) fn line_end(buffer: &[u8], scanned: usize) -> Result<Line, ProtocolError> {
    let rest = buffer.get(scanned..).unwrap_or_default();
    let Some(offset) = rest.iter().position(|&byte| byte == b'\r' || byte == b'\n') else {
        return Ok(Line::Open(buffer.len().max(scanned)));
    };
    let at = scanned + offset;
    match (rest.get(offset), buffer.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Line::Ends(at)),
        (Some(b'\r'), None) => Ok(Line::Open(at)),
        _ => Err(ProtocolError("a line that ends with CR LF and holds neither before".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_their_edges() {
        assert_eq!(number(b"0\r\n", 0), Ok(Some((0, 3))));
        assert_eq!(number(b"$-1\r\n", 1), Ok(Some((-1, 5))));
        assert_eq!(number(b"9223372036854775807\r\n", 0), Ok(Some((i64::MAX, 21))));
        assert_eq!(number(b"-9223372036854775808\r\n", 0), Ok(Some((i64::MIN, 22))));
        for open in ["", "-", "12", "12\r"] {
            assert_eq!(number(open.as_bytes(), 0), Ok(None), "{open:?}");
        }
        for bad in ["\r\n", "-\r\n", "1x\r\n", "1\rx", "9223372036854775808\r\n", "+-1\r\n"] {
            assert!(number(bad.as_bytes(), 0).is_err(), "{bad:?}");
        }
        assert!(number(b"00000000000000000001", 0).is_err(), "20 digits");
    }
}
