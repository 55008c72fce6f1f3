//! Values at the borders of what there is, made here and taken by real servers.

use keyferry::payload::{
    Counters, Entry, Family, Field, Knowledge, Policy, Refusal, Scored, Stream, StreamId,
    StreamState, Value, encode,
};
use redis::cmd;

use super::{family, learn, version};
use crate::support::client::Client;
use crate::support::reading::Reader;
use crate::support::server::{Kind, Server};

const STRICT: Policy = Policy { lossy: false, now_ms: 0, ahead_ms: 0 };

/// The latest time that Redis lets a field expire at.
const LATEST_OF_REDIS: u64 = (1 << 46) - 1;

type Answer = Result<redis::Value, redis::RedisError>;

fn restore(client: &mut Client, key: &str, payload: &[u8]) -> Answer {
    client.try_call(cmd("RESTORE").arg(key).arg(0).arg(payload).arg("REPLACE"))
}

fn own(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn field(name: &str, expires: Option<u64>) -> Field {
    Field { name: name.into(), value: b"value".to_vec(), expires }
}

/// Almost numbers, numbers of every width, strings around every border of a length.
fn awkward() -> Vec<Vec<u8>> {
    let mut texts = own(&["007", "-0", "+1", " 1", "1 ", "1.0", "", "-", "18446744073709551615"]);
    for bits in [6, 7, 8, 12, 13, 15, 16, 23, 24, 31, 32, 63] {
        let border = 1_i128 << bits;
        for number in [border - 1, border, -border, -border - 1] {
            texts.push(number.to_string().into_bytes());
        }
    }
    let lengths = [62, 63, 64, 65, 126, 127, 128, 253, 254, 255, 4_094, 4_095, 4_096, 8_191, 8_193];
    texts.extend(lengths.map(|length| vec![b'x'; length]));
    texts.extend([16_383, 16_384, 70_000].map(|length| vec![b'y'; length]));
    texts.sort();
    texts.dedup();
    texts
}

fn scores() -> Vec<Scored> {
    let scores = [
        f64::NEG_INFINITY,
        f64::MIN,
        -1e17,
        -0.1,
        -5e-324,
        -0.0,
        5e-324,
        f64::MIN_POSITIVE,
        1e-5,
        0.1 + 0.2,
        1.0 / 3.0,
        9_007_199_254_740_993.0,
        99_999_999_999_999_984.0,
        1e17,
        1.797e308,
        f64::MAX,
        f64::INFINITY,
    ];
    let scored = |(index, score): (usize, f64)| Scored {
        member: format!("member {index}").into_bytes(),
        score,
    };
    scores.into_iter().enumerate().map(scored).collect()
}

/// Entries whose ids jump and whose names change.
fn stream() -> Stream {
    let pair = |(name, value): (&str, &str)| (name.into(), value.into());
    let entry = |ms, seq, fields: &[(&str, &str)]| Entry {
        id: StreamId { ms, seq },
        fields: fields.iter().copied().map(pair).collect(),
    };
    let mut entries = vec![
        entry(0, 1, &[("a", "1"), ("b", "007")]),
        entry(0, u64::MAX, &[("a", "-1"), ("b", "")]),
        entry(1, 0, &[("a", "only one")]),
        entry(1, 1, &[("b", "turned"), ("a", "around")]),
        entry(1, 2, &[("a", "twice"), ("a", "the same")]),
        entry(i64::MAX.unsigned_abs(), 7, &[("a", "1"), ("b", "2")]),
    ];
    let long = "z".repeat(3_000);
    entries.extend((0..5).map(|seq| entry(u64::MAX - 1, seq, &[("long", &long)])));
    entries.extend((0..250).map(|seq| entry(u64::MAX, seq, &[("n", "v"), ("", "12")])));
    let last_id = StreamId { ms: u64::MAX, seq: u64::MAX };
    let counters = Some(Counters { max_deleted: StreamId { ms: 3, seq: 3 }, added: 1_000 });
    Stream { entries, state: StreamState { last_id, counters, ..StreamState::default() } }
}

fn edges() -> Vec<(&'static str, Value)> {
    let zset = |count: usize| {
        let scored = |n: usize| Scored { member: format!("{n:04}").into_bytes(), score: n as f64 };
        Value::SortedSet((0..count).map(scored).collect())
    };
    let hash = |names: Vec<Vec<u8>>| {
        let field = |name: Vec<u8>| Field { value: name.clone(), name, expires: None };
        Value::Hash(names.into_iter().map(field).collect())
    };
    let short = || awkward().into_iter().filter(|text| text.len() <= 64);
    let numbers = |count: i64| (0..count).map(|n| (n * 1_000_003).to_string().into_bytes());
    vec![
        ("list", Value::List(awkward())),
        ("list:long", Value::List(numbers(20_000).collect())),
        ("set", Value::Set(awkward())),
        ("set:short", Value::Set(short().collect())),
        ("set:intset", Value::Set(numbers(512).collect())),
        ("set:numbers", Value::Set(numbers(513).collect())),
        ("hash", hash(awkward())),
        ("hash:short", hash(short().collect())),
        ("hash:128", hash(numbers(128).collect())),
        ("hash:129", hash(numbers(129).collect())),
        ("zset", Value::SortedSet(scores())),
        ("zset:128", zset(128)),
        ("zset:129", zset(129)),
        ("stream", Value::Stream(stream())),
    ]
}

#[test]
fn values_at_every_border_are_taken_by_all() {
    for kind in Kind::ALL {
        let server = Server::start(kind);
        let mut client = server.client(0);
        let learned = learn(&mut client, Some(family(kind)));
        // What is made for older servers, too.
        let older = [6, 7, 9, 10, 11].map(|version| Knowledge::of_version(Family::Redis, version));
        let usable = |of: &&Knowledge| of.versions.highest() <= Some(version(kind));
        for knows in [learned].iter().chain(older.iter().filter(usable)) {
            for (key, value) in edges() {
                let place = format!("{key} for {:?} on {kind:?}", knows.versions.highest());
                let made = match encode(&value, knows, STRICT) {
                    Err(Refusal::NoType("stream")) if !knows.knows(15) => continue,
                    made => made.unwrap_or_else(|error| panic!("{place}: {error}")),
                };
                let answer = restore(&mut client, key, &made.payload);
                answer.unwrap_or_else(|error| panic!("{place}: {error}"));
                let mut reader = Reader::new(&server, 0);
                let content = reader.contents(&[key]).remove(0).expect("a key");
                if let (Value::Stream(mut ours), true) = (value.clone(), made.lost.counters) {
                    // What is lost on the way is said to be.
                    ours.state.counters = None;
                    super::reading::entries(&place, &mut client, key.as_bytes(), &ours);
                } else {
                    super::reading::compare(&place, &mut client, key.as_bytes(), value, content);
                }
            }
        }
    }
}

#[test]
fn the_latest_expiry_of_a_field_is_the_servers_own() {
    let server = Server::start(Kind::Redis82);
    let mut client = server.client(0);
    let redis = Knowledge::of_version(Family::Redis, 12);
    let value = |at| Value::Hash(vec![field("f", Some(at)), field("g", None)]);
    let made = encode(&value(LATEST_OF_REDIS), &redis, STRICT).expect("a payload");
    restore(&mut client, "latest", &made.payload).expect("the latest there is");
    let at: Vec<u64> = client.call(cmd("HPEXPIRETIME").arg("latest").arg(&["FIELDS", "1", "f"]));
    assert_eq!(at, [LATEST_OF_REDIS]);

    assert_eq!(encode(&value(LATEST_OF_REDIS + 1), &redis, STRICT), Err(Refusal::TooLate));
    // The refusal is not too strict: no command can set a later one.
    let mut set = |at: u64| -> Answer {
        let mut command = cmd("HPEXPIREAT");
        client.try_call(command.arg("latest").arg(at).arg(&["FIELDS", "1", "g"]))
    };
    set(LATEST_OF_REDIS).expect("the latest there is");
    let answer = set(LATEST_OF_REDIS + 1);
    assert!(answer.is_err(), "Redis takes it: {answer:?}");
}

#[test]
fn a_field_that_has_expired_is_not_seen_again() {
    for kind in [Kind::Redis82, Kind::Valkey91] {
        let server = Server::start(kind);
        let mut client = server.client(0);
        let knows = learn(&mut client, Some(family(kind)));
        let value = Value::Hash(vec![field("gone", Some(1_000)), field("left", None)]);
        let made = encode(&value, &knows, STRICT).expect("a payload");
        restore(&mut client, "k", &made.payload).expect("it is taken");
        let seen: Vec<Vec<u8>> = client.call(cmd("HKEYS").arg("k"));
        assert_eq!(seen, [b"left".to_vec()], "{kind:?}");

        // Whether a hash of nothing else is taken is the server's to say; none of it is seen.
        let value = Value::Hash(vec![field("gone", Some(1_000))]);
        let made = encode(&value, &knows, STRICT).expect("a payload");
        let answer = restore(&mut client, "gone", &made.payload);
        let seen: Vec<Vec<u8>> = client.call(cmd("HKEYS").arg("gone"));
        assert!(seen.is_empty(), "{kind:?} after {answer:?}");
        assert!(client.get(b"nothing").is_none(), "{kind:?} is gone");
    }
}
