//! How often each command was called, as `INFO commandstats` reports it.
//!
//! A command counts where it is carried out: also inside a script, a transaction or a module, and
//! when a replica takes it from its primary. One that is refused before that does not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Calls {
    all: BTreeMap<String, u64>,
    /// Those that ended with an error, of commands for which that is reported (from Redis 6.2 on).
    #[serde(skip)]
    failed: BTreeMap<String, u64>,
}

impl Calls {
    /// Reads the text of INFO; `None`: it does not report calls.
    pub fn parse(text: &str) -> Option<Self> {
        let mut calls = Self::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
            let (name, told) = line.split_once(':')?;
            let name = name.to_ascii_lowercase();
            let of = |what: &str| told.split(',').find_map(|part| part.strip_prefix(what));
            if let Some(failed) = of("failed_calls=") {
                calls.failed.insert(name.clone(), failed.trim_end().parse().ok()?);
            }
            calls.all.insert(name, of("calls=")?.parse().ok()?);
        }
        // The INFO that told this is a call itself, but not the first one.
        Some(calls).filter(|calls| !calls.all.is_empty())
    }

    /// How often these commands were called, all together.
    pub fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.all.get(*name)).sum()
    }

    /// The commands that were called since `earlier`; of a container the subcommand, as in
    /// `config|get`. `None`: not known, the counts were reset.
    pub fn since(&self, earlier: &Self) -> Option<Vec<&str>> {
        let now = |name: &String| self.all.get(name).copied().unwrap_or(0);
        if earlier.all.iter().any(|(name, then)| now(name) < *then) {
            return None;
        }
        let then = |name: &String| earlier.all.get(name).copied().unwrap_or(0);
        let called = self.all.iter().filter(|(name, now)| **now > then(name));
        Some(called.map(|(name, _)| name.as_str()).collect())
    }

    /// The commands that were called without an error since `earlier`, and how often. `None`: not
    /// known, the counts were reset, or errors are not counted.
    pub fn done_since(&self, earlier: &Self) -> Option<Vec<(&str, u64)>> {
        let done = |calls: &Self, name: &str| {
            let of = |counts: &BTreeMap<String, u64>| counts.get(name).copied();
            let Some(all) = of(&calls.all) else { return Some(0) };
            all.checked_sub(of(&calls.failed)?)
        };
        let called = self.since(earlier)?.into_iter();
        called
            .map(|name| Some((name, done(self, name)?.checked_sub(done(earlier, name)?)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(lines: &[&str]) -> Calls {
        let lines: String = lines.iter().map(|line| format!("{line},usec=1\r\n")).collect();
        Calls::parse(&format!("# Commandstats\r\n{lines}")).expect("there are counts")
    }

    #[test]
    fn what_was_called_in_between_is_named() {
        let before = calls(&["cmdstat_get:calls=3", "cmdstat_info:calls=1"]);
        let set = ["cmdstat_get:calls=3", "cmdstat_info:calls=2", "cmdstat_config|get:calls=1"];
        assert_eq!(calls(&set).since(&before), Some(vec!["config|get", "info"]));
        assert_eq!(before.since(&before), Some(vec![]));
        // CONFIG RESETSTAT.
        assert_eq!(calls(&["cmdstat_get:calls=2"]).since(&before), None);
        assert_eq!(calls(&["cmdstat_info:calls=9"]).since(&before), None);
        assert_eq!(Calls::parse("# Commandstats\r\n"), None);
        assert_eq!(Calls::parse("cmdstat_get:usec=1\r\n"), None, "a form that is not known");
    }

    #[test]
    fn what_ended_with_an_error_was_not_done() {
        let before = calls(&["cmdstat_set:calls=5,usec=1,rejected_calls=0,failed_calls=2"]);
        let after = calls(&[
            "cmdstat_set:calls=9,usec=1,rejected_calls=3,failed_calls=3",
            "cmdstat_restore:calls=4,usec=1,rejected_calls=0,failed_calls=4",
        ]);
        assert_eq!(after.done_since(&before), Some(vec![("restore", 0), ("set", 3)]));
        assert_eq!(before.done_since(&after), None, "CONFIG RESETSTAT");
        // Before Redis 6.2.
        assert_eq!(calls(&["cmdstat_set:calls=9"]).done_since(&before), None);
        // A checkpoint keeps what counts there.
        let kept = serde_json::to_string(&after).unwrap();
        assert_eq!(kept, r#"{"restore":4,"set":9}"#);
    }
}
