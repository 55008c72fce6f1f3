//! Settings from the environment, for use in a container.

use crate::error::{Error, Result};
use crate::units::printable;

/// A variable's text; unset and empty are the same. Never printed: it may hold a password.
pub(super) fn text(name: &str) -> Result<Option<String>> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.into_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                Err(Error::config(format!("the environment variable {name} is no UTF-8 text")))
            }
        },
    }
}

/// A variable that is on or off.
pub(super) fn switch(name: &str) -> Result<bool> {
    let Some(text) = text(name)? else { return Ok(false) };
    truth(&text).ok_or_else(|| {
        let shown = printable(text.as_bytes());
        Error::config(format!("the environment variable {name} is '{shown}', neither on nor off"))
            .advise("on: 1 true yes on; off: unset, empty, 0 false no off")
    })
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
