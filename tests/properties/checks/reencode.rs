//! Any value for any target: what is made of it is taken there, and means what it meant.

use std::collections::HashSet;

use keyferry::payload::{
    Knowledge, Policy, Refusal, Value, Way, classify, decode, decode_body, digest, encode, footer,
    walk,
};

use super::payload::{targets, version_and_body};

/// The input is `WRITER|BODY`; see [`version_and_body`].
pub fn check(input: &[u8]) {
    let (version, body) = version_and_body(input);
    let Ok(value) = decode_body(body, version) else { return };
    for target in targets() {
        for lossy in [false, true] {
            let policy = Policy { lossy, now_ms: 1_000, ahead_ms: 0 };
            match encode(&value, &target, policy) {
                Ok(made) => {
                    assert!(is_sound(&value), "{value:?} was encoded");
                    let allowed = lossy || made.lost.field_expiries == 0;
                    assert!(allowed, "{} is lost", made.lost);
                    holds(&value, &made.payload, &target, made.lost.field_expiries == 0);
                }
                Err(refusal) => assert!(is_reason(&value, &target, lossy, &refusal), "{refusal}"),
            }
        }
    }
}

/// A payload that the target takes as it is, and that has the value in it.
fn holds(value: &Value, payload: &[u8], target: &Knowledge, all: bool) {
    assert_eq!(classify(payload, target, Policy::default()), Way::Verbatim);
    assert_eq!(walk(payload), Ok(value.kind()));
    let (body, footer) = footer::check(payload).expect("a footer");
    assert!(target.knows(body[0]) && target.accepts(footer.version));
    let back = decode(payload).expect("a value");
    if all && !has_expired(value, target) {
        assert_eq!(digest(&back), digest(value), "{value:?} became {back:?}");
    }
    // What was made once is made again of what it became.
    let again = encode(&back, target, Policy::default()).expect("the same once more");
    assert_eq!(digest(&decode(&again.payload).expect("a value")), digest(&back));
}

/// Fields that had expired are left out where their expiry cannot be kept.
fn has_expired(value: &Value, target: &Knowledge) -> bool {
    let Value::Hash(fields) = value else { return false };
    let keeps = target.knows(22) || target.knows(24);
    !keeps && fields.iter().any(|field| field.expires.is_some())
}

/// Whether a command could have made the value.
fn is_sound(value: &Value) -> bool {
    fn different<T: std::hash::Hash + Eq>(names: impl Iterator<Item = T>) -> bool {
        let mut seen = HashSet::new();
        names.into_iter().all(|name| seen.insert(name))
    }
    match value {
        Value::String(_) | Value::Stream(_) => true,
        Value::List(items) => !items.is_empty(),
        Value::Set(members) => !members.is_empty() && different(members.iter()),
        Value::SortedSet(members) => {
            let numbers = members.iter().all(|of| !of.score.is_nan());
            numbers && !members.is_empty() && different(members.iter().map(|of| &of.member))
        }
        Value::Hash(fields) => !fields.is_empty() && different(fields.iter().map(|of| &of.name)),
    }
}

/// Whether a refusal is true.
fn is_reason(value: &Value, target: &Knowledge, lossy: bool, refusal: &Refusal) -> bool {
    let stream = matches!(value, Value::Stream(_));
    match refusal {
        Refusal::Nan | Refusal::Empty => !is_sound(value),
        Refusal::Duplicate => stream || !is_sound(value),
        Refusal::Stream(_) => stream,
        Refusal::NoType(_) => stream && !target.knows(15),
        Refusal::FieldExpiries(_) => !lossy && has_expired(value, target),
        Refusal::Expired => has_expired(value, target),
        Refusal::TooLate => matches!(value, Value::Hash(_)) && !has_expired(value, target),
        Refusal::NoVersion | Refusal::TooLong(_) => false,
    }
}
