//! Reading keys of one database back, in batches, through the type commands.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, FromRedisValue, Value, cmd};

use super::client::Client;
use super::now_ms;
use super::server::Server;
use super::streams::{self, Stream};

/// Enough keys for few round trips, few enough for expiries by `PTTL` to be exact to a millisecond or two.
pub(crate) const BATCH: usize = 200;

/// What a key holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    Bytes(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    /// Field, value, and when the field expires: a number below zero for never.
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, i64)>),
    /// In order, with the bits of each score: versions print the same number with different digits.
    SortedSet(Vec<(Vec<u8>, u64)>),
    Stream(Stream),
    /// A type these tests do not know.
    Other(String),
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Missing,
    Never,
    /// Milliseconds since 1970.
    At(i64),
}

/// One database being read.
pub(crate) struct Reader {
    client: Client,
    /// Does the server tell when a key ends, and not only in how long?
    pub(crate) absolute: bool,
    /// Does the server know expiries of hash fields, and counters of streams?
    pub(crate) field_expiry: bool,
    pub(crate) stream_counters: bool,
}

impl Reader {
    /// Opens a database and asks what its server can.
    #[track_caller]
    pub(crate) fn new(server: &Server, db: u32) -> Self {
        let mut client = server.client(db);
        let mut knows = |name: &str| -> bool {
            let reply: Vec<Value> = client.call(cmd("COMMAND").arg("INFO").arg(name));
            matches!(reply.first(), Some(Value::Array(entry)) if !entry.is_empty())
        };
        let absolute = knows("PEXPIRETIME");
        let field_expiry = knows("HPEXPIRETIME");
        Self { absolute, field_expiry, stream_counters: absolute, client }
    }

    /// All keys, by `SCAN`.
    pub(crate) fn keys(&mut self) -> BTreeSet<Vec<u8>> {
        let mut keys = BTreeSet::new();
        let mut cursor = String::from("0");
        loop {
            let mut scan = cmd("SCAN");
            let (next, page): (String, Vec<Vec<u8>>) =
                self.client.call(scan.arg(&cursor).arg("COUNT").arg(1_000));
            keys.extend(page);
            if next == "0" {
                return keys;
            }
            cursor = next;
        }
    }

    /// Is the key there at this moment?
    pub(crate) fn exists(&mut self, key: &[u8]) -> bool {
        self.client.exists(key)
    }

    /// The expiries of some keys.
    pub(crate) fn expiries<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Vec<Expiry> {
        let name = if self.absolute { "PEXPIRETIME" } else { "PTTL" };
        let mut found = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let mut asked = redis::pipe();
            for key in batch {
                asked.cmd(name).arg(key.as_ref());
            }
            let before = now_ms();
            let replies: Vec<i64> = self.all(&asked);
            let middle = before.midpoint(now_ms());
            let origin = if self.absolute { 0 } else { middle };
            found.extend(replies.into_iter().map(|reply| match reply {
                -2 => Expiry::Missing,
                -1 => Expiry::Never,
                at => Expiry::At(origin + at),
            }));
        }
        found
    }

    /// What some keys hold; `None` for one that is not there.
    pub(crate) fn contents<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Vec<Option<Content>> {
        keys.chunks(BATCH).flat_map(|batch| self.batch(batch)).collect()
    }

    fn batch<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Vec<Option<Content>> {
        let mut types = redis::pipe();
        for key in keys {
            types.cmd("TYPE").arg(key.as_ref());
        }
        let types: Vec<String> = self.all(&types);
        let mut values = redis::pipe();
        for (key, kind) in keys.iter().zip(&types) {
            values.add_command(read_command(key.as_ref(), kind));
        }
        let values: Vec<Value> = self.all(&values);
        let mut contents = Vec::with_capacity(keys.len());
        for ((key, kind), value) in keys.iter().zip(&types).zip(values) {
            contents.push(self.content(key.as_ref(), kind, value));
        }
        contents
    }

    fn content(&mut self, key: &[u8], kind: &str, value: Value) -> Option<Content> {
        Some(match kind {
            "none" => return None,
            "string" => Content::Bytes(into::<Option<Vec<u8>>>(value)?),
            "list" => Content::List(into(value)),
            "set" => Content::Set(into(value)),
            "hash" => Content::Hash(self.with_field_expiries(key, into(value))),
            "zset" => Content::SortedSet(scores(into(value))),
            "stream" => {
                Content::Stream(streams::read(&mut self.client, key, self.stream_counters)?)
            }
            other => Content::Other(other.to_owned()),
        })
    }

    fn with_field_expiries(
        &mut self,
        key: &[u8],
        fields: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> BTreeMap<Vec<u8>, (Vec<u8>, i64)> {
        let names: Vec<&Vec<u8>> = fields.keys().collect();
        let mut ask = cmd("HPEXPIRETIME");
        ask.arg(key).arg("FIELDS").arg(names.len()).arg(&names);
        let expiries: Vec<i64> = match self.field_expiry && !names.is_empty() {
            // The key may have expired since; the caller looks again.
            true => self.client.try_call(&ask).unwrap_or_default(),
            false => Vec::new(),
        };
        let expiries = expiries.into_iter().chain(std::iter::repeat(-1));
        fields.into_iter().zip(expiries).map(|((name, value), at)| (name, (value, at))).collect()
    }

    #[track_caller]
    fn all<T: FromRedisValue>(&mut self, commands: &redis::Pipeline) -> Vec<T> {
        self.client.call_all(commands)
    }
}

fn scores(printed: Vec<(Vec<u8>, String)>) -> Vec<(Vec<u8>, u64)> {
    let bits = |text: String| match text.parse::<f64>() {
        Ok(score) => score.to_bits(),
        Err(error) => panic!("a score of {text:?}: {error}"),
    };
    printed.into_iter().map(|(member, score)| (member, bits(score))).collect()
}

/// The one command that reads a whole value of this type.
fn read_command(key: &[u8], kind: &str) -> Cmd {
    let mut command = match kind {
        "string" => cmd("GET"),
        "list" => cmd("LRANGE"),
        "set" => cmd("SMEMBERS"),
        "hash" => cmd("HGETALL"),
        "zset" => cmd("ZRANGE"),
        // Read later, or not at all: something harmless keeps replies and keys in step.
        _ => cmd("EXISTS"),
    };
    command.arg(key);
    match kind {
        "list" => command.arg(0).arg(-1),
        "zset" => command.arg(0).arg(-1).arg("WITHSCORES"),
        _ => &mut command,
    };
    command
}

#[track_caller]
fn into<T: FromRedisValue>(value: Value) -> T {
    T::from_redis_value(value).unwrap_or_else(|error| panic!("an odd reply: {error}"))
}
