//! An independent comparison of two servers: key sets both ways, types, whole values, expiries.

use std::fmt;

use super::reading::{Content, Expiry, Reader};
use super::server::Server;
use super::shown;

/// How far two expiries may lie apart, in milliseconds.
pub(crate) const TOLERANCE: i64 = 50;

/// In what way a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// On the source only.
    Missing,
    /// On the target only.
    Extra,
    Value,
    Expiry,
}

/// One finding.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) what: What,
    /// The key, without its database.
    pub(crate) key: Vec<u8>,
    /// The databases of both sides.
    pub(crate) pair: (u32, u32),
    text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.what, self.text)
    }
}

/// Fails unless the databases of each `(source_db, target_db)` hold the same.
#[track_caller]
pub(crate) fn assert_equal(source: &Server, target: &Server, pairs: &[(u32, u32)]) {
    assert_none(&compare(source, target, pairs));
}

/// Fails unless each key *on the target* is as on the source: for copies that did not finish.
#[track_caller]
pub(crate) fn assert_target_is_a_part(source: &Server, target: &Server, pairs: &[(u32, u32)]) {
    let mut found = compare(source, target, pairs);
    found.retain(|difference| difference.what != What::Missing);
    assert_none(&found);
}

#[track_caller]
fn assert_none(found: &[Difference]) {
    const SHOWN: usize = 20;
    if found.is_empty() {
        return;
    }
    let lines: Vec<String> = found.iter().take(SHOWN).map(Difference::to_string).collect();
    panic!("{} differences, the first:\n  {}", found.len(), lines.join("\n  "));
}

/// All differences between the databases of each `(source_db, target_db)`.
#[track_caller]
pub(crate) fn compare(source: &Server, target: &Server, pairs: &[(u32, u32)]) -> Vec<Difference> {
    let mut found = Vec::new();
    for &(source_db, target_db) in pairs {
        let mut left = Reader::new(source, source_db);
        let mut right = Reader::new(target, target_db);
        // What only one side can tell is no difference.
        let counters = left.stream_counters && right.stream_counters;
        let fields = left.field_expiry && right.field_expiry;
        for side in [&mut left, &mut right] {
            side.stream_counters = counters;
            side.field_expiry = fields;
        }
        compare_database(&mut left, &mut right, (source_db, target_db), &mut found);
    }
    found
}

fn compare_database(
    left: &mut Reader,
    right: &mut Reader,
    pair: (u32, u32),
    found: &mut Vec<Difference>,
) {
    let source_keys = left.keys();
    let target_keys = right.keys();
    for key in source_keys.difference(&target_keys) {
        // It may have expired between the two looks.
        if left.exists(key) && !right.exists(key) {
            found.push(difference(What::Missing, pair, key, "only on the source"));
        }
    }
    for key in target_keys.difference(&source_keys) {
        if right.exists(key) && !left.exists(key) {
            found.push(difference(What::Extra, pair, key, "only on the target"));
        }
    }
    let common: Vec<&Vec<u8>> = source_keys.intersection(&target_keys).collect();
    for batch in common.chunks(super::reading::BATCH) {
        compare_values(left, right, batch, pair, found);
        compare_expiries(left, right, batch, pair, found);
    }
}

fn compare_values(
    left: &mut Reader,
    right: &mut Reader,
    keys: &[&Vec<u8>],
    pair: (u32, u32),
    found: &mut Vec<Difference>,
) {
    let values = left.contents(keys).into_iter().zip(right.contents(keys));
    for (key, (ours, theirs)) in keys.iter().zip(values) {
        if ours != theirs && (left.exists(key) || right.exists(key)) {
            let text =
                format!("{} on the source, {} on the target", outline(&ours), outline(&theirs));
            found.push(difference(What::Value, pair, key, &text));
        }
    }
}

fn compare_expiries(
    left: &mut Reader,
    right: &mut Reader,
    keys: &[&Vec<u8>],
    pair: (u32, u32),
    found: &mut Vec<Difference>,
) {
    let expiries = left.expiries(keys).into_iter().zip(right.expiries(keys));
    for (key, (ours, theirs)) in keys.iter().zip(expiries) {
        if !is_near(ours, theirs) && !is_near_after_all(left, right, key) {
            let text = format!("expires {ours:?} on the source, {theirs:?} on the target");
            found.push(difference(What::Expiry, pair, key, &text));
        }
    }
}

/// A pause of this process between `PTTL` and its own clock looks like a difference: measure again.
fn is_near_after_all(left: &mut Reader, right: &mut Reader, key: &[u8]) -> bool {
    const MEASUREMENTS: usize = 5;
    (0..MEASUREMENTS).any(|_| is_near(left.expiries(&[key])[0], right.expiries(&[key])[0]))
}

fn is_near(ours: Expiry, theirs: Expiry) -> bool {
    match (ours, theirs) {
        (Expiry::At(ours), Expiry::At(theirs)) => ours.abs_diff(theirs) <= TOLERANCE.unsigned_abs(),
        _ => ours == theirs,
    }
}

fn difference(what: What, pair: (u32, u32), key: &[u8], text: &str) -> Difference {
    let text = format!("db {} -> {}, key {}: {text}", pair.0, pair.1, shown(key));
    Difference { what, key: key.to_vec(), pair, text }
}

fn outline(content: &Option<Content>) -> String {
    match content {
        None => "nothing".to_owned(),
        Some(Content::Bytes(bytes)) => format!("string {}", shown(bytes)),
        Some(Content::List(items)) => format!("list of {}", items.len()),
        Some(Content::Set(members)) => format!("set of {}", members.len()),
        Some(Content::Hash(fields)) => format!("hash of {}", fields.len()),
        Some(Content::SortedSet(members)) => format!("sorted set of {}", members.len()),
        Some(Content::Stream(stream)) => format!("stream {}", cut(&format!("{stream:?}"))),
        Some(Content::Other(kind)) => format!("unknown type {kind}"),
    }
}

/// The groups stand at the end of a stream's description and are what usually differs.
fn cut(text: &str) -> String {
    const LONGEST: usize = 1_500;
    let skipped = text.chars().count().saturating_sub(LONGEST);
    text.chars().skip(skipped).collect()
}
