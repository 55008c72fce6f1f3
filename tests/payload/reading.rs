//! What is decoded from a payload is what the server's commands show of the key.

use std::collections::BTreeMap;

use keyferry::payload::{self, decode, digest, digest_payload, footer, walk};
use redis::{FromRedisValue, Value, cmd};

use super::version;
use crate::support::client::Client;
use crate::support::dataset::{DATABASES, fill};
use crate::support::reading::{Content, Reader};
use crate::support::server::{Kind, Server};
use crate::support::shown;

#[test]
fn every_value_of_five_servers_is_what_its_commands_show() {
    for kind in Kind::ALL {
        let server = Server::start(kind);
        fill(&server);
        for db in DATABASES {
            let mut client = server.client(db);
            let mut reader = Reader::new(&server, db);
            let keys: Vec<Vec<u8>> = reader.keys().into_iter().collect();
            let contents = reader.contents(&keys);
            let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
            for (key, content) in keys.iter().zip(contents) {
                let Some(dumped) = client.call::<Option<Vec<u8>>>(cmd("DUMP").arg(key)) else {
                    continue;
                };
                let place = format!("{kind:?}, {}", shown(key));
                let value = read(&place, &dumped, version(kind));
                let Some(content) = content else { continue };
                let name = compare(&place, &mut client, key, value, content);
                *kinds.entry(name).or_default() += 1;
            }
            assert_eq!(kinds.len(), 6, "{kind:?}: {kinds:?}");
            assert!(kinds["string"] > 300 && kinds["stream"] == 3, "{kind:?}: {kinds:?}");
        }
    }
}

/// The payload's footer, its end and its value, with the digest made in both ways.
#[track_caller]
fn read(place: &str, dumped: &[u8], version: u16) -> payload::Value {
    let (_, footer) = footer::check(dumped).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(footer.version, version, "{place}");
    let value = decode(dumped).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(walk(dumped), Ok(value.kind()), "{place}");
    assert_eq!(digest_payload(dumped), Ok(digest(&value)), "{place}");
    value
}

#[track_caller]
pub(super) fn compare(
    place: &str,
    client: &mut Client,
    key: &[u8],
    value: payload::Value,
    content: Content,
) -> &'static str {
    match (value, content) {
        (payload::Value::String(ours), Content::Bytes(theirs)) => {
            assert!(ours == theirs, "{place}");
            "string"
        }
        (payload::Value::List(ours), Content::List(theirs)) => {
            assert!(ours == theirs, "{place}");
            "list"
        }
        (payload::Value::Set(ours), Content::Set(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{place}");
            assert!(ours.iter().all(|member| theirs.contains(member)), "{place}");
            "set"
        }
        (payload::Value::SortedSet(mut ours), Content::SortedSet(theirs)) => {
            ours.sort_by(|one, other| {
                one.score.total_cmp(&other.score).then_with(|| one.member.cmp(&other.member))
            });
            let ours: Vec<_> = ours.into_iter().map(|of| (of.member, of.score.to_bits())).collect();
            assert!(ours == theirs, "{place}");
            "zset"
        }
        (payload::Value::Hash(ours), Content::Hash(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{place}");
            for field in ours {
                let at = field.expires.map_or(-1, |at| i64::try_from(at).expect("a time"));
                assert_eq!(theirs.get(&field.name), Some(&(field.value, at)), "{place}");
            }
            "hash"
        }
        (payload::Value::Stream(ours), Content::Stream(_)) => {
            compare_stream(place, client, key, &ours);
            "stream"
        }
        (ours, theirs) => panic!("{place}: {ours:?} is not {theirs:?}"),
    }
}

/// `XINFO STREAM FULL` shows all that a stream is.
#[track_caller]
fn compare_stream(place: &str, client: &mut Client, key: &[u8], ours: &payload::Stream) {
    let shown: Value =
        client.call(cmd("XINFO").arg("STREAM").arg(key).arg(&["FULL", "COUNT", "0"]));
    let shown = Map::of(&shown);
    compare_entries(place, ours, &shown);
    let counters = ours.state.counters.map(|of| (of.max_deleted.to_string(), of.added));
    let told = shown
        .has("entries-added")
        .then(|| (shown.get::<String>("max-deleted-entry-id"), shown.get::<u64>("entries-added")));
    assert_eq!(counters, told, "{place}");

    let groups: Vec<Value> = shown.get("groups");
    assert_eq!(ours.state.groups.len(), groups.len(), "{place}");
    for (group, shown) in ours.state.groups.iter().zip(&groups) {
        compare_group(place, group, &Map::of(shown));
    }
}

/// Only the entries and the last id: what every version keeps.
#[track_caller]
pub(super) fn entries(place: &str, client: &mut Client, key: &[u8], ours: &payload::Stream) {
    let shown: Value =
        client.call(cmd("XINFO").arg("STREAM").arg(key).arg(&["FULL", "COUNT", "0"]));
    compare_entries(place, ours, &Map::of(&shown));
}

#[track_caller]
fn compare_entries(place: &str, ours: &payload::Stream, shown: &Map) {
    let entries: Vec<(String, Vec<Vec<u8>>)> = shown.get("entries");
    let flat = |entry: &payload::Entry| {
        let pairs = entry.fields.iter();
        (entry.id.to_string(), pairs.flat_map(|(n, v)| [n.clone(), v.clone()]).collect())
    };
    assert_eq!(ours.entries.iter().map(flat).collect::<Vec<_>>(), entries, "{place}");
    assert_eq!(ours.state.last_id.to_string(), shown.get::<String>("last-generated-id"), "{place}");
}

#[track_caller]
fn compare_group(place: &str, ours: &payload::Group, shown: &Map) {
    assert_eq!(ours.name, shown.get::<Vec<u8>>("name"), "{place}");
    assert_eq!(ours.last_id.to_string(), shown.get::<String>("last-delivered-id"), "{place}");
    if shown.has("entries-read") {
        let read: Option<i64> = shown.get("entries-read");
        assert_eq!(ours.entries_read, Some(read.unwrap_or(-1)), "{place}");
    }
    // It is called otherwise by newer servers.
    let name = if shown.has("pel") { "pel" } else { "pending" };
    let pending: Vec<(String, Vec<u8>, i64, u64)> = shown.get(name);
    let told: Vec<(String, Vec<u8>, i64, u64)> = ours
        .pending
        .iter()
        .map(|of| {
            let owner = ours.consumers[of.consumer].name.clone();
            (of.id.to_string(), owner, of.delivered, of.count)
        })
        .collect();
    assert_eq!(told, pending, "{place}");

    let consumers: Vec<Value> = shown.get("consumers");
    assert_eq!(ours.consumers.len(), consumers.len(), "{place}");
    for (consumer, shown) in ours.consumers.iter().zip(&consumers) {
        let shown = Map::of(shown);
        assert_eq!(consumer.name, shown.get::<Vec<u8>>("name"), "{place}");
        assert_eq!(consumer.seen, shown.get::<i64>("seen-time"), "{place}");
        if shown.has("active-time") {
            assert_eq!(consumer.active, Some(shown.get::<i64>("active-time")), "{place}");
        }
    }
}

/// A flat reply of names and values.
struct Map(BTreeMap<String, Value>);

impl Map {
    #[track_caller]
    fn of(reply: &Value) -> Self {
        let Value::Array(flat) = reply else { panic!("{reply:?} is no array") };
        let name = |value: &Value| String::from_redis_value(value.clone()).expect("a name");
        Self(flat.chunks_exact(2).map(|pair| (name(&pair[0]), pair[1].clone())).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    #[track_caller]
    fn get<T: FromRedisValue>(&self, name: &str) -> T {
        let value = self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0.keys()));
        T::from_redis_value(value.clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}
