//! Any bytes through the decoder: no panic, the oracle's reading, and no limit passed.

use keyferry::resp::{Decoder, Kind, Limits, Reply, Token, Value};

use super::oracle;

/// So narrow that small inputs reach every one of them.
const NARROW: Limits = Limits { depth: 3, line: 16, bulk: 24, reply: 200, tokens: 12 };

/// The input is a stream of replies as a server sends it.
pub fn check(stream: &[u8]) {
    oracle::compare(stream);
    limits_hold(stream);
}

/// A narrow decoder hands out what a wide one does, but nothing past its limits.
fn limits_hold(stream: &[u8]) {
    let mut wide = Decoder::default();
    let mut narrow = Decoder::new(NARROW);
    loop {
        match narrow.next(stream) {
            Ok(Some(reply)) => {
                assert_within_limits(&reply);
                assert_value_is_whole(&reply);
                let same = wide.next(stream).ok().flatten();
                let same = same.is_some_and(|other| nodes(&other).eq(nodes(&reply)));
                assert!(same, "narrow limits change the reply {:?}", reply.tokens());
            }
            Ok(None) => {
                assert!(matches!(wide.next(stream), Ok(None)), "narrow limits make it wait");
                return;
            }
            Err(error) => {
                assert!(narrow.next(stream).is_err(), "refused ({error}), then taken");
                return;
            }
        }
    }
}

fn assert_within_limits(reply: &Reply<'_>) {
    let tokens = reply.tokens();
    let wire: usize = tokens.iter().map(|token| token.wire.len()).sum();
    assert!(wire <= NARROW.reply, "a reply of {wire} bytes");
    assert!(tokens.len() <= NARROW.tokens, "a reply of {} nodes", tokens.len());
    let depth = depth(tokens);
    assert!(depth <= NARROW.depth, "arrays {depth} deep");
    for token in tokens {
        let longest = match token.kind {
            Kind::Simple | Kind::Error => NARROW.line,
            Kind::Bulk => NARROW.bulk,
            Kind::Integer | Kind::Null | Kind::Array => 0,
        };
        assert!(token.body.len() <= longest, "too long: {token:?}");
    }
}

/// How deep the arrays of a reply are nested; a scalar is 0 deep.
fn depth(tokens: &[Token]) -> usize {
    let mut lacking: Vec<i64> = Vec::new();
    let mut deepest = 0;
    for token in tokens {
        while lacking.pop_if(|left| *left == 0).is_some() {}
        if let Some(left) = lacking.last_mut() {
            *left -= 1;
        }
        if token.kind == Kind::Array {
            lacking.push(token.number);
            deepest = deepest.max(lacking.len());
        }
    }
    deepest
}

/// The owned form has one value for each token.
fn assert_value_is_whole(reply: &Reply<'_>) {
    fn count(value: &Value) -> usize {
        1 + value.elements().unwrap_or_default().iter().map(count).sum::<usize>()
    }
    assert_eq!(count(&Value::of(reply)), reply.tokens().len(), "{:?}", reply.tokens());
}

fn nodes<'a>(reply: &Reply<'a>) -> impl Iterator<Item = (Kind, &'a [u8], i64)> {
    reply.tokens().iter().map(|token| (token.kind, reply.body(*token), token.number))
}
