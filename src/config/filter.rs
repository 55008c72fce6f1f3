//! Which keys are meant: patterns on the bytes of their names, and types.

use crate::command::Pattern;

/// Includes, excludes and types; an empty list means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A key must fit one of these.
    pub include: Vec<Pattern>,
    /// A key must fit none of these.
    pub exclude: Vec<Pattern>,
    /// A key must be of one of these types, as TYPE names them.
    pub types: Vec<String>,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.types.is_empty()
    }

    /// Whether a key of this name is meant, as far as its name tells.
    pub fn admits_name(&self, key: &[u8]) -> bool {
        let fits = |pattern: &Pattern| pattern.matches(key);
        (self.include.is_empty() || self.include.iter().any(fits)) && !self.exclude.iter().any(fits)
    }

    /// Whether a key of this type is meant.
    pub fn admits_type(&self, name: &[u8]) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| wanted.as_bytes() == name)
    }
}

/// The types every server has. Modules add theirs, with names of nine bytes.
pub const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// Checks the name of a type.
///
/// # Errors
/// A message for the command line when no server could have such a type.
pub fn parse_type(text: &str) -> Result<String, String> {
    if TYPES.contains(&text) || text.len() == 9 {
        return Ok(text.to_owned());
    }
    Err(format!("write one of {}, or a module's type of nine characters", TYPES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_win_over_includes() {
        let filter = Filter {
            include: vec![Pattern::new(b"a*"), Pattern::new(b"b*")],
            exclude: vec![Pattern::new(b"*x")],
            types: vec!["hash".into()],
        };
        assert!(filter.admits_name(b"a1") && filter.admits_name(b"b1"));
        assert!(!filter.admits_name(b"c1") && !filter.admits_name(b"ax"));
        assert!(filter.admits_type(b"hash") && !filter.admits_type(b"set"));
        assert!(Filter::default().is_all() && Filter::default().admits_name(b""));
    }

    #[test]
    fn a_type_is_known_or_could_be_a_modules() {
        assert!(parse_type("zset").is_ok() && parse_type("ReJSON-RL").is_ok());
        assert!(parse_type("sting").is_err());
    }
}
