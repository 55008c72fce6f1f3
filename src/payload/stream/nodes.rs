//! A stream's nodes: listpacks of up to a hundred entries that share the first one's field names.
//!
//! `count deleted n name… 0`, the master entry, then for each entry `flags ms seq`, where ms and seq
//! are counted from the node's id, then `value…` if it has the master's names, else
//! `n (name value)…`, and at last how many elements that were, for walks from behind.

use super::{Entry, StreamId};
use crate::payload::packed::{self, Listpack, ListpackWriter};
use crate::payload::visit::{Pair, Part};
use crate::payload::{PayloadError, Result};

/// The entry is deleted and only its room is left.
const DELETED: i64 = 1;
/// It has the names of the master entry.
const SAME_NAMES: i64 = 2;

/// A node is full at the servers' own measure (`stream-node-max-entries`, `stream-node-max-bytes`).
const MOST_ENTRIES: usize = 100;
const MOST_BYTES: usize = 4096;

/// Hands out the entries of one node; returns how many there were and the id of the last one.
pub(super) fn visit(
    node: StreamId,
    listpack: &[u8],
    after: Option<StreamId>,
    each: &mut dyn FnMut(Part<'_>) -> Result<()>,
) -> Result<(u64, Option<StreamId>)> {
    let mut items = Listpack::new(listpack)?;
    let number = |items: &mut Listpack<'_>| packed::expect(items)?.number();
    let (live, deleted) = (number(&mut items)?, number(&mut items)?);
    let mut names = Vec::new();
    for _ in 0..number(&mut items)? {
        names.push(packed::expect(&mut items)?);
    }
    if number(&mut items)? != 0 {
        return Err(PayloadError::Malformed("a stream's node without the end of its names"));
    }
    let mut found = (0, 0);
    let mut last = after;
    while let Some(flags) = items.next() {
        let flags = flags?.number()?;
        let id = id_after(node, number(&mut items)?, number(&mut items)?);
        let mut elements = 3;
        let mut fields: Vec<Pair<'_>> = Vec::new();
        if flags & SAME_NAMES != 0 {
            for name in &names {
                fields.push((name.text(), packed::expect(&mut items)?.text()));
            }
            elements += fields.len();
        } else {
            for _ in 0..number(&mut items)? {
                let name = packed::expect(&mut items)?.text();
                fields.push((name, packed::expect(&mut items)?.text()));
            }
            elements += 2 * fields.len() + 1;
        }
        if usize::try_from(number(&mut items)?) != Ok(elements) {
            return Err(PayloadError::Malformed("a stream that reads otherwise from behind"));
        }
        if last.is_some_and(|last| last >= id) {
            return Err(PayloadError::Malformed("a stream whose entries are out of order"));
        }
        last = Some(id);
        if flags & DELETED == 0 {
            found.0 += 1;
            each(Part::Entry { id, fields: &fields })?;
        } else {
            found.1 += 1;
        }
    }
    if found != (live, deleted) {
        return Err(PayloadError::Malformed("a stream's node of another count than it says"));
    }
    Ok((u64::try_from(live).unwrap_or(0), last))
}

/// The differences are signed, and wrap around as they do on servers.
fn id_after(node: StreamId, ms: i64, seq: i64) -> StreamId {
    StreamId { ms: node.ms.wrapping_add_signed(ms), seq: node.seq.wrapping_add_signed(seq) }
}

/// Lays entries, whose ids grow, into nodes.
pub(super) fn write(entries: &[Entry]) -> Vec<(StreamId, Vec<u8>)> {
    let mut nodes = Vec::new();
    let mut left = entries;
    while let Some(master) = left.first() {
        let count = fitting(left);
        let (node, rest) = left.split_at(count);
        nodes.push((master.id, write_node(master, node)));
        left = rest;
    }
    nodes
}

/// How many of the entries go into the next node: one at least.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len();
        bytes += entry.fields.iter().map(size).sum::<usize>();
        bytes <= MOST_BYTES
    };
    entries.iter().take(MOST_ENTRIES).take_while(fits).count().max(1)
}

fn write_node(master: &Entry, entries: &[Entry]) -> Vec<u8> {
    let mut out = ListpackWriter::default();
    let number = |out: &mut ListpackWriter, count: usize| {
        // A count in memory is below 2^63.
        out.push_integer(count as i64);
    };
    number(&mut out, entries.len());
    number(&mut out, 0);
    number(&mut out, master.fields.len());
    master.fields.iter().for_each(|(name, _)| out.push(name));
    number(&mut out, 0);
    for entry in entries {
        let names = |entry: &Entry| entry.fields.len();
        let same = names(entry) == names(master)
            && entry.fields.iter().zip(&master.fields).all(|(one, other)| one.0 == other.0);
        out.push_integer(if same { SAME_NAMES } else { 0 });
        out.push_integer(entry.id.ms.wrapping_sub(master.id.ms).cast_signed());
        out.push_integer(entry.id.seq.wrapping_sub(master.id.seq).cast_signed());
        if same {
            entry.fields.iter().for_each(|(_, value)| out.push(value));
            number(&mut out, entry.fields.len() + 3);
        } else {
            number(&mut out, entry.fields.len());
            for (name, value) in &entry.fields {
                out.push(name);
                out.push(value);
            }
            number(&mut out, 2 * entry.fields.len() + 4);
        }
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, seq: u64, fields: &[(&str, &str)]) -> Entry {
        let own = |text: &str| text.as_bytes().to_vec();
        let fields = fields.iter().map(|(name, value)| (own(name), own(value))).collect();
        Entry { id: StreamId { ms, seq }, fields }
    }

    fn read(nodes: &[(StreamId, Vec<u8>)]) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut last = None;
        for (node, listpack) in nodes {
            let mut keep = |part: Part<'_>| {
                if let Part::Entry { id, fields } = part {
                    let own = fields.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
                    entries.push(Entry { id, fields: own });
                }
                Ok(())
            };
            last = visit(*node, listpack, last, &mut keep)?.1;
        }
        Ok(entries)
    }

    #[test]
    fn entries_of_equal_and_other_names_come_back() {
        let entries = vec![
            entry(5, 9, &[("a", "1"), ("b", "text")]),
            entry(5, 10, &[("a", "-7"), ("b", "")]),
            entry(6, 0, &[("other", "x")]),
            entry(u64::MAX, u64::MAX, &[("a", "1"), ("a", "2")]),
        ];
        let nodes = write(&entries);
        assert_eq!(nodes.len(), 1);
        assert_eq!(read(&nodes).unwrap(), entries);
    }

    #[test]
    fn nodes_end_where_servers_end_them() {
        let many: Vec<Entry> = (1..=250).map(|n| entry(n, 0, &[("n", "v")])).collect();
        let nodes = write(&many);
        assert_eq!(nodes.len(), 3);
        assert_eq!(read(&nodes).unwrap(), many);
        let long = "x".repeat(3000);
        let large: Vec<Entry> = (1..=5).map(|n| entry(n, 0, &[("n", &long)])).collect();
        assert_eq!(write(&large).len(), 5);
        assert!(write(&[]).is_empty());
    }

    #[test]
    fn deleted_entries_are_passed_over_and_damage_is_an_error() {
        let lay = |numbers: &[i64]| {
            let mut out = ListpackWriter::default();
            numbers.iter().for_each(|number| out.push_integer(*number));
            vec![(StreamId { ms: 1, seq: 0 }, out.finish())]
        };
        // One live, one deleted, one name (7); each with the master's name and a value (8).
        let good = [1, 1, 1, 7, 0, 3, 0, 0, 8, 4, 2, 1, 0, 8, 4];
        let entries = read(&lay(&good)).unwrap();
        assert_eq!(entries, [entry(2, 0, &[("7", "8")])]);
        for (at, value) in [(0, 2), (1, 0), (4, 1), (5, 2), (9, 5), (11, 0), (2, 90)] {
            let mut bad = good;
            bad[at] = value;
            assert!(read(&lay(&bad)).is_err(), "element {at} as {value}");
        }
        for length in [0, 3, 5, 6, 8, 9, 14] {
            assert!(read(&lay(&good[..length])).is_err(), "cut to {length}");
        }
    }
}
