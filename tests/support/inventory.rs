//! What a server holds at one moment: names, values and expiries, to be compared with another moment or
//! another server. Nothing of it is asked again later, so it can be compared with what is gone.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::TOLERANCE;
use super::reading::{Content, Expiry, Reader};
use super::server::Server;
use super::shown;

/// How far two expiries may lie apart where one is computed from PTTL by this process, in milliseconds.
const ROUGH: i64 = 1_000;

/// A database and a key.
pub(crate) type Key = (u32, Vec<u8>);

/// All keys of some databases, with values and expiries.
pub(crate) struct Inventory {
    keys: BTreeMap<Key, (Content, Expiry)>,
    tolerance: i64,
}

impl Inventory {
    /// Reads it.
    #[track_caller]
    pub(crate) fn of(server: &Server, databases: &[u32]) -> Self {
        let (mut keys, mut tolerance) = (BTreeMap::new(), TOLERANCE);
        for &db in databases {
            let mut reader = Reader::new(server, db);
            // Servers of different versions tell different things about streams.
            reader.stream_counters = false;
            if !reader.absolute {
                tolerance = ROUGH;
            }
            let names: Vec<Vec<u8>> = reader.keys().into_iter().collect();
            let expiries = reader.expiries(&names);
            let contents = reader.contents(&names);
            for ((name, content), expiry) in names.into_iter().zip(contents).zip(expiries) {
                if let Some(content) = content {
                    keys.insert((db, name), (content, expiry));
                }
            }
        }
        Self { keys, tolerance }
    }

    /// Only the names.
    #[track_caller]
    pub(crate) fn names_on(server: &Server, databases: &[u32]) -> BTreeSet<Key> {
        let of = |&db: &u32| Reader::new(server, db).keys().into_iter().map(move |key| (db, key));
        databases.iter().flat_map(of).collect()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// All keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.keys()
    }

    /// Does the other one hold this key of ours with the same value and expiry? If not: what is wrong.
    pub(crate) fn lacks(&self, key: &Key, other: &Self) -> Option<String> {
        let (content, expiry) = &self.keys[key];
        let tolerance = self.tolerance.max(other.tolerance).unsigned_abs();
        match other.keys.get(key) {
            None => Some("is not there".to_owned()),
            Some((theirs, _)) if theirs != content => Some("has another value".to_owned()),
            Some((_, theirs)) => match (expiry, theirs) {
                (Expiry::At(ours), Expiry::At(theirs)) if ours.abs_diff(*theirs) <= tolerance => {
                    None
                }
                _ if expiry == theirs => None,
                _ => Some(format!("expires {theirs:?} instead of {expiry:?}")),
            },
        }
    }

    /// Every difference between the two, as text.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let told = |key: &Key, what: String| format!("db {} {} {what}", key.0, shown(&key.1));
        let lacking = self.keys().filter_map(|key| Some(told(key, self.lacks(key, other)?)));
        let extra = other.keys().filter(|key| !self.keys.contains_key(*key));
        lacking.chain(extra.map(|key| told(key, "is there in addition".to_owned()))).collect()
    }
}
