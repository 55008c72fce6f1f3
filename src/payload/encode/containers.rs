//! Strings, lists, sets, sorted sets and hashes as the types that a target knows.

use super::{Refusal, word};
use crate::payload::kind::{self, Kind};
use crate::payload::knowledge::Knowledge;
use crate::payload::packed::{self, ListpackWriter, ZiplistWriter, write_intset};
use crate::payload::value::{Field, Scored};
use crate::payload::writer;

/// A container is small up to so many elements of so many bytes: the servers' own defaults
/// (`*-max-listpack-entries`, `*-max-listpack-value`). A server that is set up otherwise converts.
const SMALL_ELEMENTS: usize = 128;
const SMALL_BYTES: usize = 64;

/// Sets of integers are kept as such up to this size (`set-max-intset-entries`).
const SMALL_INTSET: usize = 512;

/// A node of a list is full at this size (`list-max-listpack-size -2`).
const NODE_BYTES: usize = 8 * 1024;

/// Longer items of a list become a node of their own where that is known.
const PLAIN_BYTES: usize = NODE_BYTES;

/// An older list with a longer item is written without nodes: its length must fit a node's header.
const LONGEST_IN_NODE: usize = 1024 * 1024 * 1024;

const PLAIN_NODE: u64 = 1;
const PACKED_NODE: u64 = 2;

/// The first of these types that the target knows, to begin a body with.
fn begin(of: Kind, types: &[u8], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let known = types.iter().find(|byte| target.knows(**byte));
    known.map(|byte| vec![*byte]).ok_or_else(|| Refusal::NoType(word(of)))
}

pub(super) fn string(bytes: &[u8], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let mut out = begin(Kind::String, &[kind::STRING], target)?;
    writer::string(&mut out, bytes);
    Ok(out)
}

pub(super) fn list(items: &[Vec<u8>], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let nodes = items.iter().all(|item| item.len() < LONGEST_IN_NODE);
    let types: &[u8] = if nodes {
        &[kind::LIST_QUICKLIST_2, kind::LIST_QUICKLIST, kind::LIST]
    } else {
        &[kind::LIST_QUICKLIST_2, kind::LIST]
    };
    let mut out = begin(Kind::List, types, target)?;
    match out.first() {
        Some(&kind::LIST_QUICKLIST_2) => listpack_nodes(&mut out, items),
        Some(&kind::LIST_QUICKLIST) => ziplist_nodes(&mut out, items),
        _ => {
            writer::count(&mut out, items.len());
            items.iter().for_each(|item| writer::string(&mut out, item));
        }
    }
    Ok(out)
}

fn listpack_nodes(out: &mut Vec<u8>, items: &[Vec<u8>]) {
    let mut nodes: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut open: Option<ListpackWriter> = None;
    for item in items {
        let full = |node: &ListpackWriter| node.len() + item.len() > NODE_BYTES;
        if item.len() > PLAIN_BYTES || open.as_ref().is_some_and(full) {
            nodes.extend(open.take().map(|node| (PACKED_NODE, node.finish())));
        }
        if item.len() > PLAIN_BYTES {
            nodes.push((PLAIN_NODE, item.clone()));
        } else {
            open.get_or_insert_default().push(item);
        }
    }
    nodes.extend(open.map(|node| (PACKED_NODE, node.finish())));
    writer::count(out, nodes.len());
    for (form, node) in &nodes {
        writer::number(out, *form);
        writer::string(out, node);
    }
}

fn ziplist_nodes(out: &mut Vec<u8>, items: &[Vec<u8>]) {
    let mut nodes: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<ZiplistWriter> = None;
    for item in items {
        let full = |node: &ZiplistWriter| node.len() + item.len() > NODE_BYTES;
        if open.as_ref().is_some_and(full) {
            nodes.extend(open.take().map(ZiplistWriter::finish));
        }
        open.get_or_insert_default().push(item);
    }
    nodes.extend(open.map(ZiplistWriter::finish));
    writer::count(out, nodes.len());
    nodes.iter().for_each(|node| writer::string(out, node));
}

pub(super) fn set(members: &[Vec<u8>], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let mut integers: Vec<i64> = Vec::new();
    if members.len() <= SMALL_INTSET {
        integers.extend(members.iter().map_while(|member| packed::integer(member)));
    }
    let types: &[u8] = if integers.len() == members.len() {
        &[kind::SET_INTSET, kind::SET]
    } else if small(members.len(), members.iter()) {
        &[kind::SET_LISTPACK, kind::SET]
    } else {
        &[kind::SET]
    };
    let mut out = begin(Kind::Set, types, target)?;
    match out.first() {
        Some(&kind::SET_INTSET) => {
            integers.sort_unstable();
            writer::string(&mut out, &write_intset(&integers));
        }
        Some(&kind::SET_LISTPACK) => listpack(&mut out, members.iter().map(Vec::as_slice)),
        _ => {
            writer::count(&mut out, members.len());
            members.iter().for_each(|member| writer::string(&mut out, member));
        }
    }
    Ok(out)
}

pub(super) fn sorted_set(members: &[Scored], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let types: &[u8] = if small(members.len(), members.iter().map(|scored| &scored.member)) {
        &[kind::ZSET_LISTPACK, kind::ZSET_ZIPLIST, kind::ZSET_2, kind::ZSET]
    } else {
        &[kind::ZSET_2, kind::ZSET]
    };
    let mut out = begin(Kind::SortedSet, types, target)?;
    // A block is taken as it lies there, and must be in order.
    let mut sorted: Vec<&Scored> = members.iter().collect();
    sorted.sort_by(|one, other| {
        // Servers do not tell the two zeros apart. There is no NaN here.
        let scores = one.score.partial_cmp(&other.score);
        scores.unwrap_or(std::cmp::Ordering::Equal).then_with(|| one.member.cmp(&other.member))
    });
    let texts = || -> Vec<Vec<u8>> {
        let pair = |scored: &&Scored| [scored.member.clone(), score(scored.score)];
        sorted.iter().flat_map(pair).collect()
    };
    match out.first() {
        Some(&kind::ZSET_LISTPACK) => listpack(&mut out, texts().iter().map(Vec::as_slice)),
        Some(&kind::ZSET_ZIPLIST) => ziplist(&mut out, texts().iter().map(Vec::as_slice)),
        first => {
            let binary = first == Some(&kind::ZSET_2);
            writer::count(&mut out, members.len());
            // The greatest first: a server then always inserts at the front.
            for scored in sorted.iter().rev() {
                writer::string(&mut out, &scored.member);
                if binary {
                    out.extend_from_slice(&scored.score.to_le_bytes());
                } else {
                    text_score(&mut out, scored.score);
                }
            }
        }
    }
    Ok(out)
}

/// Scores nearer to 0 or farther from it are written with an exponent: without one they could have
/// hundreds of digits.
const PLAIN_SCORES: std::ops::Range<f64> = 1e-5..1e17;

/// A score in the fewest digits that give the same number back.
fn score(score: f64) -> Vec<u8> {
    match score {
        f64::INFINITY => b"inf".to_vec(),
        f64::NEG_INFINITY => b"-inf".to_vec(),
        plain if plain == 0.0 || PLAIN_SCORES.contains(&plain.abs()) => {
            format!("{plain}").into_bytes()
        }
        other => format!("{other:e}").into_bytes(),
    }
}

fn text_score(out: &mut Vec<u8>, value: f64) {
    match value {
        f64::INFINITY => out.push(254),
        f64::NEG_INFINITY => out.push(255),
        number => {
            // At most 24 digits and signs.
            let text = score(number);
            out.push(text.len().to_le_bytes()[0]);
            out.extend_from_slice(&text);
        }
    }
}

pub(super) fn hash(fields: &[Field], target: &Knowledge) -> Result<Vec<u8>, Refusal> {
    let strings = || fields.iter().flat_map(|field| [&field.name, &field.value]);
    let types: &[u8] = if small(fields.len(), strings()) {
        &[kind::HASH_LISTPACK, kind::HASH_ZIPLIST, kind::HASH]
    } else {
        &[kind::HASH]
    };
    let mut out = begin(Kind::Hash, types, target)?;
    match out.first() {
        Some(&kind::HASH_LISTPACK) => listpack(&mut out, strings().map(Vec::as_slice)),
        Some(&kind::HASH_ZIPLIST) => ziplist(&mut out, strings().map(Vec::as_slice)),
        _ => {
            writer::count(&mut out, fields.len());
            strings().for_each(|text| writer::string(&mut out, text));
        }
    }
    Ok(out)
}

/// Each field with its expiry, in milliseconds, or −1.
pub(super) fn valkey_hash(fields: &[Field]) -> Vec<u8> {
    let mut out = vec![kind::VALKEY_HASH_2];
    writer::count(&mut out, fields.len());
    for field in fields {
        writer::string(&mut out, &field.name);
        writer::string(&mut out, &field.value);
        // None is the largest number, which is −1 to those who read it with a sign.
        out.extend_from_slice(&field.expires.unwrap_or(u64::MAX).to_le_bytes());
    }
    out
}

/// The least expiry, then each field behind its own: 0 for none, else counted from the least as 1.
pub(super) fn redis_hash(fields: &[Field]) -> Vec<u8> {
    let mut out = vec![kind::REDIS_HASH_METADATA];
    let least = fields.iter().filter_map(|field| field.expires).min().unwrap_or(0);
    out.extend_from_slice(&least.to_le_bytes());
    writer::count(&mut out, fields.len());
    for field in fields {
        writer::number(&mut out, field.expires.map_or(0, |at| at - least + 1));
        writer::string(&mut out, &field.name);
        writer::string(&mut out, &field.value);
    }
    out
}

fn small<'a>(elements: usize, mut strings: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    elements <= SMALL_ELEMENTS && strings.all(|string| string.len() <= SMALL_BYTES)
}

fn listpack<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]>) {
    let mut block = ListpackWriter::default();
    texts.for_each(|text| block.push(text));
    writer::string(out, &block.finish());
}

fn ziplist<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a [u8]>) {
    let mut block = ZiplistWriter::default();
    texts.for_each(|text| block.push(text));
    writer::string(out, &block.finish());
}
