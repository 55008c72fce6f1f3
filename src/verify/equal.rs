//! When two values, and two expiries, are the same. No I/O.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::payload::{ClockRule, Family, Meaning, footer};
use crate::source::ExpiryClock;

/// From this type byte on, Redis and Valkey mean different things by the same bytes.
const FIRST_OF_ONE_FAMILY: u8 = 22;

/// How expiries are read on both sides, and how far they may lie apart.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// The source's, told in the target's time.
    pub source: ExpiryClock,
    /// The target's, in its own time.
    pub target: ExpiryClock,
    /// How far two expiries may lie apart, in milliseconds.
    pub tolerance_ms: i64,
    /// How far the source's clock is ahead of this machine's, in milliseconds.
    pub source_ahead_ms: i64,
    /// The target knows no expiries of fields, and it was agreed that they are lost.
    pub fields_last: bool,
}

impl Judge {
    /// The rule for times inside of values that have been read by now.
    pub(super) fn rule(self) -> ClockRule {
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let here = i64::try_from(here.as_millis()).unwrap_or(i64::MAX);
        ClockRule {
            ahead_ms: self.source.ahead_ms,
            tolerance_ms: self.tolerance_ms,
            now_ms: here.saturating_add(self.source_ahead_ms),
            fields_last: self.fields_last,
        }
    }

    /// Whether equal bytes of this type are the same value.
    pub(super) fn takes_bytes(self, byte: u8) -> bool {
        self.rule().takes_bytes(byte)
    }

    /// Whether two expiries are the same; in Unix milliseconds of one clock, 0: never.
    pub(super) fn same_expiry(self, one: i64, other: i64) -> bool {
        match (one, other) {
            (0, 0) => true,
            (0, _) | (_, 0) => false,
            _ => one.abs_diff(other) <= self.tolerance_ms.unsigned_abs(),
        }
    }
}

/// What two payloads have to do with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// They hold the same value.
    Same,
    /// They hold different values.
    Different,
    /// Their bytes differ, and what they mean is not known: the reason.
    Unknown(String),
}

/// Compares what DUMP answered on two servers. Equal bytes are the same value; the same value may
/// have other bytes on another server, so where they differ it is read.
pub(super) fn likeness(one: &[u8], other: &[u8], rule: &ClockRule) -> Likeness {
    if let (Ok((body, first)), Ok((other_body, second))) =
        (footer::split(one), footer::split(other))
        && body == other_body
        && same_language(body, first.version, second.version)
        && body.first().is_some_and(|&byte| rule.takes_bytes(byte))
    {
        return Likeness::Same;
    }
    match (Meaning::by(one, rule), Meaning::by(other, rule)) {
        (Ok(one), Ok(other)) if one.agrees(&other, rule) => Likeness::Same,
        (Ok(_), Ok(_)) => Likeness::Different,
        (Err(error), _) | (_, Err(error)) => Likeness::Unknown(error.to_string()),
    }
}

/// Whether both servers mean the same by these bytes.
fn same_language(body: &[u8], one: u16, other: u16) -> bool {
    let shared = body.first().is_some_and(|&kind| kind < FIRST_OF_ONE_FAMILY);
    shared || Family::of_version(one) == Family::of_version(other)
}

/// How expiries differ, for people. In Unix milliseconds, 0: never.
pub(super) fn expiry_text(source: i64, target: i64) -> String {
    match (source, target) {
        (0, _) => "it expires on the target only".to_owned(),
        (_, 0) => "it expires on the source only".to_owned(),
        _ => {
            let apart = source.abs_diff(target);
            let when = if target < source { "earlier" } else { "later" };
            format!("it expires {apart} ms {when} on the target")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keyspace::ExpiryCommand;

    fn alike(one: &[u8], other: &[u8]) -> Likeness {
        likeness(one, other, &ClockRule::default())
    }

    fn payload(body: &[u8], version: u16) -> Vec<u8> {
        [body, &footer::made(body, version).to_bytes()].concat()
    }

    #[test]
    fn the_version_in_the_footer_is_no_difference() {
        let (one, other) = (payload(b"\x00\x01x", 10), payload(b"\x00\x01x", 80));
        assert_eq!(alike(&one, &other), Likeness::Same);
        assert_eq!(alike(&one, &payload(b"\x00\x01y", 10)), Likeness::Different);
    }

    #[test]
    fn one_value_in_two_encodings_is_the_same() {
        // The set of 1 and 2: member by member, and as an intset of 16 bits.
        let plain = payload(b"\x02\x02\xc0\x02\xc0\x01", 10);
        let packed = payload(b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0", 10);
        assert_eq!(alike(&plain, &packed), Likeness::Same);
    }

    #[test]
    fn equal_bytes_of_two_families_are_not_taken_for_the_same() {
        // To Valkey a hash of which a field expires; Redis's number 22 has another layout.
        let body = b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
        let (redis, valkey) = (payload(body, 12), payload(body, 80));
        assert_ne!(alike(&redis, &valkey), Likeness::Same);
        assert_eq!(alike(&valkey, &valkey), Likeness::Same);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_reason() {
        let (one, other) = (payload(b"\x07\x81abc", 10), payload(b"\x07\x81abd", 10));
        assert_eq!(alike(&one, &one), Likeness::Same);
        assert!(matches!(alike(&one, &other), Likeness::Unknown(why) if !why.is_empty()));
    }

    #[test]
    fn never_is_no_moment() {
        let clock = ExpiryClock { command: ExpiryCommand::Absolute, ahead_ms: 0, together: true };
        let judge = Judge {
            source: clock,
            target: clock,
            tolerance_ms: 50,
            source_ahead_ms: 0,
            fields_last: false,
        };
        assert!(judge.same_expiry(0, 0) && judge.same_expiry(1_000, 1_050));
        assert!(!judge.same_expiry(0, 1) && !judge.same_expiry(1, 0));
        assert!(!judge.same_expiry(1_000, 1_051) && !judge.same_expiry(1_051, 1_000));
        assert_eq!(expiry_text(5, 3), "it expires 2 ms earlier on the target");
    }
}
