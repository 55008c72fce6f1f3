//! Any bytes as a value: read part by part or as a whole, it is the same value or the same error.

use keyferry::payload::{Part, Value, decode_body, digest, digest_payload, footer, visit_body};

use super::payload::version_and_body;

/// The input is `WRITER|BODY`; see [`version_and_body`].
pub fn check(input: &[u8]) {
    let (version, body) = version_and_body(input);
    let (mut parts, mut size) = (0, 0);
    let visited = visit_body(body, version, &mut |part| {
        parts += usize::from(!matches!(part, Part::State(_)));
        size += bytes(&part);
        Ok(())
    });
    let decoded = decode_body(body, version);
    match (visited, decoded) {
        (Ok(kind), Ok(value)) => {
            assert_eq!(kind, value.kind());
            assert_eq!(parts, value.len(), "{value:?}");
            // 88 bytes for one is the most that is unpacked.
            assert!(size <= body.len() * 88 + 20 * parts, "{size} bytes of {}", body.len());
            let payload = footer::seal(body.to_vec(), version);
            assert_eq!(digest_payload(&payload), Ok(digest(&value)));
            order_is_as_it_should_be(value);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (visited, decoded) => panic!("{visited:?}, but {decoded:?}"),
    }
}

fn bytes(part: &Part<'_>) -> usize {
    match part {
        Part::String(text) | Part::Item(text) | Part::Member(text) | Part::Scored(text, _) => {
            text.len()
        }
        Part::Field { name, value, .. } => name.len() + value.len(),
        // A name that stands once in the node stands with every entry here.
        Part::Entry { .. } | Part::State(_) => 0,
    }
}

/// Turned around, a list is another one, and a set the same.
fn order_is_as_it_should_be(mut value: Value) {
    let before = digest(&value);
    let (ordered, changed) = match &mut value {
        Value::String(_) => return,
        Value::List(items) => {
            let same = items.iter().eq(items.iter().rev());
            items.reverse();
            (true, !same)
        }
        Value::Set(members) => (false, turned(members)),
        Value::SortedSet(members) => (false, turned(members)),
        Value::Hash(fields) => (false, turned(fields)),
        Value::Stream(stream) => (false, turned(&mut stream.state.groups)),
    };
    assert_eq!(digest(&value) != before, ordered && changed, "{value:?}");
}

fn turned<T>(elements: &mut [T]) -> bool {
    elements.reverse();
    true
}
