//! Reads a stream's body: nodes first, then counters, groups and, from Redis 8.6 on, producers.

use super::{
    Consumer, Counters, Group, Idempotency, Pending, Producer, StreamId, StreamState, nodes,
};
use crate::payload::kind::{REDIS_STREAM_4, STREAM_2, STREAM_3};
use crate::payload::reader::{Input, Reader};
use crate::payload::visit::Part;
use crate::payload::{PayloadError, Result};

/// A pending entry of a group: id, time, count.
const PENDING_BYTES: usize = 16 + 8 + 1;
/// A pending entry of a consumer: its id.
const ID_BYTES: usize = 16;

/// The most that the names of groups, consumers and producers may take together: these are kept in
/// memory while a stream is read, and compressed names unfold to 88 times their size.
const MOST_NAME_BYTES: usize = 256 * 1024 * 1024;

/// Finds the end of a stream's body.
pub(crate) fn skip<I: Input>(reader: &mut I, byte: u8) -> Result<(), I::Error> {
    for _ in 0..reader.elements(2)? {
        reader.pass_string()?;
        reader.pass_string()?;
    }
    // The length and the last id; then first id, largest deleted id, entries added.
    numbers(reader, if byte >= STREAM_2 { 3 + 5 } else { 3 })?;
    for _ in 0..reader.elements(5)? {
        reader.pass_string()?;
        numbers(reader, if byte >= STREAM_2 { 3 } else { 2 })?;
        for _ in 0..reader.elements(PENDING_BYTES)? {
            reader.pass(16 + 8, "a pending entry")?;
            reader.number()?;
        }
        for _ in 0..reader.elements(10)? {
            reader.pass_string()?;
            reader.pass(if byte >= STREAM_3 { 16 } else { 8 }, "a consumer")?;
            let pending = reader.elements(ID_BYTES)?;
            reader.pass(pending * ID_BYTES as u64, "a pending entry")?;
        }
    }
    if byte >= REDIS_STREAM_4 {
        numbers(reader, 2)?;
        for _ in 0..reader.elements(2)? {
            reader.pass_string()?;
            for _ in 0..reader.elements(3)? {
                reader.pass_string()?;
                numbers(reader, 2)?;
            }
        }
        numbers(reader, 2)?;
    }
    Ok(())
}

fn numbers<I: Input>(reader: &mut I, count: usize) -> Result<(), I::Error> {
    (0..count).try_for_each(|_| reader.number().map(|_| ()))
}

/// Hands out the entries of a stream's body, and its state at the end.
pub(crate) fn visit(
    reader: &mut Reader<'_>,
    byte: u8,
    each: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    let mut count = 0;
    let mut last = None;
    for _ in 0..reader.count(2)? {
        let name = reader.string()?;
        let name: [u8; 16] = name.as_ref().try_into().map_err(|_| {
            PayloadError::Malformed("a stream's node whose name is no id of 16 bytes")
        })?;
        let listpack = reader.string()?;
        let (live, end) = nodes::visit(StreamId::from_bytes(name), &listpack, last, each)?;
        count += live;
        last = end;
    }
    if reader.number()? != count {
        return Err(PayloadError::Malformed("a stream of another length than it says"));
    }
    let last_id = id(reader)?;
    let counters = if byte >= STREAM_2 {
        // The first id is that of the first entry.
        id(reader)?;
        Some(Counters { max_deleted: id(reader)?, added: reader.number()? })
    } else {
        None
    };
    let mut room = MOST_NAME_BYTES;
    let mut groups = Vec::new();
    for _ in 0..reader.count(5)? {
        groups.push(group(reader, byte, &mut room)?);
    }
    let idempotency =
        if byte >= REDIS_STREAM_4 { Some(idempotency(reader, &mut room)?) } else { None };
    each(Part::State(&StreamState { last_id, counters, groups, idempotency }))
}

fn id(reader: &mut Reader<'_>) -> Result<StreamId> {
    Ok(StreamId { ms: reader.number()?, seq: reader.number()? })
}

fn raw_id(reader: &mut Reader<'_>) -> Result<StreamId> {
    reader.array("a pending entry").map(StreamId::from_bytes)
}

/// A name, which takes of the room for them.
fn name(reader: &mut Reader<'_>, room: &mut usize) -> Result<Vec<u8>> {
    let name = reader.string()?;
    *room = room
        .checked_sub(name.len())
        .ok_or(PayloadError::TooLarge("a stream with more than 256 MiB of names"))?;
    Ok(name.into_owned())
}

fn group(reader: &mut Reader<'_>, byte: u8, room: &mut usize) -> Result<Group> {
    let name_of_group = name(reader, room)?;
    let last_id = id(reader)?;
    // "Not known" is −1, written as the largest number.
    let entries_read = if byte >= STREAM_2 { Some(reader.number()?.cast_signed()) } else { None };
    let mut pending = Vec::new();
    for _ in 0..reader.count(PENDING_BYTES)? {
        let id = raw_id(reader)?;
        if pending.last().is_some_and(|last: &Pending| last.id >= id) {
            return Err(PayloadError::Malformed("a group's pending entries out of order"));
        }
        let (delivered, count) = (reader.milliseconds()?, reader.number()?);
        pending.push(Pending { id, consumer: usize::MAX, delivered, count });
    }
    let mut consumers = Vec::new();
    for _ in 0..reader.count(10)? {
        let own = name(reader, room)?;
        consumers.push(consumer(reader, byte, own, consumers.len(), &mut pending)?);
    }
    if pending.iter().any(|entry| entry.consumer == usize::MAX) {
        return Err(PayloadError::Malformed("a pending entry that no consumer owns"));
    }
    Ok(Group { name: name_of_group, last_id, entries_read, consumers, pending })
}

fn consumer(
    reader: &mut Reader<'_>,
    byte: u8,
    name: Vec<u8>,
    place: usize,
    pending: &mut [Pending],
) -> Result<Consumer> {
    let seen = reader.milliseconds()?;
    let active = if byte >= STREAM_3 { Some(reader.milliseconds()?) } else { None };
    for _ in 0..reader.count(ID_BYTES)? {
        let id = raw_id(reader)?;
        let owned = pending.binary_search_by_key(&id, |entry| entry.id).ok();
        match owned.and_then(|found| pending.get_mut(found)) {
            Some(entry) if entry.consumer == usize::MAX => entry.consumer = place,
            _ => return Err(PayloadError::Malformed("a consumer's entry that is not pending")),
        }
    }
    Ok(Consumer { name, seen, active })
}

fn idempotency(reader: &mut Reader<'_>, room: &mut usize) -> Result<Idempotency> {
    let (duration, max_entries) = (reader.number()?, reader.number()?);
    let mut producers = Vec::new();
    for _ in 0..reader.count(2)? {
        let producer = name(reader, room)?;
        let mut sent = Vec::new();
        for _ in 0..reader.count(3)? {
            sent.push((name(reader, room)?, id(reader)?));
        }
        producers.push(Producer { name: producer, sent });
    }
    let (added, duplicates) = (reader.number()?, reader.number()?);
    Ok(Idempotency { duration, max_entries, producers, added, duplicates })
}
