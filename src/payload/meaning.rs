//! Whether two values are the same to those who use them, on two servers whose clocks may differ.
//!
//! What has a time of its own (fields of hashes that expire, pending entries of streams) is kept apart
//! from the rest, as a hash and that time: an expiry may lie apart as far as the rule allows, and a field
//! that has expired is not there, whether its server has removed it or not.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::digest::{Digester, put};
use super::kind::{Kind, holds_times, means_the_same_to_all};
use super::stream::{Group, StreamState};
use super::visit::{Part, visit, visit_body};
use super::{Result, footer};

/// How the clocks of both sides are related, and how far two times may lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockRule {
    /// How far the other's clock is ahead, in milliseconds; 0 where they agree.
    pub ahead_ms: i64,
    /// How far two expiries may lie apart, in milliseconds.
    pub tolerance_ms: i64,
    /// The time by the one's clock once both had been read, in Unix milliseconds: fields that had
    /// expired by then are not there.
    pub now_ms: i64,
    /// The other's server knows no expiries of fields, and it was agreed that they are lost: a field that has not
    /// expired is the same without one.
    pub fields_last: bool,
}

/// What a value is, in a form that two of them can be compared by. It holds 40 bytes for each field
/// that expires and each pending entry, and nothing for all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// All that no clock touches.
    fixed: u128,
    kind: Kind,
    /// Fields with their values, by their expiries; pending entries, by their deliveries. Sorted.
    timed: Vec<(u128, i64)>,
}

impl ClockRule {
    /// Whether equal bytes of this type are the same value: times inside of it would have to differ where
    /// the clocks do.
    pub fn takes_bytes(&self, byte: u8) -> bool {
        self.ahead_ms == 0 || !holds_times(byte)
    }
}

impl Meaning {
    /// Reads a payload, part by part, without building its value. The checksum is looked at first.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn of(payload: &[u8]) -> Result<Self> {
        Self::read(payload, None)
    }

    /// Likewise, as far as it is to be compared by this rule.
    ///
    /// # Errors
    /// As [`super::decode`].
    pub fn by(payload: &[u8], rule: &ClockRule) -> Result<Self> {
        Self::read(payload, rule.fields_last.then_some(rule.now_ms))
    }

    /// `last_at`: fields that have not expired then have no expiries.
    fn read(payload: &[u8], last_at: Option<i64>) -> Result<Self> {
        footer::check(payload)?;
        let (mut digester, mut timed) = (Digester::new(), Vec::new());
        let kind = visit(payload, &mut |part| {
            match part {
                Part::Field { name, value, expires: Some(expires) } => {
                    let expires = i64::try_from(expires).unwrap_or(i64::MAX);
                    if let Some(now_ms) = last_at {
                        if expires > now_ms {
                            digester.add(&Part::Field { name, value, expires: None });
                        }
                        return Ok(());
                    }
                    let of = hash(|hasher| {
                        put(hasher, name);
                        put(hasher, value);
                    });
                    timed.push((of, expires));
                }
                Part::State(state) => {
                    timed.extend(state.groups.iter().flat_map(deliveries));
                    digester.add(&Part::State(&without_deliveries(state)));
                }
                part => digester.add(&part),
            }
            Ok(())
        })?;
        timed.sort_unstable();
        Ok(Self { fixed: digester.finish(kind), kind, timed })
    }

    /// Whether both are the same value, this one by the one's clock and `other` by the other's.
    pub fn agrees(&self, other: &Self, rule: &ClockRule) -> bool {
        self.fixed == other.fixed
            && self.kind == other.kind
            && match self.kind {
                Kind::Hash => self.fields_agree(other, rule),
                _ => self.deliveries_agree(other, rule),
            }
    }

    /// Whether it is a hash that held fields, all of which had expired at that time by its clock: to
    /// those who use it, the key is not there.
    pub fn has_expired(&self, now_ms: i64) -> bool {
        let nothing = Digester::new().finish(Kind::Hash);
        self.kind == Kind::Hash
            && self.fixed == nothing
            && !self.timed.is_empty()
            && self.timed.iter().all(|(_, at)| *at <= now_ms)
    }

    fn fields_agree(&self, other: &Self, rule: &ClockRule) -> bool {
        let there = rule.now_ms.saturating_add(rule.ahead_ms);
        let apart = |one: i64, other: i64| one.saturating_add(rule.ahead_ms).abs_diff(other);
        let close = |one, other| apart(one, other) <= rule.tolerance_ms.unsigned_abs();
        let gone = |one: i64, other: i64| one <= rule.now_ms && other <= there;
        let (mut ones, mut others) = (self.timed.iter().peekable(), other.timed.iter().peekable());
        loop {
            let same = match (ones.peek(), others.peek()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one.0 == other.0 => {
                    let same = close(one.1, other.1) || gone(one.1, other.1);
                    ones.next();
                    others.next();
                    same
                }
                (Some(one), other) if other.is_none_or(|other| one.0 < other.0) => {
                    ones.next().is_some_and(|(_, at)| *at <= rule.now_ms)
                }
                _ => others.next().is_some_and(|(_, at)| *at <= there),
            };
            if !same {
                return false;
            }
        }
    }

    /// Exactly, where the clocks agree.
    fn deliveries_agree(&self, other: &Self, rule: &ClockRule) -> bool {
        let tolerance = if rule.ahead_ms == 0 { 0 } else { rule.tolerance_ms.unsigned_abs() };
        self.timed.len() == other.timed.len()
            && self.timed.iter().zip(&other.timed).all(|(one, other)| {
                let moved = one.1.saturating_add(rule.ahead_ms);
                one.0 == other.0 && moved.abs_diff(other.1) <= tolerance
            })
    }
}

/// Whether two payloads hold the same value by this rule, in whatever way their servers keep it.
///
/// # Errors
/// One of them cannot be read.
pub fn same_value(one: &[u8], other: &[u8], rule: &ClockRule) -> Result<bool> {
    Ok(Meaning::by(one, rule)?.agrees(&Meaning::by(other, rule)?, rule))
}

/// Whether a type byte and body, written with this RDB version, are a hash all of whose fields had expired
/// at that time: to those who use it, the key is not there.
///
/// # Errors
/// As [`super::decode_body`].
pub fn all_fields_expired(body: &[u8], version: u16, now_ms: i64) -> Result<bool> {
    if body.first().is_none_or(|&byte| means_the_same_to_all(byte)) {
        return Ok(false);
    }
    let (mut any, mut all) = (false, true);
    let kind = visit_body(body, version, &mut |part| {
        any = true;
        let expires = match part {
            Part::Field { expires, .. } => expires,
            _ => None,
        };
        all &= expires.is_some_and(|at| i64::try_from(at).is_ok_and(|at| at <= now_ms));
        Ok(())
    })?;
    Ok(kind == Kind::Hash && any && all)
}

/// The pending entries of a group, each with the time of its last delivery.
fn deliveries(group: &Group) -> impl Iterator<Item = (u128, i64)> {
    group.pending.iter().map(|entry| {
        let of = hash(|hasher| {
            put(hasher, &group.name);
            hasher.write(&entry.id.to_bytes());
        });
        (of, entry.delivered)
    })
}

fn without_deliveries(state: &StreamState) -> StreamState {
    let mut state = state.clone();
    let pending = state.groups.iter_mut().flat_map(|group| &mut group.pending);
    pending.for_each(|entry| entry.delivered = 0);
    state
}

fn hash(put: impl FnOnce(&mut SipHasher13)) -> u128 {
    let mut hasher = SipHasher13::new();
    put(&mut hasher);
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::samples;
    use super::super::{Family, Field, Knowledge, Policy, Value, decode, encode};
    use super::*;

    const NOW: i64 = 1_000_000;

    fn hash_of(fields: &[(&str, &str, Option<i64>)]) -> Vec<u8> {
        let field = |&(name, value, expires): &(&str, &str, Option<i64>)| Field {
            name: name.into(),
            value: value.into(),
            expires: expires.map(i64::unsigned_abs),
        };
        let value = Value::Hash(fields.iter().map(field).collect());
        let target = Knowledge::of_version(Family::Redis, 12);
        encode(&value, &target, Policy::default()).unwrap().payload
    }

    #[test]
    fn expiries_of_fields_are_compared_by_the_clocks() {
        let one = hash_of(&[("a", "1", Some(NOW + 900)), ("b", "2", None)]);
        let other = |at| hash_of(&[("b", "2", None), ("a", "1", Some(NOW + at))]);
        let rule =
            |ahead_ms| ClockRule { ahead_ms, tolerance_ms: 50, now_ms: NOW, fields_last: false };
        for (ahead, at, same) in [
            (0, 900, true),
            (0, 950, true),
            (0, 951, false),
            (0, 849, false),
            (5_000, 5_900, true),
            (5_000, 900, false),
            (-500, 420, true),
        ] {
            let found = same_value(&one, &other(at), &rule(ahead)).unwrap();
            assert_eq!(found, same, "{ahead} ms ahead, at {at}");
        }
        let never = hash_of(&[("a", "1", None), ("b", "2", None)]);
        assert_eq!(same_value(&one, &never, &rule(0)), Ok(false));
        assert_eq!(same_value(&never, &one, &rule(0)), Ok(false));
    }

    #[test]
    fn a_field_that_has_expired_is_not_there() {
        let rule = ClockRule { ahead_ms: 100, tolerance_ms: 50, now_ms: NOW, fields_last: false };
        let same = |one: &[_], other: &[_]| {
            let (one, other) = (hash_of(one), hash_of(other));
            same_value(&one, &other, &rule).unwrap()
        };
        let kept = ("k", "v", None);
        let dead = |value, at| ("d", value, Some(NOW + at));
        assert!(same(&[kept, dead("1", 0)], &[kept]));
        assert!(same(&[kept], &[kept, dead("1", 100)]));
        assert!(!same(&[kept, dead("1", 1)], &[kept]), "it lives");
        assert!(!same(&[kept], &[kept, dead("1", 101)]), "it lives");
        assert!(same(&[kept, dead("1", -9)], &[kept, dead("2", -700)]), "both are dead");
        assert!(!same(&[kept, dead("1", -9)], &[kept, dead("2", 500)]), "another one lives");
        assert!(!same(&[kept, dead("1", -9)], &[kept, dead("1", 500)]), "it lives there");
        let of = |fields: &[_]| Meaning::of(&hash_of(fields)).unwrap();
        assert!(of(&[dead("1", 0)]).has_expired(NOW));
        assert!(!of(&[dead("1", 1)]).has_expired(NOW));
        assert!(!of(&[kept, dead("1", 0)]).has_expired(NOW));
        let all = |fields: &[_]| {
            let payload = hash_of(fields);
            let (body, footer) = footer::split(&payload).unwrap();
            all_fields_expired(body, footer.version, NOW).unwrap()
        };
        assert!(all(&[dead("1", 0)]) && !all(&[dead("1", 1)]) && !all(&[kept, dead("1", 0)]));
        assert!(!all(&[kept]));
    }

    #[test]
    fn deliveries_follow_the_clocks() {
        let stream = |ahead| {
            let all = samples();
            let payload =
                &all.iter().find(|of| of.0 == "redis82" && of.1 == "stream:groups").unwrap().2;
            let mut value = decode(payload).unwrap();
            value.shift(ahead);
            let target = Knowledge::of_version(Family::Redis, 12);
            encode(&value, &target, Policy::default()).unwrap().payload
        };
        let rule =
            |ahead_ms| ClockRule { ahead_ms, tolerance_ms: 50, now_ms: NOW, fields_last: false };
        let same = |ahead, by| same_value(&stream(0), &stream(ahead), &rule(by)).unwrap();
        assert!(same(0, 0) && same(7_000, 7_000) && same(7_001, 7_000));
        assert!(!same(1, 0) && !same(7_000, 0) && !same(0, 7_000));
    }

    #[test]
    fn a_value_means_the_same_in_every_form() {
        for (server, key, payload) in samples() {
            let value = decode(&payload).unwrap();
            for version in [6, 9, 12] {
                let target = Knowledge::of_version(Family::Redis, version);
                let Ok(made) = encode(&value, &target, Policy::default()) else { continue };
                let same = same_value(&payload, &made.payload, &ClockRule::default());
                assert_eq!(same, Ok(true), "{server} {key} for {version}");
            }
        }
    }
}
