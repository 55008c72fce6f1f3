//! What of a plan decides which keys are copied where, and what becomes of them: two runs that agree
//! in this may go on from each other's checkpoints.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Mapping, Plan};

/// Each part by its option's name, in words.
pub type Fingerprint = BTreeMap<String, String>;

/// The part that says whether it is a move.
pub const DELETE_SOURCE: &str = "--delete-source";

impl Plan {
    /// The plan's fingerprint. Connections, memory, pace and proof do not belong to it, passwords even
    /// less.
    pub fn fingerprint(&self) -> Fingerprint {
        let parts = [
            ("source", self.source.endpoint.to_string()),
            ("target", self.target.endpoint.to_string()),
            ("--db", databases(&self.mapping)),
            ("--match", listed(&self.filter.include)),
            ("--exclude", listed(&self.filter.exclude)),
            ("--type", listed(&self.filter.types)),
            ("--if-exists", self.if_exists.word().to_owned()),
            (DELETE_SOURCE, self.delete_source.to_string()),
            ("--lossy", self.lossy.to_string()),
            ("--with-functions", self.functions.to_string()),
        ];
        parts.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
    }
}

fn databases(mapping: &Mapping) -> String {
    match mapping {
        Mapping::All => "all".to_owned(),
        Mapping::AllInto(target) => format!("all into {target}"),
        Mapping::Routes(routes) => listed(routes),
    }
}

/// What was given, in the order it was given; quoted, since a pattern may hold anything.
fn listed<T: Display>(parts: &[T]) -> String {
    let quoted: Vec<String> = parts.iter().map(|part| format!("'{part}'")).collect();
    quoted.join(" ")
}
