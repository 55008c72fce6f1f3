//! Key patterns as the servers understand them (`KEYS`, `SCAN MATCH`): globs on bytes.
//!
//! `*` any run, `?` one byte, `[ab]`, `[^a]`, `[a-z]` (either order), `\x` a literal; no `{}`. A
//! class that is not closed ends with the pattern, as in the servers. Matching takes at most
//! `pattern × key` steps: only the last star is ever gone back to.

use std::fmt;

/// A compiled pattern. It shows as it was written, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Vec<u8>,
    parts: Vec<Part>,
    /// Servers try no pattern on an empty key: it fits an empty pattern and a lone star, which is
    /// their word for "all", but not `**`.
    fits_empty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Star,
    Any,
    Literal(u8),
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.escape_ascii().fmt(out)
    }
}

impl Pattern {
    /// Compiles a pattern; every byte string is one.
    pub fn new(text: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'*' if parts.last() == Some(&Part::Star) => {}
                b'*' => parts.push(Part::Star),
                b'?' => parts.push(Part::Any),
                b'[' => {
                    let (class, after) = class(rest);
                    parts.push(class);
                    rest = after;
                }
                b'\\' => match rest.split_first() {
                    Some((&literal, after)) => {
                        parts.push(Part::Literal(literal));
                        rest = after;
                    }
                    None => parts.push(Part::Literal(b'\\')),
                },
                literal => parts.push(Part::Literal(literal)),
            }
        }
        Self { text: text.to_vec(), parts, fits_empty: text.is_empty() || text == b"*" }
    }

    /// Whether the whole key fits the pattern.
    pub fn matches(&self, key: &[u8]) -> bool {
        if key.is_empty() {
            return self.fits_empty;
        }
        let (mut part, mut at) = (0, 0);
        // Where to go on if what follows the last star does not fit: one byte later.
        let mut star: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), key.get(at)) {
                (None, None) => return true,
                (Some(Part::Star), _) => {
                    star = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(expected), Some(&byte)) if expected.fits(byte) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match star {
                Some((behind, from)) if from < key.len() => {
                    star = Some((behind, from + 1));
                    part = behind + 1;
                    at = from + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Pattern {
    /// A name that fits: `run` in the place of each star, and of each class or `?` the beginning of it that
    /// fits. `None`: none is known.
    pub fn name_with(&self, run: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        for part in &self.parts {
            match part {
                Part::Star => name.extend_from_slice(run),
                Part::Literal(byte) => name.push(*byte),
                Part::Any | Part::Class { .. } => {
                    let from_run = run.iter().copied().find(|&byte| part.fits(byte));
                    name.push(from_run.or_else(|| (0..=u8::MAX).find(|&byte| part.fits(byte)))?);
                }
            }
        }
        Some(name)
    }
}

impl Part {
    fn fits(&self, byte: u8) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::Literal(literal) => *literal == byte,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != *negated
            }
        }
    }
}

/// Reads a class behind its `[`; returns it and what follows its `]`.
fn class(text: &[u8]) -> (Part, &[u8]) {
    let negated = text.first() == Some(&b'^');
    let mut rest = text.get(usize::from(negated)..).unwrap_or_default();
    let mut ranges = Vec::new();
    loop {
        match rest {
            [] => break,
            [b'\\', literal, after @ ..] => {
                ranges.push((*literal, *literal));
                rest = after;
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [low, b'-', high, after @ ..] => {
                ranges.push((*low.min(high), *low.max(high)));
                rest = after;
            }
            [literal, after @ ..] => {
                ranges.push((*literal, *literal));
                rest = after;
            }
        }
    }
    (Part::Class { negated, ranges }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_as_on_the_server() {
        let fits =
            |pattern: &str, key: &str| Pattern::new(pattern.as_bytes()).matches(key.as_bytes());
        for (pattern, key) in [
            ("*", ""),
            ("", ""),
            ("user:*", "user:1"),
            ("**a**", "bab"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("h\\*llo", "h*llo"),
            ("[\\]]", "]"),
            ("[a", "a"),
            ("a\\", "a\\"),
            ("*ab", "aab"),
            ("*a*b*c*", "xxaxxbxxcxx"),
        ] {
            assert!(fits(pattern, key), "{pattern} {key}");
        }
        for (pattern, key) in [
            ("", "a"),
            ("?", ""),
            ("h[^e]llo", "hello"),
            ("h\\*llo", "hxllo"),
            ("a*", "ba"),
            ("[]a", "a"),
            ("*a*b*c", "xxaxxbxxcxx"),
        ] {
            assert!(!fits(pattern, key), "{pattern} {key}");
        }
        assert!(Pattern::new(b"\xff?").matches(b"\xff\x00"));
    }

    #[test]
    fn a_pattern_has_names_that_fit() {
        for text in ["app:*", "a?c[x-z]*", "[^a]", "*", "x"] {
            let pattern = Pattern::new(text.as_bytes());
            for run in [&b""[..], b"q", b"a~~~"] {
                let name = pattern.name_with(run).expect("a name");
                assert!(pattern.matches(&name), "{text} {name:?}");
            }
        }
        assert_eq!(Pattern::new(b"[]").name_with(b"a"), None);
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = Pattern::new("a*".repeat(2_000).as_bytes());
        assert!(!pattern.matches(&[b"a".repeat(1_999), b"b".to_vec()].concat()));
    }
}
