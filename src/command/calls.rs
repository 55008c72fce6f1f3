//! How often each command was called, as `INFO commandstats` reports it.
//!
//! A command counts where it is carried out: also inside a script, a transaction or a module, and
//! when a replica takes it from its primary. One that is refused before that does not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// Reads the text of INFO; `None`: it does not report calls.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
        let calls: Option<BTreeMap<String, u64>> = lines
            .map(|line| {
                let (name, told) = line.split_once(':')?;
                let calls = told.split(',').find_map(|part| part.strip_prefix("calls="))?;
                Some((name.to_ascii_lowercase(), calls.parse().ok()?))
            })
            .collect();
        // The INFO that told this is a call itself, but not the first one.
        calls.map(Self).filter(|calls| !calls.0.is_empty())
    }

    /// The commands that were called since `earlier`; of a container the subcommand, as in
    /// `config|get`. `None`: not known, the counts were reset.
    pub fn since(&self, earlier: &Self) -> Option<Vec<&str>> {
        let now = |name: &String| self.0.get(name).copied().unwrap_or(0);
        if earlier.0.iter().any(|(name, then)| now(name) < *then) {
            return None;
        }
        let then = |name: &String| earlier.0.get(name).copied().unwrap_or(0);
        let called = self.0.iter().filter(|(name, now)| **now > then(name));
        Some(called.map(|(name, _)| name.as_str()).collect())
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
}
