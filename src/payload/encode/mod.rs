//! Lays a value into a payload that a target takes, in the form that costs it least.
//!
//! Small containers become one block (listpack where it is known, else ziplist), which a server
//! takes as it is; larger ones go element by element. What would end a server or leave a value there
//! that no command could have made is refused: NaN, no element, the same element twice.

mod check;
mod containers;
mod losses;

pub use losses::Losses;

use thiserror::Error;

use super::classify::Policy;
use super::footer;
use super::kind::{self, Family, Kind};
use super::knowledge::Knowledge;
use super::stream::{self, StreamState};
use super::value::{Field, Stream, Value};

/// The latest expiry that Redis lets a field have: HPEXPIREAT of 8.2.3 refuses the next millisecond.
/// RESTORE takes four times as much, up to and with the number that means "none" inside a server.
const LATEST_OF_REDIS: u64 = (1 << 46) - 1;

/// The latest that Valkey takes: a signed number.
const LATEST_OF_VALKEY: u64 = i64::MAX.unsigned_abs();

/// Why a value cannot be laid into a payload for a target.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// A score that is no number, of which servers before 7.0 die.
    #[error("a score is not a number")]
    Nan,
    /// No command leaves an empty container behind.
    #[error("it has no element")]
    Empty,
    /// The same member or field twice.
    #[error("an element is there twice")]
    Duplicate,
    /// A stream's entries or ids contradict each other.
    #[error("the stream is inconsistent: {0}")]
    Stream(&'static str),
    /// The target knows no type for it.
    #[error("the target knows no type for a {0}")]
    NoType(&'static str),
    /// No RDB version is known that the target accepts.
    #[error("the target accepts no known RDB version")]
    NoVersion,
    /// The target's hashes have no expiries of fields, and losing them was not allowed.
    #[error("{0} of the hash's fields expire, which the target cannot keep")]
    FieldExpiries(u64),
    /// Every field of the hash has expired.
    #[error("every field of the hash has expired")]
    Expired,
    /// The target's expiries of fields end before this one.
    #[error("a field expires later than the target can keep")]
    TooLate,
    /// It is longer than the longest bulk string that the target takes.
    #[error("its payload has {0} bytes, more than the target takes at once")]
    TooLong(u64),
}

/// A payload that was made for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What RESTORE takes.
    pub payload: Vec<u8>,
    /// What of the value is not in it.
    pub lost: Losses,
}

/// A payload of the value, of a type and version that the target knows. `policy` says whether
/// expiries of fields may be lost to a target that has none.
///
/// # Errors
/// The value must not be sent, or the target has no form for it.
pub fn encode(value: &Value, target: &Knowledge, policy: Policy) -> Result<Encoded, Refusal> {
    check::sound(value)?;
    let mut lost = Losses::default();
    let body = match value {
        Value::String(bytes) => containers::string(bytes, target),
        Value::List(items) => containers::list(items, target),
        Value::Set(members) => containers::set(members, target),
        Value::SortedSet(members) => containers::sorted_set(members, target),
        Value::Hash(fields) => hash(fields, target, policy, &mut lost),
        Value::Stream(stream) => stream_body(stream, target, &mut lost),
    }?;
    let byte = body.first().copied().unwrap_or(kind::STRING);
    let version = target.version_for(byte).ok_or(Refusal::NoVersion)?;
    let payload = footer::seal(body, version);
    let length = payload.len() as u64;
    if length > target.longest_bulk {
        return Err(Refusal::TooLong(length));
    }
    Ok(Encoded { payload, lost })
}

/// The type byte for a hash some of whose fields expire, if the target has one.
pub(super) fn expiring_type(target: &Knowledge) -> Option<(u8, u64)> {
    let (byte, latest) = match target.family? {
        Family::Redis => (kind::REDIS_HASH_METADATA, LATEST_OF_REDIS),
        Family::Valkey => (kind::VALKEY_HASH_2, LATEST_OF_VALKEY),
    };
    target.knows(byte).then_some((byte, latest))
}

fn hash(
    fields: &[Field],
    target: &Knowledge,
    policy: Policy,
    lost: &mut Losses,
) -> Result<Vec<u8>, Refusal> {
    if fields.iter().all(|field| field.expires.is_none()) {
        return containers::hash(fields, target);
    }
    if let Some((byte, latest)) = expiring_type(target) {
        if fields.iter().any(|field| field.expires.is_some_and(|at| at > latest)) {
            return Err(Refusal::TooLate);
        }
        return Ok(match byte {
            kind::VALKEY_HASH_2 => containers::valkey_hash(fields),
            _ => containers::redis_hash(fields),
        });
    }
    // A field that has expired already must not come back without an expiry.
    let mut left = fields.to_vec();
    left.retain(|field| field.expires.is_none_or(|at| at > policy.now_ms));
    if left.is_empty() {
        return Err(Refusal::Expired);
    }
    let expiring = left.iter().filter(|field| field.expires.is_some()).count() as u64;
    if expiring > 0 && !policy.lossy {
        return Err(Refusal::FieldExpiries(expiring));
    }
    lost.field_expiries = expiring;
    left.iter_mut().for_each(|field| field.expires = None);
    containers::hash(&left, target)
}

/// The type for a stream of this state: the newest that the target knows and that has nothing that
/// the stream does not tell. A target makes better guesses at what is missing than we would.
pub(super) fn stream_type(state: &StreamState, target: &Knowledge) -> Option<u8> {
    let newest = match state {
        StreamState { idempotency: Some(_), .. } => kind::REDIS_STREAM_4,
        StreamState { counters: Some(_), .. } => kind::STREAM_3,
        StreamState { .. } => kind::STREAM,
    };
    let types = [kind::REDIS_STREAM_4, kind::STREAM_3, kind::STREAM_2, kind::STREAM];
    let known = |byte: &u8| {
        let meant = *byte != kind::REDIS_STREAM_4 || target.family == Some(Family::Redis);
        *byte <= newest && meant && target.knows(*byte)
    };
    types.into_iter().find(known)
}

fn stream_body(stream: &Stream, target: &Knowledge, lost: &mut Losses) -> Result<Vec<u8>, Refusal> {
    let byte = stream_type(&stream.state, target).ok_or(Refusal::NoType("stream"))?;
    *lost = Losses::of_stream(&stream.state, byte);
    let mut body = vec![byte];
    stream::write(&mut body, stream, byte);
    Ok(body)
}

/// The word for a kind of value.
fn word(of: Kind) -> &'static str {
    match of {
        Kind::String => "string",
        Kind::List => "list",
        Kind::Set => "set",
        Kind::SortedSet => "sorted set",
        Kind::Hash => "hash",
        Kind::Stream => "stream",
        Kind::Module => "module's value",
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::samples;
    use super::super::value::Scored;
    use super::super::{Entry, StreamId, decode, digest, footer, walk};
    use super::*;

    const STRICT: Policy = Policy { lossy: false, now_ms: 0, ahead_ms: 0 };
    const LOSSY: Policy = Policy { lossy: true, now_ms: 5_000, ahead_ms: 0 };

    fn targets() -> Vec<Knowledge> {
        let redis = [6, 7, 8, 9, 10, 11, 12, 13].map(|v| Knowledge::of_version(Family::Redis, v));
        let valkey = [11, 80].map(|v| Knowledge::of_version(Family::Valkey, v));
        redis.into_iter().chain(valkey).collect()
    }

    fn redis(version: u16) -> Knowledge {
        Knowledge::of_version(Family::Redis, version)
    }

    fn field(name: &str, expires: Option<u64>) -> Field {
        Field { name: name.into(), value: b"v".to_vec(), expires }
    }

    #[test]
    fn what_is_encoded_for_any_target_means_the_same() {
        let mut refused = 0;
        for (server, key, payload) in samples() {
            let value = decode(&payload).unwrap();
            for target in targets() {
                let place = format!("{server} {key} for {target:?}");
                let encoded = match encode(&value, &target, STRICT) {
                    Ok(encoded) => encoded,
                    Err(Refusal::NoType("stream")) if !target.knows(15) => continue,
                    Err(Refusal::FieldExpiries(2)) if key.starts_with("hash:expiry") => {
                        refused += 1;
                        continue;
                    }
                    Err(error) => panic!("{place}: {error}"),
                };
                let (body, footer) = footer::check(&encoded.payload).unwrap();
                assert!(target.knows(body[0]) && target.accepts(footer.version), "{place}");
                assert_eq!(walk(&encoded.payload), Ok(value.kind()), "{place}");
                let back = decode(&encoded.payload).unwrap();
                assert_eq!(digest(&back), digest(&value), "{place}: {back:?}");
                let all = encoded.lost.is_none();
                let older = !target.accepts(footer::split(&payload).unwrap().1.version);
                assert!(all || (key == "stream:groups" && older) || key == "stream:empty");
            }
        }
        // Four payloads, and all targets but Redis from 12 on and Valkey 80.
        assert_eq!(refused, 4 * 7);
    }

    #[test]
    fn blocks_are_those_that_servers_make_themselves() {
        // The same value, dumped by one server and encoded for it: equal to the byte, but for the
        // version, which is the newest that its type needs.
        let equal = |server: &str, key: &str, version| {
            let samples = samples();
            let own = samples.iter().find(|of| of.0 == server && of.1 == key).unwrap();
            let value = decode(&own.2).unwrap();
            let made = encode(&value, &redis(version), STRICT).unwrap().payload;
            let body = |payload: &[u8]| footer::split(payload).unwrap().0.to_vec();
            assert_eq!(body(&made), body(&own.2), "{key}");
        };
        for key in ["hash:small", "list:small", "set:int", "set:int64"] {
            equal("redis62", key, 9);
            equal("redis70", key, 10);
        }
        equal("redis82", "set:text", 12);
        equal("redis82", "stream:empty", 12);
        equal("redis62", "stream:empty", 9);
    }

    #[test]
    fn what_harms_a_server_is_refused() {
        let target = redis(9);
        let refused = |value: Value| encode(&value, &target, STRICT).unwrap_err();
        let scored = |score| Scored { member: b"a".to_vec(), score };
        assert_eq!(refused(Value::SortedSet(vec![scored(f64::NAN)])), Refusal::Nan);
        let twice = vec![scored(1.0), scored(2.0)];
        assert_eq!(refused(Value::SortedSet(twice)), Refusal::Duplicate);
        assert_eq!(refused(Value::Set(vec![vec![1], vec![1]])), Refusal::Duplicate);
        let fields = vec![field("f", None), field("f", None)];
        assert_eq!(refused(Value::Hash(fields)), Refusal::Duplicate);
        for empty in [
            Value::List(Vec::new()),
            Value::Set(Vec::new()),
            Value::SortedSet(Vec::new()),
            Value::Hash(Vec::new()),
        ] {
            assert_eq!(refused(empty), Refusal::Empty);
        }
        let entry = |ms| Entry { id: StreamId { ms, seq: 0 }, fields: vec![(vec![1], vec![2])] };
        for entries in [vec![entry(2), entry(1)], vec![entry(1), entry(1)], vec![entry(1)]] {
            let stream = Stream { entries, state: StreamState::default() };
            assert!(matches!(refused(Value::Stream(stream)), Refusal::Stream(_)));
        }
    }

    #[test]
    fn expiries_of_fields_are_lost_only_where_that_is_allowed() {
        let gone = field("gone", Some(4_999));
        let value = Value::Hash(vec![gone.clone(), field("f", Some(6_000)), field("g", None)]);
        let refused = encode(&value, &redis(11), STRICT);
        assert_eq!(refused, Err(Refusal::FieldExpiries(2)));
        let encoded = encode(&value, &redis(11), LOSSY).unwrap();
        assert_eq!(encoded.lost.field_expiries, 1);
        let left = Value::Hash(vec![field("f", None), field("g", None)]);
        assert_eq!(decode(&encoded.payload), Ok(left));
        assert_eq!(encode(&Value::Hash(vec![gone]), &redis(11), LOSSY), Err(Refusal::Expired));
        // Where the target keeps them, nothing is lost, whatever is allowed.
        let kept = encode(&value, &redis(12), LOSSY).unwrap();
        assert!(kept.lost.is_none());
        assert_eq!(decode(&kept.payload), Ok(value));
    }

    #[test]
    fn an_expiry_that_no_command_can_set_is_not_sent() {
        let value = |at| Value::Hash(vec![field("f", Some(at))]);
        assert!(encode(&value(LATEST_OF_REDIS), &redis(12), STRICT).is_ok());
        let late = encode(&value(LATEST_OF_REDIS + 1), &redis(12), STRICT);
        assert_eq!(late, Err(Refusal::TooLate));
        let valkey = Knowledge::of_version(Family::Valkey, 80);
        assert!(encode(&value(LATEST_OF_REDIS + 1), &valkey, STRICT).is_ok());
        assert_eq!(encode(&value(u64::MAX), &valkey, STRICT), Err(Refusal::TooLate));
    }

    #[test]
    fn scores_keep_every_bit() {
        let numbers = [
            0.0,
            -0.0,
            0.1,
            1.0 / 3.0,
            9_007_199_254_740_993.0,
            1e15,
            -1e14,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::INFINITY,
        ];
        let scored = |(n, score): (usize, &f64)| Scored { member: vec![n as u8], score: *score };
        let value = Value::SortedSet(numbers.iter().enumerate().map(scored).collect());
        for target in targets() {
            let encoded = encode(&value, &target, STRICT).unwrap();
            let back = decode(&encoded.payload).unwrap();
            assert_eq!(digest(&back), digest(&value), "{target:?}");
        }
    }

    #[test]
    fn long_lists_are_cut_into_nodes() {
        let items: Vec<Vec<u8>> =
            (0..300).map(|n| vec![b'x'; n * 7]).chain([vec![0; 9_000]]).collect();
        let value = Value::List(items);
        for version in [6, 9, 10] {
            let encoded = encode(&value, &redis(version), STRICT).unwrap();
            assert_eq!(decode(&encoded.payload), Ok(value.clone()));
        }
    }

    #[test]
    fn a_payload_beyond_the_targets_limit_is_refused() {
        let target = Knowledge { longest_bulk: 100, ..redis(9) };
        let value = |length| Value::String(vec![b'x'; length]);
        assert!(encode(&value(87), &target, STRICT).is_ok());
        assert_eq!(encode(&value(88), &target, STRICT), Err(Refusal::TooLong(101)));
    }
}
