//! The JSON report, schema 1. A documented contract: fields are added, never changed.

use serde::Serialize;
use serde_json::{Value, json};

use super::verified::Mode;
use super::{Counts, Difference, Failure, InDoubt, Loss, Preflight, Stats, Usage, Verified};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every key accounted for, none failed, nothing differs.
    Complete,
    /// It ended, but keys failed or sides differ.
    Incomplete,
    /// Not begun, for safety.
    Refused,
    /// Stopped by the operator.
    Interrupted,
    /// Nothing was to be written.
    DryRun,
}

impl Outcome {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
            Self::DryRun => "dry-run",
        }
    }
}

/// One side, as it may be shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Peer {
    /// The endpoint, without password.
    pub endpoint: String,
    /// Family and version; empty if it was never reached.
    pub server: String,
}

/// Everything that is said of a run at its end.
#[derive(Clone, Debug)]
pub struct Report {
    /// The subcommand.
    pub command: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// The side that was read.
    pub source: Peer,
    /// The side that was written.
    pub target: Peer,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Payload bytes moved.
    pub bytes: u64,
    /// The sums.
    pub keys: Counts,
    /// For each database: source number, target number, counts, bytes.
    pub databases: Vec<(u32, u32, Counts, u64)>,
    /// Failed keys, as far as they are named.
    pub failures: Vec<Failure>,
    /// Keys copied in part, as far as they are named.
    pub losses: Vec<Loss>,
    /// What the verification found.
    pub verified: Verified,
    /// Nothing was to be written.
    pub dry_run: bool,
    /// What a copy was to do with keys that the target holds, by the word of its option; empty without one.
    pub if_exists: &'static str,
    /// It could have kept how far it came.
    pub may_keep_state: bool,
    /// It was a move: what was verified are the keys that were deleted from the source.
    pub moved: bool,
    /// Keys that were deleted from the source and may be lost on the target: all of them.
    pub in_doubt: Vec<InDoubt>,
    /// No key was selected; why is told by [`Self::why_nothing`].
    pub nothing_selected: bool,
    /// Keys that differ, as far as they are named.
    pub differences: Vec<Difference>,
    /// The cause that ended the run early, if one did.
    pub error: Option<String>,
    /// The file that the same command goes on from, if there is one.
    pub checkpoint: Option<String>,
    /// Whether every key that differs is among the dead letters, if these are kept.
    pub dead_letters_complete: Option<bool>,
    /// What a look ahead found, if this was one.
    pub preflight: Option<Box<Preflight>>,
    latency: Value,
    process: Usage,
}

impl Report {
    /// Takes the figures of a run as they stand.
    pub fn new(command: &'static str, source: Peer, target: Peer, stats: &Stats) -> Self {
        let (keys, bytes) = stats.totals();
        let databases = stats.databases();
        let mut databases: Vec<_> =
            databases.iter().map(|d| (d.source_db, d.target_db, d.counts(), d.bytes())).collect();
        databases.sort_by_key(|&(source, target, ..)| (source, target));
        Self {
            command,
            outcome: Outcome::Complete,
            source,
            target,
            seconds: stats.started().elapsed().as_secs_f64(),
            bytes,
            keys,
            databases,
            failures: stats.failures(),
            losses: stats.losses(),
            verified: Verified::none(),
            dry_run: false,
            if_exists: "",
            may_keep_state: false,
            moved: false,
            in_doubt: stats.in_doubt(),
            nothing_selected: false,
            differences: stats.differences().named(),
            error: None,
            checkpoint: None,
            dead_letters_complete: None,
            preflight: None,
            latency: stats.latency().to_json(),
            process: Usage::now(),
        }
    }

    /// The report as JSON, schema 1.
    pub fn to_json(&self) -> Value {
        let databases: Vec<Value> = self
            .databases
            .iter()
            .map(|(source, target, keys, bytes)| {
                let proven = self.verified.databases.iter();
                let mut proven = proven
                    .filter(|of| (of.source_db, of.target_db) == (*source, *target))
                    .map(|of| json!(of));
                json!({
                    "source_db": source,
                    "target_db": target,
                    "keys": keys,
                    "bytes": bytes,
                    "verify": proven.next().unwrap_or_else(|| json!({"mode": Mode::None})),
                })
            })
            .collect();
        let mut report = json!({
            "schema": 1,
            "command": self.command,
            "outcome": self.outcome,
            "dry_run": self.dry_run,
            "source": self.source,
            "target": self.target,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "bytes": self.bytes,
            "keys": self.keys,
            "dbs": databases,
            "ways": {
                "verbatim": self.keys.verbatim(),
                "footer": self.keys.by_footer,
                "reencoded": self.keys.reencoded,
                "commands": self.keys.by_commands,
            },
            "failures": self.failures,
            "losses": {
                "keys": self.keys.lessened,
                "field_expiries": self.keys.lost_field_expiries,
                "named": self.losses,
            },
            "latency_ms": self.latency,
            "verify": self.verified,
            "differences": self.differences,
            "deleted_in_doubt": self.in_doubt,
            "process": self.process,
        });
        if let (Some(found), Some(fields)) = (&self.preflight, report.as_object_mut()) {
            fields.extend(found.to_json());
        }
        if let (Some(complete), Some(fields)) = (self.dead_letters_complete, report.as_object_mut())
        {
            fields.insert("dead_letters_complete".into(), complete.into());
        }
        let optional = [("error", &self.error), ("checkpoint", &self.checkpoint)];
        for (name, text) in optional {
            if let (Some(text), Some(fields)) = (text, report.as_object_mut()) {
                fields.insert(name.into(), text.clone().into());
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_the_contracts_fields() {
        let stats = Stats::default();
        stats.database(1, 0, 0);
        let mut report = Report::new("copy", Peer::default(), Peer::default(), &stats);
        report.outcome = Outcome::DryRun;
        let json = report.to_json();
        for field in [
            "schema",
            "command",
            "outcome",
            "source",
            "target",
            "seconds",
            "bytes",
            "keys",
            "dbs",
            "ways",
            "failures",
            "latency_ms",
            "verify",
        ] {
            assert!(!json[field].is_null(), "{field}");
        }
        assert_eq!(json["outcome"], "dry-run");
        assert_eq!(json["dbs"][0]["source_db"], 1);
        assert_eq!(json["keys"]["deleted_from_source"], 0);
    }
}
