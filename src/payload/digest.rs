//! A digest of what a value means: the same on two servers that keep it in different ways.
//!
//! Sets, sorted sets, hashes and a stream's groups are without order: their elements' digests are
//! added up. What only some versions keep is left out: a stream's counters, when consumers were
//! seen, what producers sent. The expiries of fields and the bits of scores belong to it.
//!
//! The hash (SipHash-1-3, 128 bits) has no secret key: it finds what went wrong, not who meant it to.

use std::borrow::Cow;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::kind::Kind;
use super::stream::{Entry, Group, StreamId, StreamState};
use super::value::{Field, Value};
use super::visit::{Part, visit};
use super::{Result, footer};

/// The digest of a value in memory.
pub fn digest(value: &Value) -> u128 {
    let mut digester = Digester::new();
    match value {
        Value::String(bytes) => digester.add(&Part::String(bytes)),
        Value::List(items) => items.iter().for_each(|item| digester.add(&Part::Item(item))),
        Value::Set(members) => {
            members.iter().for_each(|member| digester.add(&Part::Member(member)));
        }
        Value::SortedSet(members) => {
            members.iter().for_each(|of| digester.add(&Part::Scored(&of.member, of.score)));
        }
        Value::Hash(fields) => fields.iter().for_each(|field| {
            let Field { name, value, expires } = field;
            digester.add(&Part::Field { name, value, expires: *expires });
        }),
        Value::Stream(stream) => {
            for Entry { id, fields } in &stream.entries {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, value)| (Cow::Borrowed(&name[..]), Cow::Borrowed(&value[..])))
                    .collect();
                digester.add(&Part::Entry { id: *id, fields: &fields });
            }
            digester.add(&Part::State(&stream.state));
        }
    }
    digester.finish(value.kind())
}

/// The digest of a payload's value, which is read part by part and not built. The checksum is looked
/// at first.
///
/// # Errors
/// As [`super::decode`].
pub fn digest_payload(payload: &[u8]) -> Result<u128> {
    footer::check(payload)?;
    let mut digester = Digester::new();
    let kind = visit(payload, &mut |part| {
        digester.add(&part);
        Ok(())
    })?;
    Ok(digester.finish(kind))
}

/// Whether two payloads mean the same value, in whatever way their servers keep it; `false` too where
/// one of them cannot be read.
pub fn same_meaning(one: &[u8], other: &[u8]) -> bool {
    digest_payload(one).is_ok_and(|digest| digest_payload(other) == Ok(digest))
}

pub(super) struct Digester {
    /// What has an order: a list's items, a stream's entries.
    ordered: SipHasher13,
    /// The sum of what has none.
    unordered: u128,
    count: u64,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self { ordered: SipHasher13::new(), unordered: 0, count: 0 }
    }

    pub(super) fn add(&mut self, part: &Part<'_>) {
        self.count += 1;
        match part {
            Part::String(bytes) | Part::Item(bytes) => put(&mut self.ordered, bytes),
            Part::Member(member) => self.sum(|hasher| put(hasher, member)),
            Part::Scored(member, score) => self.sum(|hasher| {
                put(hasher, member);
                hasher.write_u64(score.to_bits());
            }),
            Part::Field { name, value, expires } => self.sum(|hasher| {
                put(hasher, name);
                put(hasher, value);
                // No expiry is told from every possible one.
                hasher.write_u8(u8::from(expires.is_some()));
                hasher.write_u64(expires.unwrap_or(0));
            }),
            Part::Entry { id, fields } => {
                put_id(&mut self.ordered, *id);
                self.ordered.write_u64(fields.len() as u64);
                for (name, value) in *fields {
                    put(&mut self.ordered, name);
                    put(&mut self.ordered, value);
                }
            }
            Part::State(state) => self.state(state),
        }
    }

    fn state(&mut self, state: &StreamState) {
        put_id(&mut self.ordered, state.last_id);
        for of in &state.groups {
            self.sum(|hasher| group(hasher, of));
        }
    }

    fn sum(&mut self, put: impl FnOnce(&mut SipHasher13)) {
        self.unordered = self.unordered.wrapping_add(of(put));
    }

    pub(super) fn finish(mut self, kind: Kind) -> u128 {
        self.ordered.write_u8(match kind {
            Kind::String => 0,
            Kind::List => 1,
            Kind::Set => 2,
            Kind::SortedSet => 3,
            Kind::Hash => 4,
            Kind::Stream => 5,
            Kind::Module => 6,
        });
        self.ordered.write_u64(self.count);
        self.ordered.write(&self.unordered.to_le_bytes());
        self.ordered.finish128().as_u128()
    }
}

fn group(hasher: &mut SipHasher13, group: &Group) {
    put(hasher, &group.name);
    put_id(hasher, group.last_id);
    let consumers = group.consumers.iter().map(|consumer| of(|hasher| put(hasher, &consumer.name)));
    let consumers = consumers.fold(0, u128::wrapping_add);
    hasher.write(&consumers.to_le_bytes());
    hasher.write_u64(group.pending.len() as u64);
    for entry in &group.pending {
        put_id(hasher, entry.id);
        let owner = group.consumers.get(entry.consumer);
        put(hasher, owner.map(|owner| owner.name.as_slice()).unwrap_or_default());
        hasher.write(&entry.delivered.to_le_bytes());
        hasher.write_u64(entry.count);
    }
}

/// The hash of a few things by themselves.
fn of(put: impl FnOnce(&mut SipHasher13)) -> u128 {
    let mut hasher = SipHasher13::new();
    put(&mut hasher);
    hasher.finish128().as_u128()
}

/// Bytes with their length before them, so that two strings are not taken for two others.
pub(super) fn put(hasher: &mut SipHasher13, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.write(bytes);
}

fn put_id(hasher: &mut SipHasher13, id: StreamId) {
    hasher.write(&id.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::value::Scored;
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn order_counts_where_it_means_something() {
        let (ab, ba) = (texts(&["a", "b"]), texts(&["b", "a"]));
        assert_eq!(digest(&Value::Set(ab.clone())), digest(&Value::Set(ba.clone())));
        assert_ne!(digest(&Value::List(ab.clone())), digest(&Value::List(ba)));
        assert_ne!(digest(&Value::List(ab.clone())), digest(&Value::Set(ab)));
    }

    #[test]
    fn every_difference_shows() {
        let field = |name: &str, value: &str, expires| Field {
            name: name.into(),
            value: value.into(),
            expires,
        };
        let scored =
            |member: &str, score| Value::SortedSet(vec![Scored { member: member.into(), score }]);
        let values = [
            Value::String(Vec::new()),
            Value::String(b"a".to_vec()),
            Value::List(texts(&["a"])),
            Value::List(texts(&["ab", "c"])),
            Value::List(texts(&["a", "bc"])),
            Value::Set(texts(&["a", "a"])),
            Value::Set(Vec::new()),
            Value::Hash(vec![field("f", "v", None)]),
            Value::Hash(vec![field("f", "v", Some(0))]),
            Value::Hash(vec![field("f", "v", Some(1))]),
            Value::Hash(vec![field("fv", "", None)]),
            Value::Hash(vec![field("v", "f", None)]),
            scored("a", 0.0),
            scored("a", -0.0),
            scored("a", f64::MIN_POSITIVE),
        ];
        for (index, value) in values.iter().enumerate() {
            for other in values.iter().skip(index + 1) {
                assert_ne!(digest(value), digest(other), "{value:?} and {other:?}");
            }
        }
    }

    #[test]
    fn it_is_the_same_number_for_ever() {
        // Digests may be kept in files: a change of this number is a change of their format.
        assert_eq!(
            digest(&Value::List(texts(&["a", "b"]))),
            0xa317_fd71_5a69_66a8_d737_f0b8_518a_455f
        );
    }
}
