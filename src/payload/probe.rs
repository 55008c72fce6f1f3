//! Tiny payloads by which a target shows what it takes, since its version may not be believed:
//! Valkey calls itself Redis 7.2.4, and what stands in between calls itself anything.
//!
//! Each is for `RESTORE name 1 payload ABSTTL` of a name that nobody has; an OK means yes. A value that expired
//! in 1970 is read like any other, and not stored, but by a replica, or a Valkey in import mode.

use super::footer;
use super::kind::{self, Family};

/// The version of the probes for types that both families know: every server accepts it.
const COMMON_VERSION: u16 = 6;

/// RDB versions that some server writes or accepts, up to a few that do not exist yet.
const VERSIONS: [u16; 18] = [0, 1, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 80, 81, 82, 83];

/// The string `x`.
const STRING: &[u8] = b"\x00\x01x";

/// Types that mean the same to both families. In the order of their bytes.
const COMMON: [&[u8]; 18] = [
    b"\x01\x01\x01x",
    b"\x02\x01\x01x",
    b"\x03\x01\x01x\x011",
    b"\x04\x01\x01f\x01v",
    b"\x05\x01\x01x\0\0\0\0\0\0\xf0\x3f",
    b"\x09\x07\x01\x01f\x01\0v\xff",
    b"\x0a\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01x\xff",
    b"\x0b\x0a\x02\0\0\0\x01\0\0\0\x07\0",
    b"\x0c\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01x\x03\xf2\xff",
    b"\x0d\x11\x11\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\x01v\xff",
    b"\x0e\x01\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01x\xff",
    b"\x0f\0\0\0\0\0",
    b"\x10\x0d\x0d\0\0\0\x02\0\x81f\x02\x81v\x02\xff",
    b"\x11\x0c\x0c\0\0\0\x02\0\x81x\x02\x01\x01\xff",
    b"\x12\x01\x02\x0a\x0a\0\0\0\x01\0\x81x\x02\xff",
    b"\x13\0\0\0\0\0\0\0\0\0\0",
    b"\x14\x0a\x0a\0\0\0\x01\0\x81x\x02\xff",
    b"\x15\0\0\0\0\0\0\0\0\0\0",
];

/// One field that expires in the year 2100. As Redis's type of the same number it would begin with
/// a string of 9,729 bytes, so a Redis does not take it.
const OF_VALKEY: [(u16, &[u8]); 1] = [(80, b"\x16\x01\x01f\x01v\x00\xd8\xc3\x2c\xbb\x03\0\0")];

/// One field that expires in the year 2100, in each of the forms; an empty stream.
const OF_REDIS: [(u16, &[u8]); 5] = [
    (12, b"\x16\x01\x81\0\0\x03\xbb\x2c\xc3\xd8\x00\x01f\x01v"),
    (12, b"\x17\x17\x17\0\0\0\x03\0\x81f\x02\x81v\x02\xf4\x00\xd8\xc3\x2c\xbb\x03\0\0\x09\xff"),
    (12, b"\x18\x00\xd8\xc3\x2c\xbb\x03\0\0\x01\x01\x01f\x01v"),
    (
        12,
        b"\x19\x00\xd8\xc3\x2c\xbb\x03\0\0\
          \x17\x17\0\0\0\x03\0\x81f\x02\x81v\x02\xf4\x00\xd8\xc3\x2c\xbb\x03\0\0\x09\xff",
    ),
    (13, b"\x1a\0\0\0\0\0\0\0\0\0\0\x40\x64\x40\x64\0\0\0"),
];

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOf {
    /// Whether a footer of this RDB version is accepted.
    Version(u16),
    /// Whether this type byte is known.
    Type(u8),
}

/// A payload that asks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What the target's answer tells.
    pub of: ProbeOf,
    /// What is sent.
    pub payload: Vec<u8>,
}

/// All probes for a target of this family; of an unknown one only what both have in common is
/// asked. [`super::Knowledge::learned`] reads the answers.
pub fn probes(family: Option<Family>) -> Vec<Probe> {
    let versions = VERSIONS.map(|version| Probe {
        of: ProbeOf::Version(version),
        payload: footer::seal(STRING.to_vec(), version),
    });
    let own = match family {
        Some(Family::Redis) => &OF_REDIS[..],
        Some(Family::Valkey) => &OF_VALKEY,
        None => &[],
    };
    let common = COMMON.iter().chain([&STRING]).map(|body| (COMMON_VERSION, *body));
    let types = common.chain(own.iter().copied()).map(|(version, body)| Probe {
        of: ProbeOf::Type(body.first().copied().unwrap_or(kind::STRING)),
        payload: footer::seal(body.to_vec(), version),
    });
    versions.into_iter().chain(types).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Knowledge, Value, decode, walk};
    use super::*;

    #[test]
    fn every_probe_is_a_whole_value_and_no_two_ask_the_same() {
        for family in [None, Some(Family::Redis), Some(Family::Valkey)] {
            let probes = probes(family);
            for (index, probe) in probes.iter().enumerate() {
                assert!(walk(&probe.payload).is_ok(), "{:?}", probe.of);
                let value = decode(&probe.payload);
                let stream = matches!(value, Ok(Value::Stream(_)));
                assert!(value.is_ok_and(|value| stream || value.len() == 1), "{:?}", probe.of);
                let twice = probes.iter().skip(index + 1).any(|other| other.of == probe.of);
                assert!(!twice, "{:?}", probe.of);
            }
            // Who says yes to everything knows all that the table knows.
            let all = Knowledge::learned(family, probes.iter().map(|probe| (probe.of, true)));
            if let Some(family) = family {
                let newest = if family == Family::Redis { 13 } else { 80 };
                assert_eq!(all.types, Knowledge::of_version(family, newest).types);
            }
        }
    }

    #[test]
    fn a_probe_of_one_family_is_nothing_to_the_other() {
        for (version, body) in OF_VALKEY {
            assert_eq!(version, 80);
            let theirs = super::super::walk_body(body, 12);
            assert!(theirs.is_err(), "Redis would take it");
        }
        for (_, body) in OF_REDIS {
            assert!(super::super::walk_body(body, 80).is_err(), "Valkey would take it");
        }
    }
}
