//! Settings from the environment, for use in a container.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Our own variables begin so: they win over those of the same name that other tools read as well.
const OWN: &str = "KEYFERRY_";

/// A switch of the command line that the environment can turn on.
pub(super) struct Switch {
    variable: &'static str,
    option: &'static str,
    /// The variable is read by many other programs, which give it values of their own.
    foreign: bool,
}

/// Write nothing.
pub(super) const DRY_RUN: Switch = Switch::new("DRY_RUN", "--dry-run");
/// Delete from the source what was copied.
pub(super) const CLEAN_UP: Switch = Switch::new("CLEAN_UP", "--delete-source");
/// Replace what the target holds.
pub(super) const REPLACE_DST_KEYS: Switch = Switch::new("REPLACE_DST_KEYS", "--if-exists replace");
/// Log more.
pub(super) const DEBUG: Switch = Switch { foreign: true, ..Switch::new("DEBUG", "-v") };

impl Switch {
    const fn new(variable: &'static str, option: &'static str) -> Self {
        Self { variable, option, foreign: false }
    }

    /// Whether it is on: as it was typed, else as the environment has it, which is reported once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Config`]: the variable is neither on nor off.
    pub(super) fn is_on(&self, typed: Option<bool>) -> Result<bool> {
        static REPORTED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
        if let Some(typed) = typed {
            return Ok(typed);
        }
        let Some(name) = self.set_by()? else { return Ok(false) };
        let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
        if !reported.contains(&self.variable) {
            reported.push(self.variable);
            tracing::warn!("{} is on: the environment variable {name} is set", self.option);
        }
        Ok(true)
    }

    /// The variable that turns it on, if one does. Says nothing.
    ///
    /// # Errors
    /// As [`Self::is_on`].
    pub(super) fn set_by(&self) -> Result<Option<String>> {
        let own = format!("{OWN}{}", self.variable);
        for (name, foreign) in [(own, false), (self.variable.to_owned(), self.foreign)] {
            let Some(value) = std::env::var_os(&name).filter(|value| !value.is_empty()) else {
                continue;
            };
            match value.to_str().and_then(truth) {
                Some(on) => return Ok(on.then_some(name)),
                None if foreign => {}
                // Its text is not shown: it may be a password.
                None => {
                    let text = format!("the environment variable {name} is neither on nor off");
                    return Err(Error::config(text)
                        .advise("on: 1 true yes on; off: unset, empty, 0 false no off"));
                }
            }
        }
        Ok(None)
    }
}

/// A variable's text; unset and empty are the same. Never printed: it may hold a password.
pub(super) fn text(name: &str) -> Result<Option<String>> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.into_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                Err(Error::config(format!("the environment variable {name} is not UTF-8 text")))
            }
        },
    }
}

/// The value of a switch on the command line: `--dry-run=false`.
pub(super) fn parse_truth(text: &str) -> Result<bool, String> {
    truth(text).ok_or_else(|| "write true or false".to_owned())
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "0" | "false" | "no" | "off" => Some(false),
        "1" | "true" | "yes" | "on" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_has_one_table() {
        for off in ["", "0", "false", "No", "OFF"] {
            assert_eq!(truth(off), Some(false), "{off}");
        }
        for on in ["1", "true", "YES", "on"] {
            assert_eq!(truth(on), Some(true), "{on}");
        }
        for neither in ["2", "t", "y", "enabled", "-1"] {
            assert_eq!(truth(neither), None, "{neither}");
        }
    }
}
