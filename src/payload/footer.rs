//! The last ten bytes of a payload: RDB version (u16) and CRC-64 of all before it, little endian.
//!
//! Layout: `createDumpPayload` in Redis's `cluster.c`. The checksum covers the version too.

use super::crc64::{self, checksum};
use super::{PayloadError, Result};

/// How long a footer is.
pub const FOOTER_BYTES: usize = 10;

/// The version's part of it, which the checksum covers.
const VERSION_BYTES: usize = 2;

/// From here on Redis may send 0 as the checksum, which means "not made". Versions from
/// [`FIRST_OF_VALKEY`] on are Valkey's, which always makes it.
const FIRST_UNCHECKED: u16 = 13;

/// Valkey counts its own RDB versions from here.
pub(crate) const FIRST_OF_VALKEY: u16 = 80;

/// The version and checksum that a payload ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The RDB version of the server that wrote the payload.
    pub version: u16,
    /// The CRC-64 of everything before it.
    pub checksum: u64,
}

impl Footer {
    /// Reads the last bytes of a payload.
    pub fn of([low, high, checksum @ ..]: [u8; FOOTER_BYTES]) -> Self {
        let version = u16::from_le_bytes([low, high]);
        Self { version, checksum: u64::from_le_bytes(checksum) }
    }

    /// The same footer with another version, in constant time: the checksum changes by that of the
    /// two bytes' difference, since CRC-64 is linear and the version stands at its end.
    ///
    /// A payload whose checksum was wrong has a wrong checksum afterwards: what the source made is
    /// still what the target checks. A checksum that was never made ([`Self::is_unchecked`]) cannot
    /// be patched; see [`patch`].
    #[must_use]
    pub fn with_version(self, version: u16) -> Self {
        let difference = checksum(&(self.version ^ version).to_le_bytes());
        Self { version, checksum: self.checksum ^ difference }
    }

    /// Whether the writer left the checksum out, as Redis 8.6 and later may.
    pub fn is_unchecked(self) -> bool {
        self.checksum == 0 && (FIRST_UNCHECKED..FIRST_OF_VALKEY).contains(&self.version)
    }

    /// As it stands on the wire.
    pub fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let (version, checksum) = bytes.split_at_mut(VERSION_BYTES);
        version.copy_from_slice(&self.version.to_le_bytes());
        checksum.copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }
}

/// Cuts a payload into what stands before the footer (type byte and body) and the footer.
///
/// # Errors
/// It is too short for a type byte and a footer.
pub fn split(payload: &[u8]) -> Result<(&[u8], Footer)> {
    let short = PayloadError::NoFooter(payload.len());
    match payload.split_last_chunk::<FOOTER_BYTES>() {
        Some((body, footer)) if !body.is_empty() => Ok((body, Footer::of(*footer))),
        _ => Err(short),
    }
}

/// As [`split`], and the checksum is that of the bytes, or was not made.
///
/// # Errors
/// Too short, or a wrong checksum.
pub fn check(payload: &[u8]) -> Result<(&[u8], Footer)> {
    let (body, footer) = split(payload)?;
    let made = crc64::update(checksum(body), &footer.version.to_le_bytes());
    if footer.checksum == made || footer.is_unchecked() {
        Ok((body, footer))
    } else {
        Err(PayloadError::Checksum)
    }
}

/// The footer that takes the place of a payload's own where the target wants `version`. In constant
/// time, except for a payload without a checksum, which only some servers take: it gets one.
///
/// # Errors
/// The payload is too short to have a footer.
pub fn patch(payload: &[u8], version: u16) -> Result<Footer> {
    let (body, footer) = split(payload)?;
    Ok(if footer.is_unchecked() { made(body, version) } else { footer.with_version(version) })
}

/// The footer of a body that was encoded here.
pub fn made(body: &[u8], version: u16) -> Footer {
    Footer { version, checksum: crc64::update(checksum(body), &version.to_le_bytes()) }
}

/// A whole payload of a body that was encoded here.
pub fn seal(mut body: Vec<u8>, version: u16) -> Vec<u8> {
    let footer = made(&body, version);
    body.extend_from_slice(&footer.to_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `DUMP` of `SET k 7` on Redis 7.0.15.
    const SEVEN: &[u8] = b"\x00\xc0\x07\x0a\x00t\xcdH\xa2\x83\xab\xce\x92";

    #[test]
    fn a_footer_is_checked_and_patched_as_if_it_were_made_anew() {
        let sealed = seal(b"\x00\x05hello".to_vec(), 12);
        let (body, footer) = check(&sealed).unwrap();
        assert_eq!((body, footer.version), (&b"\x00\x05hello"[..], 12));
        for version in [0, 6, 11, 80, 65_535] {
            let patched = patch(&sealed, version).unwrap();
            assert_eq!(patched, made(body, version));
            assert_eq!(patched.with_version(12), footer);
        }
    }

    #[test]
    fn damage_shows_after_patching_too() {
        let mut damaged = seal(b"\x00\x05hello".to_vec(), 12);
        damaged[3] ^= 1;
        assert_eq!(check(&damaged), Err(PayloadError::Checksum));
        let patched = patch(&damaged, 9).unwrap();
        let length = damaged.len() - FOOTER_BYTES;
        damaged.truncate(length);
        damaged.extend_from_slice(&patched.to_bytes());
        assert_eq!(check(&damaged), Err(PayloadError::Checksum));
    }

    #[test]
    fn a_checksum_that_was_left_out_is_made() {
        let unchecked = [&b"\x00\x01x\x0e\x00"[..], &[0; 8]].concat();
        assert!(check(&unchecked).is_ok());
        assert_eq!(patch(&unchecked, 9).unwrap(), made(b"\x00\x01x", 9));
        // Servers before Redis 8.6, and Valkey, always make it: then 0 is a wrong one.
        for version in [12, 80] {
            let footer = Footer { version, checksum: 0 };
            let bytes = [&b"\x00\x01x"[..], &footer.to_bytes()].concat();
            assert_eq!(check(&bytes), Err(PayloadError::Checksum));
        }
    }

    #[test]
    fn short_payloads_have_no_footer() {
        for length in 0..=FOOTER_BYTES {
            assert_eq!(split(&vec![0; length]), Err(PayloadError::NoFooter(length)));
        }
        assert!(split(&[0; FOOTER_BYTES + 1]).is_ok());
    }

    #[test]
    fn a_servers_own_footer_checks() {
        assert_eq!(check(SEVEN).map(|(_, footer)| footer.version), Ok(10));
        // What Valkey 9.1.2 answers for the same value differs in the footer only.
        let theirs = b"\x00\xc0\x07P\x00\xbb\xe7\x81\x33\x1d\xf9\xa9f";
        assert_eq!(patch(SEVEN, 80).unwrap().to_bytes(), theirs[3..]);
    }
}
