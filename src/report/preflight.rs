//! What `plan` reports beside its findings: the keyspace, what a sample of it showed, the time it
//! may take.

use serde_json::{Map, Value, json};

use super::findings::{Finding, Severity};

/// All that a look ahead found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preflight {
    /// Blockers first.
    pub findings: Vec<Finding>,
    /// Which database goes where, and what both hold.
    pub databases: Vec<PlannedDatabase>,
    /// Keys that were looked at.
    pub sampled: u64,
    /// Whether these are all keys that are meant.
    pub whole: bool,
    /// The types of the keys that were looked at, and how they would go.
    pub types: Vec<TypeShare>,
    /// The biggest of them.
    pub biggest: Vec<BigKey>,
    /// What a copy would come to.
    pub estimate: Estimate,
}

/// A database of the source and what it meets on the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedDatabase {
    /// Its number on the source.
    pub source: u32,
    /// Its number on the target.
    pub target: u32,
    /// Its keys.
    pub keys: u64,
    /// Those of them that have an expiry.
    pub expires: u64,
    /// Keys that the target's database holds.
    pub held: u64,
}

/// Keys of one type that go the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeShare {
    /// The type, as `TYPE` names it.
    pub name: String,
    /// How they go.
    pub way: PlannedWay,
    /// Those that were looked at.
    pub sampled: u64,
    /// About so many there are.
    pub keys: u64,
    /// About so much of the source's memory they take, where that may be asked.
    pub memory: Option<u64>,
}

/// How keys get to the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlannedWay {
    /// Strings, by MGET and SET.
    ByValue,
    /// By DUMP and RESTORE, as it is.
    Verbatim,
    /// With another footer.
    Footer,
    /// Encoded again, with this loss.
    Reencoded(Lost),
    /// Element by element.
    Elements,
    /// Not at all: why.
    Refused(String),
    /// Its value was not looked at, or it is not known what the target is.
    Unknown,
}

impl PlannedWay {
    /// The word of the report's `ways`, where it has one.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ByValue | Self::Elements => "commands",
            Self::Verbatim => "verbatim",
            Self::Footer => "footer",
            Self::Reencoded(_) => "reencoded",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::ByValue => "by value (MGET, SET)".into(),
            Self::Verbatim => "as it is (DUMP, RESTORE)".into(),
            Self::Footer => "with another footer".into(),
            Self::Reencoded(Lost::Nothing) => "encoded again".into(),
            Self::Reencoded(Lost::Bookkeeping) => {
                "encoded again, a stream's bookkeeping is lost".into()
            }
            Self::Reencoded(Lost::FieldExpiries) => {
                "encoded again, the expiries of fields are LOST".into()
            }
            Self::Elements => "element by element: longer than the target takes at once".into(),
            Self::Refused(why) => format!("NOT AT ALL: {why}"),
            Self::Unknown => {
                "not known: the value is large, or may not be read, or the target does not say what it is"
                    .into()
            }
        }
    }
}

/// What a value loses when it is encoded again for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// Counters of a stream, or when its consumers were active.
    Bookkeeping,
    /// Expiries of a hash's fields, which was allowed.
    FieldExpiries,
}

/// A key that takes much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigKey {
    /// Its database on the source.
    pub db: u32,
    /// Its name, escaped and cut.
    pub key: String,
    /// Its type.
    pub kind: String,
    /// What it takes of the source's memory, or of the wire where that may not be asked.
    pub bytes: u64,
}

/// What a copy would come to; all of it is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Keys that are meant.
    pub keys: u64,
    /// What they take of the source's memory.
    pub memory: Option<u64>,
    /// Payload bytes that would be moved.
    pub payload: Option<u64>,
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
}

impl Preflight {
    /// How many findings are of this kind.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The fields that a report of `plan` has beside those of every report.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let databases: Vec<Value> = self
            .databases
            .iter()
            .map(|of| {
                json!({"source_db": of.source, "target_db": of.target, "keys": of.keys,
                       "expires": of.expires, "target_keys": of.held})
            })
            .collect();
        let types: Vec<Value> = self.types.iter().map(TypeShare::to_json).collect();
        let biggest: Vec<Value> = self
            .biggest
            .iter()
            .map(|key| json!({"db": key.db, "key": key.key, "type": key.kind, "bytes": key.bytes}))
            .collect();
        let sum = |of: fn(&PlannedDatabase) -> u64| self.databases.iter().map(of).sum::<u64>();
        let estimate = &self.estimate;
        let fields = json!({
            "findings": self.findings,
            "keyspace": {
                "keys": sum(|of| of.keys),
                "expires": sum(|of| of.expires),
                "dbs": databases,
            },
            "sample": {"keys": self.sampled, "whole": self.whole},
            "types": types,
            "biggest": biggest,
            "estimate": {
                "keys": estimate.keys,
                "memory": estimate.memory,
                "payload_bytes": estimate.payload,
                "seconds": estimate.seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0),
            },
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }
}

impl TypeShare {
    fn to_json(&self) -> Value {
        let reason = match &self.way {
            PlannedWay::Refused(why) => Some(why),
            _ => None,
        };
        json!({"type": self.name, "way": self.way.word(), "reason": reason,
               "sampled": self.sampled, "keys": self.keys, "memory": self.memory})
    }
}
