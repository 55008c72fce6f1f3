//! Key patterns against a second, slower matcher that is written from the rules alone.
//!
//! In one rule servers differ among themselves: a range with one end beyond ASCII (`[a-\xff]`)
//! follows their compiler's `char`, which is signed on x86 and not on ARM. Here bytes are unsigned,
//! and no such range is asked of a server.

use std::collections::BTreeSet;

use keyferry::command::pattern::Pattern;

/// The input is a pattern, a line feed, and the key (which may hold more of them).
pub fn check(input: &[u8]) {
    let (pattern, key) = pattern_and_key(input);
    compare(pattern, key);
}

/// Cuts an input of this check into its parts.
pub fn pattern_and_key(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// Our matcher agrees with the reference, and with itself about copies of the key in a longer one.
pub fn compare(pattern: &[u8], key: &[u8]) {
    let compiled = Pattern::new(pattern);
    let fits = compiled.matches(key);
    let (shown, shown_key) = (pattern.escape_ascii(), key.escape_ascii());
    assert_eq!(fits, matches(pattern, key), "the pattern '{shown}' and the key '{shown_key}'");
    if !key.is_empty() && fits {
        let wider = Pattern::new(&[b"*", pattern].concat());
        let longer = [b"prefix", key].concat();
        assert!(wider.matches(&longer), "'*{shown}' and 'prefix{shown_key}'");
    }
}

/// The reference: the set of all key positions that the pattern read so far can have reached. It
/// never goes back, so it takes `pattern × key` steps whatever the pattern is.
pub fn matches(pattern: &[u8], key: &[u8]) -> bool {
    if key.is_empty() {
        // Servers try no pattern on an empty key: it fits an empty pattern and a lone star, which
        // is their word for "all", but not "**".
        return pattern.is_empty() || pattern == b"*";
    }
    let mut reached = BTreeSet::from([0]);
    let mut rest = pattern;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'*' {
            let first = reached.first().copied();
            reached = first.into_iter().flat_map(|from| from..=key.len()).collect();
            continue;
        }
        let one: Box<dyn Fn(u8) -> bool>;
        (one, rest) = one_byte(first, behind);
        let fits = |at: &usize| key.get(*at).is_some_and(|&byte| one(byte));
        reached = reached.into_iter().filter(fits).map(|at| at + 1).collect();
    }
    reached.contains(&key.len())
}

/// What a part of the pattern that stands for one byte accepts, and the pattern behind it.
fn one_byte(first: u8, behind: &[u8]) -> (Box<dyn Fn(u8) -> bool>, &[u8]) {
    match (first, behind.split_first()) {
        (b'?', _) => (Box::new(|_| true), behind),
        (b'[', Some((b'^', class))) => {
            let (members, rest) = members(class);
            (Box::new(move |byte| !members.contains(&byte)), rest)
        }
        (b'[', _) => {
            let (members, rest) = members(behind);
            (Box::new(move |byte| members.contains(&byte)), rest)
        }
        (b'\\', Some((&literal, rest))) => (Box::new(move |byte| byte == literal), rest),
        (literal, _) => (Box::new(move |byte| byte == literal), behind),
    }
}

/// All bytes of a class up to its `]` or to the end of the pattern.
fn members(class: &[u8]) -> (BTreeSet<u8>, &[u8]) {
    let mut members = BTreeSet::new();
    let mut at = 0;
    while let Some(&byte) = class.get(at).filter(|&&byte| byte != b']') {
        match (byte, class.get(at + 1), class.get(at + 2)) {
            (b'\\', Some(&literal), _) => {
                members.insert(literal);
                at += 2;
            }
            (low, Some(b'-'), Some(&high)) => {
                members.extend(low.min(high)..=low.max(high));
                at += 3;
            }
            _ => {
                members.insert(byte);
                at += 1;
            }
        }
    }
    (members, class.get(at + 1..).unwrap_or_default())
}
