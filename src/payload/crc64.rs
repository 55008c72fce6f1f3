//! The CRC-64 at the end of payloads and RDB files, eight bytes at a step.
//!
//! It is the polynomial of David T. Jones, `0xad93d23594c935a9`, reflected, beginning and ending
//! without an inversion (`crc64.c` of Redis). Without inversions it is *linear*: the checksum of
//! `a ^ b` is that of `a` xor that of `b`, which is what lets a footer be patched.

/// `0xad93d23594c935a9` with its bits in the other order.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// Bytes taken at one step; each has a table of its own, 16 KiB together.
const STEP: usize = 8;

static TABLES: [[u64; 256]; STEP] = tables();

const fn tables() -> [[u64; 256]; STEP] {
    let mut tables = [[0; 256]; STEP];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    // The table of a byte that n more bytes follow.
    let mut step = 1;
    while step < STEP {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[step - 1][byte];
            tables[step][byte] = (crc >> 8) ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        step += 1;
    }
    tables
}

/// The CRC-64 of all bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    update(0, bytes)
}

/// Goes on with the CRC-64 of what stood before `bytes`.
pub(crate) fn update(mut crc: u64, bytes: &[u8]) -> u64 {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for step in steps {
        let mixed = (crc ^ u64::from_le_bytes(*step)).to_le_bytes();
        crc = 0;
        for (table, byte) in TABLES.iter().rev().zip(mixed) {
            crc ^= table[usize::from(byte)];
        }
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(checksum(b""), 0);
    }

    #[test]
    fn steps_and_single_bytes_agree_wherever_they_are_cut() {
        let bytes: Vec<u8> = (0..100_u8).map(|n| n.wrapping_mul(37)).collect();
        let whole = bytes.iter().fold(0, |crc, &byte| update(crc, &[byte]));
        for cut in 0..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(update(checksum(left), right), whole, "cut at {cut}");
        }
    }

    #[test]
    fn it_is_linear() {
        let (a, b) = (*b"abcdefghijkl", *b"zyxwvutsrqpo");
        let both: Vec<u8> = a.iter().zip(b).map(|(a, b)| a ^ b).collect();
        assert_eq!(checksum(&both), checksum(&a) ^ checksum(&b));
    }
}
