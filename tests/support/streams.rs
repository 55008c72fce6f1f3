//! Streams: filling them with groups and pending entries, reading back all that can be seen.

use std::collections::BTreeMap;

use redis::{Value, cmd};

use super::client::Client;
use super::server::Server;

/// All that the commands show of a stream, except idle times, which run on.
#[derive(Debug, PartialEq)]
pub(crate) struct Stream {
    entries: Vec<(String, Vec<Vec<u8>>)>,
    /// length, last-generated-id, and on both newer sides entries-added and max-deleted-entry-id.
    info: Fields,
    groups: Vec<Group>,
}

type Fields = BTreeMap<String, String>;

#[derive(Debug, PartialEq)]
struct Group {
    info: Fields,
    consumers: Vec<Fields>,
    /// id, consumer, times delivered.
    pending: Vec<(String, String, i64)>,
}

/// Every pending entry of a stream with the time of its delivery, in Unix milliseconds.
#[track_caller]
pub(crate) fn deliveries(server: &Server, key: &str) -> Vec<(String, i64)> {
    let mut ask = cmd("XINFO");
    let told: Value =
        server.client(0).call(ask.arg("STREAM").arg(key).arg("FULL").arg("COUNT").arg(0));
    let mut found = Vec::new();
    collect(&told, &mut found);
    found
}

/// Rows of four, the id first and the time third: the pending entries of groups.
fn collect(value: &Value, found: &mut Vec<(String, i64)>) {
    let Value::Array(parts) = value else { return };
    match &parts[..] {
        [Value::BulkString(id), Value::BulkString(_), Value::Int(time), Value::Int(_)] => {
            found.push((String::from_utf8_lossy(id).into_owned(), *time));
        }
        _ => parts.iter().for_each(|part| collect(part, found)),
    }
}

/// A stream with entries, deletions, two groups, consumers and pending entries; an empty one; a large one.
pub(crate) fn fill(client: &mut Client, db: u32) {
    for number in 1..=20 {
        let mut add = cmd("XADD");
        add.arg("stream:groups").arg(format!("{}-{number}", 1_000 + number));
        client.run(add.arg("n").arg(number).arg("db").arg(db).arg("bytes").arg(b"\xff\0\r\n"));
    }
    client.run(cmd("XDEL").arg("stream:groups").arg("1003-3").arg("1020-20"));
    groups(client);

    let mut empty = cmd("XGROUP");
    empty.arg("CREATE").arg("stream:empty").arg("waiting").arg("$").arg("MKSTREAM");
    client.run(&empty);

    let mut batch = redis::pipe();
    for number in 1..=1_500 {
        let id = format!("{number}-0");
        batch.cmd("XADD").arg("stream:large").arg(id).arg("field").arg(format!("{number} {db}"));
    }
    client.run_all(&batch);
}

fn groups(client: &mut Client) {
    let key = "stream:groups";
    for (group, from) in [("readers", "0"), ("late", "1010-10"), ("idle", "$")] {
        client.run(cmd("XGROUP").arg("CREATE").arg(key).arg(group).arg(from));
    }
    for (group, consumer, count) in
        [("readers", "alice", 6), ("readers", "bob", 4), ("late", "carol", 3)]
    {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(count);
        client.run(read.arg("STREAMS").arg(key).arg(">"));
    }
    client.run(cmd("XACK").arg(key).arg("readers").arg("1001-1").arg("1002-2"));
    // A pending entry that changed hands and was delivered often.
    let mut claim = cmd("XCLAIM");
    claim.arg(key).arg("readers").arg("bob").arg(0).arg("1005-5");
    client.run(claim.arg("RETRYCOUNT").arg(9).arg("IDLE").arg(1_000));
    // Pending, but deleted from the stream itself.
    client.run(cmd("XDEL").arg(key).arg("1006-6"));
    // A consumer that never read anything.
    client.run(cmd("XGROUP").arg("CREATECONSUMER").arg(key).arg("idle").arg("nobody"));
}

/// Reads a stream. `counters`: also those only Redis 7.0 and later know.
pub(crate) fn read(client: &mut Client, key: &[u8], counters: bool) -> Option<Stream> {
    let entries: Vec<(String, Vec<Vec<u8>>)> =
        client.try_call(cmd("XRANGE").arg(key).arg("-").arg("+")).ok()?;
    let info: Value = client.try_call(cmd("XINFO").arg("STREAM").arg(key)).ok()?;
    let groups: Vec<Value> = client.try_call(cmd("XINFO").arg("GROUPS").arg(key)).ok()?;
    let kept: &[&str] = if counters {
        &["length", "last-generated-id", "entries-added", "max-deleted-entry-id"]
    } else {
        &["length", "last-generated-id"]
    };
    let groups = groups.iter().map(|group| read_group(client, key, group, counters)).collect();
    Some(Stream { entries, info: fields(&info, kept), groups })
}

fn read_group(client: &mut Client, key: &[u8], group: &Value, counters: bool) -> Group {
    let kept: &[&str] = if counters {
        &["name", "consumers", "pending", "last-delivered-id", "entries-read"]
    } else {
        &["name", "consumers", "pending", "last-delivered-id"]
    };
    let info = fields(group, kept);
    let name = info["name"].clone();
    let consumers: Vec<Value> = client.call(cmd("XINFO").arg("CONSUMERS").arg(key).arg(&name));
    let mut consumers: Vec<Fields> =
        consumers.iter().map(|consumer| fields(consumer, &["name", "pending"])).collect();
    consumers.sort();
    let mut pending = cmd("XPENDING");
    pending.arg(key).arg(&name).arg("-").arg("+").arg(100_000);
    let pending: Vec<(String, String, i64, i64)> = client.call(&pending);
    let pending = pending.into_iter().map(|(id, owner, _idle, times)| (id, owner, times)).collect();
    Group { info, consumers, pending }
}

/// The wanted fields of a flat name-value reply.
fn fields(reply: &Value, kept: &[&str]) -> Fields {
    let Value::Array(flat) = reply else { return Fields::new() };
    flat.chunks_exact(2)
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}
