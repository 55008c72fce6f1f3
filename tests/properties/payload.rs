//! Values made at random: encoded, read again, damaged.

use keyferry::payload::{
    Consumer, Counters, Entry, Family, Field, Group, Knowledge, Pending, Policy, Scored, Stream,
    StreamId, StreamState, Value, decode, digest, encode, footer,
};

use crate::checks::{payload_decode, reencode, walk};
use crate::random::{Random, seed};

const VALUES: usize = 200;
/// How often each payload is damaged.
const DAMAGES: usize = 20;

#[test]
fn random_values_are_read_as_they_were_made() {
    let mut random = Random::new(seed());
    for _ in 0..VALUES {
        let value = value(&mut random);
        for (writer, target) in [
            ("r|", Knowledge::of_version(Family::Redis, 12)),
            ("v|", Knowledge::of_version(Family::Valkey, 80)),
            ("n|", Knowledge::of_version(Family::Redis, 13)),
            ("|", Knowledge::of_version(Family::Redis, 9)),
        ] {
            let policy = Policy { lossy: true, now_ms: 0, ahead_ms: 0 };
            let made = encode(&value, &target, policy).expect("a payload");
            let back = decode(&made.payload).expect("a value");
            if made.lost.field_expiries == 0 {
                assert_eq!(digest(&back), digest(&value), "{value:?} became {back:?}");
            }
            let (body, _) = footer::split(&made.payload).expect("a footer");
            check([writer.as_bytes(), body].concat(), &mut random);
        }
    }
}

/// The body as it is and damaged through the checks of the fuzz targets.
fn check(input: Vec<u8>, random: &mut Random) {
    reencode::check(&input);
    for _ in 0..DAMAGES {
        let mut damaged = input.clone();
        let at = random.below(damaged.len());
        match random.below(4) {
            0 => damaged.truncate(at),
            1 => drop(damaged.drain(at..damaged.len().min(at + 4))),
            2 => damaged[at] = random.one_of(&[0, 1, 0x7f, 0x80, 0xc3, 0xfe, 0xff]),
            _ => damaged[at] ^= 1 << random.below(8),
        }
        walk::check(&damaged);
        payload_decode::check(&damaged);
    }
    reencode::check(&input[..input.len() - 1]);
}

fn value(random: &mut Random) -> Value {
    match random.below(6) {
        0 => Value::String(text(random)),
        1 => Value::List(some(random, text)),
        2 => Value::Set(distinct(random)),
        3 => {
            let members = distinct(random);
            let scored = |member| Scored { member, score: score(random) };
            Value::SortedSet(members.into_iter().map(scored).collect())
        }
        4 => {
            let expiring = random.below(2) == 0;
            let names = distinct(random);
            let field = |name| Field {
                name,
                value: text(random),
                expires: (expiring && random.below(3) == 0).then(|| random.number() >> 20),
            };
            Value::Hash(names.into_iter().map(field).collect())
        }
        _ => Value::Stream(stream(random)),
    }
}

/// One or more, mostly few.
fn some<T>(random: &mut Random, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
    let most = random.one_of(&[1, 5, 5, 5, 40, 140]);
    (0..=random.below(most)).map(|_| make(random)).collect()
}

fn distinct(random: &mut Random) -> Vec<Vec<u8>> {
    let numbers = random.below(3) == 0;
    let make = |random: &mut Random| if numbers { number(random) } else { text(random) };
    let mut names = some(random, make);
    names.sort();
    names.dedup();
    names
}

fn number(random: &mut Random) -> Vec<u8> {
    let number = random.number().cast_signed() >> random.below(64);
    number.to_string().into_bytes()
}

fn text(random: &mut Random) -> Vec<u8> {
    let lengths = [0, 1, 3, 10, 10, 63, 64, 65, 130, 260, 4_100];
    match random.below(3) {
        0 => number(random),
        1 => {
            random.one_of(&[&b"007"[..], b"-0", b"nan", b"inf", b" 1", b"1e3", b"\xff\0"]).to_vec()
        }
        _ => {
            let mut text = Vec::new();
            let length = random.one_of(&lengths);
            random.bytes(length, &mut text);
            text
        }
    }
}

fn score(random: &mut Random) -> f64 {
    match random.below(3) {
        // A 53-bit number is one exactly.
        0 => (random.number() >> 11) as f64 - 1e15,
        1 => random.one_of(&[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 0.1, 5e-324, 17.0]),
        _ => Some(f64::from_bits(random.number())).filter(|score| !score.is_nan()).unwrap_or(1.5),
    }
}

fn stream(random: &mut Random) -> Stream {
    let mut id = StreamId::default();
    let mut next = |random: &mut Random| {
        if random.below(2) == 0 {
            id.seq += 1 + (random.number() >> 40);
        } else {
            id = StreamId { ms: id.ms + 1 + (random.number() >> 30), seq: random.number() >> 10 };
        }
        id
    };
    let names = distinct(random);
    let entry = |random: &mut Random| {
        let id = next(random);
        let pair = |name: &Vec<u8>| (name.clone(), text(&mut Random::new(id.ms ^ id.seq)));
        let fields: Vec<_> = match random.below(4) {
            0 => some(random, |random| (text(random), text(random))),
            _ => names.iter().map(pair).collect(),
        };
        Entry { id, fields }
    };
    let entries = if random.below(5) == 0 { Vec::new() } else { some(random, entry) };
    let groups = distinct(random).into_iter().take(3).map(|name| group(random, name)).collect();
    let last_id = entries.last().map_or(StreamId { ms: 7, seq: 7 }, |entry| entry.id);
    let max_deleted = StreamId { ms: random.number(), seq: 0 };
    let counters = Some(Counters { max_deleted, added: random.number() });
    Stream { entries, state: StreamState { last_id, counters, groups, idempotency: None } }
}

fn group(random: &mut Random, name: Vec<u8>) -> Group {
    let time = |random: &mut Random| (random.number() >> 20).cast_signed();
    let consumers: Vec<Consumer> = distinct(random)
        .into_iter()
        .map(|name| Consumer { name, seen: time(random), active: Some(-1) })
        .collect();
    let mut ms = 0;
    let pending = some(random, |random| {
        ms += 1 + (random.number() >> 20);
        let id = StreamId { ms, seq: random.number() };
        let consumer = random.below(consumers.len());
        Pending { id, consumer, delivered: time(random), count: random.number() >> 50 }
    });
    let last_id = StreamId { ms, seq: u64::MAX };
    Group { name, last_id, entries_read: Some(-1), consumers, pending }
}
