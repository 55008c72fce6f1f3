//! Builds a whole value in memory from its payload.

use super::kind::{Kind, Type};
use super::reader::Reader;
use super::stream::{Entry, StreamState};
use super::value::{Field, Scored, Stream, Value};
use super::visit::{Pair, Part, visit_body};
use super::{PayloadError, Result, footer, module};

/// The most that one value may take in memory, counted with 40 bytes for each element.
/// Compressed blocks unfold to 88 times their size; this is four times what a server takes at once.
pub const MOST_DECODED_BYTES: usize = 2 * 1024 * 1024 * 1024;

/// What an element costs beside its bytes: a vector and the allocator's share.
const ELEMENT_BYTES: usize = 40;

/// The value of a payload, whose checksum is looked at first.
///
/// # Errors
/// The checksum is wrong, the type is not known, the value is malformed, too large, does not end
/// where the footer begins, or is a module's.
pub fn decode(payload: &[u8]) -> Result<Value> {
    let (body, footer) = footer::check(payload)?;
    decode_body(body, footer.version)
}

/// As [`decode`], for a type byte and body without a footer, written with this RDB version.
///
/// # Errors
/// As [`decode`], without the checksum.
pub fn decode_body(body: &[u8], version: u16) -> Result<Value> {
    let (&byte, rest) = body.split_first().ok_or(PayloadError::Truncated("its type"))?;
    let Some(mut builder) = Builder::new(Type::of(byte, version)?.kind) else {
        return Err(module::opaque(byte, Reader::new(rest)));
    };
    visit_body(body, version, &mut |part| builder.add(part))?;
    Ok(builder.value)
}

struct Builder {
    value: Value,
    room: usize,
}

impl Builder {
    /// `None`: a module's value, of which nothing can be built.
    fn new(kind: Kind) -> Option<Self> {
        let value = match kind {
            Kind::String => Value::String(Vec::new()),
            Kind::List => Value::List(Vec::new()),
            Kind::Set => Value::Set(Vec::new()),
            Kind::SortedSet => Value::SortedSet(Vec::new()),
            Kind::Hash => Value::Hash(Vec::new()),
            Kind::Stream => {
                Value::Stream(Stream { entries: Vec::new(), state: StreamState::default() })
            }
            Kind::Module => return None,
        };
        Some(Self { value, room: MOST_DECODED_BYTES })
    }

    fn add(&mut self, part: Part<'_>) -> Result<()> {
        self.room = self
            .room
            .checked_sub(size(&part))
            .ok_or(PayloadError::TooLarge("decoded it takes more than 2 GiB"))?;
        match (&mut self.value, part) {
            (Value::String(bytes), Part::String(all)) => all.clone_into(bytes),
            (Value::List(items), Part::Item(item)) => items.push(item.to_vec()),
            (Value::Set(members), Part::Member(member)) => members.push(member.to_vec()),
            (Value::SortedSet(members), Part::Scored(member, score)) => {
                members.push(Scored { member: member.to_vec(), score });
            }
            (Value::Hash(fields), Part::Field { name, value, expires }) => {
                fields.push(Field { name: name.to_vec(), value: value.to_vec(), expires });
            }
            (Value::Stream(stream), Part::Entry { id, fields }) => {
                let own = |(name, value): &Pair<'_>| (name.to_vec(), value.to_vec());
                stream.entries.push(Entry { id, fields: fields.iter().map(own).collect() });
            }
            (Value::Stream(stream), Part::State(state)) => state.clone_into(&mut stream.state),
            // A visit hands out only parts of the type that the value begins with.
            _ => return Err(PayloadError::Malformed("a part of another type")),
        }
        Ok(())
    }
}

/// What a part will take in memory, about.
fn size(part: &Part<'_>) -> usize {
    match part {
        Part::String(bytes) | Part::Item(bytes) | Part::Member(bytes) | Part::Scored(bytes, _) => {
            bytes.len() + ELEMENT_BYTES
        }
        Part::Field { name, value, .. } => name.len() + value.len() + 2 * ELEMENT_BYTES,
        Part::Entry { fields, .. } => {
            let pair = |(name, value): &Pair<'_>| name.len() + value.len() + 2 * ELEMENT_BYTES;
            fields.iter().map(pair).sum::<usize>() + ELEMENT_BYTES
        }
        // Its parts lie in the payload one by one: it is bounded by that.
        Part::State(_) => 0,
    }
}

#[cfg(test)]
pub(in crate::payload) mod tests {
    use super::super::{StreamId, digest, digest_payload, walk};
    use super::*;

    /// What five servers answered to DUMP, a line each: server, key, payload in hex.
    const SAMPLES: &str = include_str!("../../tests/payload/samples.txt");

    /// Server, key and payload.
    pub(in crate::payload) fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
        SAMPLES
            .lines()
            .map(|line| {
                let mut words = line.split(' ');
                let mut word = || words.next().unwrap();
                (word(), word(), unhex(word()))
            })
            .collect()
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    fn own(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn hash(fields: &[(&str, &str, Option<u64>)]) -> Value {
        let field = |&(name, value, expires): &(&str, &str, _)| Field {
            name: name.into(),
            value: value.into(),
            expires,
        };
        Value::Hash(fields.iter().map(field).collect())
    }

    /// What was put into the key on every server.
    fn put(key: &str) -> Option<Value> {
        const AT: Option<u64> = Some(4_102_444_800_000);
        const LATER: Option<u64> = Some(4_102_444_800_500);
        let long = |letter: &str, count| letter.repeat(count);
        let (v70, w70, x130, y70, z70) =
            (long("v", 70), long("w", 70), long("x", 130), long("y", 70), long("z", 70));
        let scores = |more: &[(&str, f64)]| {
            let all = [
                ("low", f64::NEG_INFINITY),
                ("half", -1.5),
                ("zero", 0.0),
                ("whole", 17.0),
                ("big", 1e300),
                ("high", f64::INFINITY),
            ];
            let scored = |&(member, score): &(&str, f64)| Scored { member: member.into(), score };
            Value::SortedSet(all.iter().chain(more).map(scored).collect())
        };
        Some(match key {
            "string:text" => Value::String(b"hello".to_vec()),
            "string:int" => Value::String(b"-70000".to_vec()),
            "string:lzf" => Value::String(b"abc".repeat(60)),
            "string:empty" => Value::String(Vec::new()),
            "list:small" => Value::List(own(&["a", "", "1", "-5", "99999999999", "a"])),
            "list:plain" => Value::List(own(&["before", &x130, "after"])),
            "set:int" => Value::Set(own(&["1", "2", "-300"])),
            "set:int32" => Value::Set(own(&["1", "70000"])),
            "set:int64" => Value::Set(own(&["1", "5000000000"])),
            "set:text" => Value::Set(own(&["x", "", "300"])),
            "set:large" => Value::Set(own(&["m0", "m1", "m2", &y70])),
            "hash:small" => hash(&[("f", "v", None), ("", "empty", None), ("n", "12345", None)]),
            "hash:large" => hash(&[("f", &v70, None), ("g", "1", None)]),
            "zset:small" => scores(&[]),
            "zset:large" => scores(&[(&z70, 3.0)]),
            "hash:expiry-small" => hash(&[("f", "1", AT), ("g", "two", LATER), ("h", "3", None)]),
            "hash:expiry-large" => {
                hash(&[("f", "1", AT), ("g", "two", LATER), ("l", &w70, None), ("h", "3", None)])
            }
            _ => return None,
        })
    }

    #[test]
    fn what_servers_dumped_is_what_was_put_there() {
        let samples = samples();
        assert_eq!(samples.len(), 94);
        let mut compared = 0;
        for (server, key, payload) in samples {
            let value = decode(&payload).unwrap_or_else(|error| panic!("{server} {key}: {error}"));
            assert_eq!(walk(&payload), Ok(value.kind()), "{server} {key}");
            assert_eq!(digest_payload(&payload), Ok(digest(&value)), "{server} {key}");
            if let Some(expected) = put(key) {
                assert_eq!(digest(&value), digest(&expected), "{server} {key}: {value:?}");
                compared += 1;
            }
        }
        assert_eq!(compared, 79);
    }

    #[test]
    fn a_stream_is_read_with_its_groups() {
        for (server, _, payload) in samples().iter().filter(|sample| sample.1 == "stream:groups") {
            let Ok(Value::Stream(stream)) = decode(payload) else { panic!("{server}") };
            let ids: Vec<String> = stream.entries.iter().map(|e| e.id.to_string()).collect();
            assert_eq!(ids, ["101-1", "102-2", "104-4", "105-5", "200-0"]);
            let pair = |name: &str, value: &str| (name.into(), value.into());
            assert_eq!(stream.entries[1].fields, [pair("n", "2"), pair("t", "x")]);
            assert_eq!(stream.entries[4].fields, [pair("other", "y")]);
            assert_eq!(stream.state.last_id, StreamId { ms: 200, seq: 0 });
            let group = &stream.state.groups[0];
            assert_eq!((&group.name[..], group.last_id), (&b"g"[..], StreamId { ms: 105, seq: 5 }));
            let names: Vec<&[u8]> = group.consumers.iter().map(|of| &of.name[..]).collect();
            assert_eq!(names, [b"alice".as_slice(), b"bob"]);
            let pending: Vec<(u64, usize, u64)> =
                group.pending.iter().map(|of| (of.id.ms, of.consumer, of.count)).collect();
            assert_eq!(pending, [(102, 0, 1), (104, 1, 1), (105, 1, 1)]);
            let since_2020 = 1_577_836_800_000;
            assert!(group.pending.iter().all(|of| of.delivered > since_2020));
            assert!(group.consumers.iter().all(|of| of.seen > since_2020));
            let counted = *server != "redis62";
            let deleted = Some(StreamId { ms: 103, seq: 3 });
            assert_eq!(stream.state.counters.map(|of| of.max_deleted), deleted.filter(|_| counted));
            assert_eq!(stream.state.counters.map(|of| of.added), Some(6).filter(|_| counted));
            assert_eq!(group.entries_read.is_some(), counted);
            let active = group.consumers[0].active;
            assert_eq!(active.is_some(), counted && *server != "redis70", "{server}");
        }
    }

    /// Types that none of the five servers writes.
    #[test]
    fn other_types_are_read_too() {
        let one = hash(&[("f", "v", None)]);
        let at = hash(&[("f", "v", Some(5_000)), ("g", "w", None)]);
        let list = Value::List(own(&["a", "7"]));
        let scores = Value::SortedSet(vec![
            Scored { member: b"a".to_vec(), score: 3.5 },
            Scored { member: b"b".to_vec(), score: f64::INFINITY },
            Scored { member: b"c".to_vec(), score: f64::NEG_INFINITY },
        ]);
        let cases: [(&[u8], u16, Value); 7] = [
            (b"\x01\x02\x01a\xc0\x07", 6, list.clone()),
            (b"\x0a\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf8\xff", 6, list),
            (b"\x03\x03\x01a\x033.5\x01b\xfe\x01c\xff", 6, scores),
            (b"\x09\x07\x01\x01f\x01\0v\xff", 6, one),
            (b"\x16\x02\x53\x88\x01f\x01v\x00\x01g\x01w", 12, at.clone()),
            (
                b"\x17\x19\x19\0\0\0\x06\0\x81f\x02\x81v\x02\xf1\x88\x13\x03\
                  \x81g\x02\x81w\x02\x00\x01\xff",
                12,
                at.clone(),
            ),
            (b"\x18\x88\x13\0\0\0\0\0\0\x02\x01\x01f\x01v\x00\x01g\x01w", 12, at),
        ];
        for (body, version, expected) in cases {
            let value = decode_body(body, version);
            assert_eq!(value.as_ref(), Ok(&expected), "{}", body.escape_ascii());
        }
        let (nan, not) = (b"\x03\x01\x01a\xfd", decode_body(b"\x03\x01\x01a\x03abc", 6));
        let Ok(Value::SortedSet(members)) = decode_body(nan, 6) else { panic!() };
        assert!(members[0].score.is_nan() && not.is_err());
    }

    #[test]
    fn producers_of_redis_8_6_are_read() {
        let body =
            b"\x1a\0\0\x05\x01\0\0\0\0\x02\0\x40\x64\x40\xc8\x01\x01p\x01\x02i1\x05\x01\x03\x04";
        let Ok(Value::Stream(stream)) = decode_body(body, 13) else { panic!() };
        let kept = stream.state.idempotency.unwrap();
        assert_eq!(
            (kept.duration, kept.max_entries, kept.added, kept.duplicates),
            (100, 200, 3, 4)
        );
        assert_eq!(kept.producers[0].sent, [(b"i1".to_vec(), StreamId { ms: 5, seq: 1 })]);
        assert_eq!(stream.state.counters.unwrap().added, 2);
    }

    #[test]
    fn damage_is_an_error_or_another_value_and_never_a_panic() {
        for (_, _, payload) in samples() {
            let (body, footer) = footer::split(&payload).unwrap();
            for length in 0..body.len() {
                assert!(decode_body(&body[..length], footer.version).is_err());
            }
            let longer = [body, b"\0"].concat();
            assert!(decode_body(&longer, footer.version).is_err());
            for at in 0..body.len() {
                for value in [0, 1, 0x3f, 0x7f, 0x80, 0xc3, 0xfe, 0xff, body[at] ^ 1] {
                    let mut bad = body.to_vec();
                    bad[at] = value;
                    let whole = visit_body(&bad, footer.version, &mut |_| Ok(()));
                    assert_eq!(whole, decode_body(&bad, footer.version).map(|value| value.kind()));
                }
            }
        }
    }
}
