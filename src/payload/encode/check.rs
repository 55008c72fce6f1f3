//! Refuses what no command could have made, and what ends some servers.

use std::collections::HashSet;

use super::Refusal;
use crate::payload::stream::{Group, StreamId};
use crate::payload::value::{Stream, Value};

/// Whether a value may be sent at all.
pub(super) fn sound(value: &Value) -> Result<(), Refusal> {
    // A stream may be empty; a string is one element, however short.
    if value.is_empty() && !matches!(value, Value::Stream(_)) {
        return Err(Refusal::Empty);
    }
    match value {
        Value::String(_) | Value::List(_) => Ok(()),
        Value::Set(members) => different(members.iter().map(Vec::as_slice)),
        Value::SortedSet(members) => {
            if members.iter().any(|scored| scored.score.is_nan()) {
                return Err(Refusal::Nan);
            }
            different(members.iter().map(|scored| scored.member.as_slice()))
        }
        Value::Hash(fields) => different(fields.iter().map(|field| field.name.as_slice())),
        Value::Stream(stream) => sound_stream(stream),
    }
}

fn different<'a>(names: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<(), Refusal> {
    let mut seen = HashSet::with_capacity(names.len());
    for name in names {
        if !seen.insert(name) {
            return Err(Refusal::Duplicate);
        }
    }
    Ok(())
}

fn sound_stream(stream: &Stream) -> Result<(), Refusal> {
    let ids: Vec<StreamId> = stream.entries.iter().map(|entry| entry.id).collect();
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err(Refusal::Stream("its entries are out of order"));
    }
    if ids.last().is_some_and(|last| *last > stream.state.last_id) {
        return Err(Refusal::Stream("its last id is before its last entry"));
    }
    if stream.entries.iter().any(|entry| entry.fields.is_empty()) {
        return Err(Refusal::Stream("an entry has no field"));
    }
    different(stream.state.groups.iter().map(|group| group.name.as_slice()))?;
    stream.state.groups.iter().try_for_each(sound_group)
}

fn sound_group(group: &Group) -> Result<(), Refusal> {
    different(group.consumers.iter().map(|consumer| consumer.name.as_slice()))?;
    if !group.pending.is_sorted_by(|one, next| one.id < next.id) {
        return Err(Refusal::Stream("pending entries are out of order"));
    }
    if group.pending.iter().any(|entry| entry.consumer >= group.consumers.len()) {
        return Err(Refusal::Stream("a pending entry belongs to no consumer"));
    }
    Ok(())
}
