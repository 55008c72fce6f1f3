//! The independent decoder `redis-protocol` as a judge of ours.
//!
//! Ours is the stricter one. Where it hands out a reply, the oracle must read the same; where it
//! waits, the oracle must wait; where it refuses what the oracle takes, the reason must be one of
//! those that [`oracle_is_lenient`] knows.

use keyferry::resp::{Decoder, Kind, Limits, Reply, Token};
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

/// Decodes a stream with both and compares reply by reply; returns how many whole replies it had.
pub fn compare(stream: &[u8]) -> usize {
    let mut decoder = Decoder::default();
    let (mut replies, mut start) = (0, 0);
    loop {
        let rest = &stream[start..];
        match (decoder.next(stream), decode_range(rest)) {
            (Ok(Some(reply)), Ok(Some((frame, length)))) => {
                assert_same(&reply, &frame, rest);
                assert_without_gaps(reply.tokens(), start, start + length);
                assert_strict(reply.tokens(), stream);
                replies += 1;
                start += length;
            }
            (Ok(None), Ok(None)) => break,
            // Ours refuses at the first wrong byte, the oracle reads on to the end of the line.
            (Err(_), Ok(None) | Err(_)) => break,
            (Err(error), Ok(Some((frame, length)))) => {
                let known = oracle_is_lenient(&frame, &rest[..length]);
                assert!(known, "refused ({error}), but the oracle reads {frame:?}");
                break;
            }
            (ours, oracle) => {
                panic!("ours says {ours:?}, the oracle {oracle:?}, at byte {start} of the stream")
            }
        }
    }
    assert_eq!(decoder.consumed(), start, "consumed is the end of the last whole reply");
    replies
}

/// The frame and the reply hold the same nodes with the same content.
fn assert_same(reply: &Reply<'_>, frame: &RangeFrame, bytes: &[u8]) {
    let mut tokens = reply.tokens().iter();
    assert_same_node(reply, &mut tokens, frame, bytes);
    let left = tokens.len();
    assert_eq!(left, 0, "{left} tokens more than the oracle has nodes");
}

fn assert_same_node<'a>(
    reply: &Reply<'_>,
    tokens: &mut impl Iterator<Item = &'a Token>,
    frame: &RangeFrame,
    bytes: &[u8],
) {
    let Some(token) = tokens.next() else { panic!("the oracle has one more node: {frame:?}") };
    let (kind, range, number) = match frame {
        RangeFrame::SimpleString(range) => (Kind::Simple, Some(range), 0),
        RangeFrame::Error(range) => (Kind::Error, Some(range), 0),
        RangeFrame::BulkString(range) => (Kind::Bulk, Some(range), 0),
        RangeFrame::Integer(value) => (Kind::Integer, None, *value),
        RangeFrame::Null => (Kind::Null, None, 0),
        RangeFrame::Array(elements) => (Kind::Array, None, elements.len() as i64),
    };
    assert_eq!((token.kind, token.number), (kind, number), "the oracle reads {frame:?}");
    let body = range.map_or(&[][..], |&(start, end)| &bytes[start..end]);
    assert_eq!(reply.body(*token), body, "the oracle reads {frame:?}");
    if let RangeFrame::Array(elements) = frame {
        for element in elements {
            assert_same_node(reply, tokens, element, bytes);
        }
    }
}

/// The wire spans of a reply follow each other without a gap and cover it from end to end.
fn assert_without_gaps(tokens: &[Token], start: usize, end: usize) {
    let mut at = start;
    for token in tokens {
        let wire = token.wire.range();
        assert_eq!(wire.start, at, "a gap in front of {token:?}");
        let body = token.body.range();
        let inside = token.body.is_empty() || (wire.start < body.start && body.end < wire.end);
        assert!(inside, "the body lies outside of its wire span: {token:?}");
        at = wire.end;
    }
    assert_eq!(at, end, "the last token does not end the reply");
}

/// Every node ends with CR LF, and a line holds neither before; the oracle does not look.
fn assert_strict(tokens: &[Token], stream: &[u8]) {
    for token in tokens {
        assert!(token.wire.of(stream).ends_with(b"\r\n"), "no line end: {token:?}");
        if matches!(token.kind, Kind::Simple | Kind::Error) {
            let text = token.body.of(stream);
            assert!(!text.iter().any(|byte| b"\r\n".contains(byte)), "two lines: {token:?}");
        }
    }
}

/// Whether the oracle took bytes that no server sends or that go past our default limits: a bulk
/// string without its CR LF, a line with a lone CR or LF, a number padded past 19 digits, an array
/// nested too deep.
fn oracle_is_lenient(frame: &RangeFrame, bytes: &[u8]) -> bool {
    const LONGEST_NUMBER: usize = 19;
    let padded = bytes.split(|byte| !byte.is_ascii_digit()).any(|run| run.len() > LONGEST_NUMBER);
    padded || has_lenient_node(frame, bytes, 0)
}

fn has_lenient_node(frame: &RangeFrame, bytes: &[u8], depth: usize) -> bool {
    let limits = Limits::default();
    match frame {
        RangeFrame::SimpleString((start, end)) | RangeFrame::Error((start, end)) => {
            let text = &bytes[*start..*end];
            text.len() > limits.line || text.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
        }
        RangeFrame::BulkString((_, end)) => bytes.get(*end..*end + 2) != Some(b"\r\n"),
        RangeFrame::Array(elements) => {
            depth == limits.depth
                || elements.iter().any(|element| has_lenient_node(element, bytes, depth + 1))
        }
        RangeFrame::Integer(_) | RangeFrame::Null => false,
    }
}
