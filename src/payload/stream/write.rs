//! Writes a stream's body as one of its types.

use super::{Group, Idempotency, StreamId, nodes};
use crate::payload::kind::{REDIS_STREAM_4, STREAM_2, STREAM_3};
use crate::payload::value::Stream;
use crate::payload::writer::{count, number, string};

/// Appends the body of a stream as type `byte`. What that type has no room for is left out, what it
/// has room for and the stream does not tell is written as servers fill it in themselves.
pub(crate) fn write(out: &mut Vec<u8>, stream: &Stream, byte: u8) {
    let nodes = nodes::write(&stream.entries);
    count(out, nodes.len());
    for (name, listpack) in &nodes {
        string(out, &name.to_bytes());
        string(out, listpack);
    }
    let state = &stream.state;
    count(out, stream.entries.len());
    id(out, state.last_id);
    if byte >= STREAM_2 {
        let counters = state.counters.unwrap_or_default();
        id(out, stream.entries.first().map(|entry| entry.id).unwrap_or_default());
        id(out, counters.max_deleted);
        // It cannot have had fewer entries than it has.
        number(out, counters.added.max(stream.entries.len() as u64));
    }
    count(out, state.groups.len());
    for of in &state.groups {
        group(out, of, byte);
    }
    if byte >= REDIS_STREAM_4 {
        idempotency(out, &state.idempotency.clone().unwrap_or_default());
    }
}

fn id(out: &mut Vec<u8>, id: StreamId) {
    number(out, id.ms);
    number(out, id.seq);
}

fn group(out: &mut Vec<u8>, group: &Group, byte: u8) {
    string(out, &group.name);
    id(out, group.last_id);
    if byte >= STREAM_2 {
        number(out, group.entries_read.unwrap_or(-1).cast_unsigned());
    }
    count(out, group.pending.len());
    for entry in &group.pending {
        out.extend_from_slice(&entry.id.to_bytes());
        out.extend_from_slice(&entry.delivered.to_le_bytes());
        number(out, entry.count);
    }
    let mut own = vec![Vec::new(); group.consumers.len()];
    for entry in &group.pending {
        if let Some(ids) = own.get_mut(entry.consumer) {
            ids.push(entry.id);
        }
    }
    count(out, group.consumers.len());
    for (place, consumer) in group.consumers.iter().enumerate() {
        string(out, &consumer.name);
        out.extend_from_slice(&consumer.seen.to_le_bytes());
        if byte >= STREAM_3 {
            // Servers that read an older type take "seen" for it.
            out.extend_from_slice(&consumer.active.unwrap_or(consumer.seen).to_le_bytes());
        }
        let ids = own.get(place).map(Vec::as_slice).unwrap_or_default();
        count(out, ids.len());
        ids.iter().for_each(|id| out.extend_from_slice(&id.to_bytes()));
    }
}

fn idempotency(out: &mut Vec<u8>, kept: &Idempotency) {
    number(out, kept.duration);
    number(out, kept.max_entries);
    count(out, kept.producers.len());
    for producer in &kept.producers {
        string(out, &producer.name);
        count(out, producer.sent.len());
        for (name, entry) in &producer.sent {
            string(out, name);
            id(out, *entry);
        }
    }
    number(out, kept.added);
    number(out, kept.duplicates);
}
