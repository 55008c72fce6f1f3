//! The primitives of the RDB format, written: lengths and strings, always in their plain form.
//!
//! Neither integers nor compressed strings are written: every server reads the plain form, and
//! takes less time for it.

/// Writes a number in the encoding of lengths, in the least bytes that hold it.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x40 => out.push(number.to_le_bytes()[0]),
        0x40..0x4000 => {
            let [.., high, low] = number.to_be_bytes();
            out.extend_from_slice(&[0x40 | high, low]);
        }
        0x4000..=0xffff_ffff => {
            let [.., a, b, c, d] = number.to_be_bytes();
            out.extend_from_slice(&[0x80, a, b, c, d]);
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// Writes how many elements follow.
pub(crate) fn count(out: &mut Vec<u8>, count: usize) {
    // A count in memory is never beyond 64 bits.
    number(out, count as u64);
}

/// Writes a string.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let borders = [0, 63, 64, 16_383, 16_384, u64::from(u32::MAX), 1 << 32, u64::MAX];
        let mut out = Vec::new();
        borders.iter().for_each(|&border| number(&mut out, border));
        string(&mut out, b"\xff\0");
        let mut reader = Reader::new(&out);
        for border in borders {
            assert_eq!(reader.number(), Ok(border));
        }
        assert_eq!(reader.string().unwrap().as_ref(), b"\xff\0");
        assert_eq!(out.len(), 1 + 1 + 2 + 2 + 5 + 5 + 9 + 9 + 3);
    }
}
