//! Streams of replies as servers send them, made from random numbers.

use std::io::Write;

use crate::random::Random;

/// How deep generated arrays are nested at most.
const DEEPEST: usize = 6;

/// Appends one reply to a stream.
pub(crate) fn append(random: &mut Random, stream: &mut Vec<u8>) {
    node(random, 0, stream);
}

fn node(random: &mut Random, depth: usize, stream: &mut Vec<u8>) {
    match random.below(if depth < DEEPEST { 16 } else { 12 }) {
        0 => text(b'+', random, stream),
        1 => text(b'-', random, stream),
        2..4 => header(b':', integer(random), stream),
        4 => stream.extend_from_slice(b"$-1\r\n"),
        5 => stream.extend_from_slice(b"*-1\r\n"),
        6..12 => bulk(random, stream),
        _ => {
            let elements = random.one_of(&[0, 0, 1, 1, 2, 2, 3, 10]);
            header(b'*', elements, stream);
            for _ in 0..elements {
                node(random, depth + 1, stream);
            }
        }
    }
}

fn header(mark: u8, number: i64, stream: &mut Vec<u8>) {
    write!(stream, "{}{number}\r\n", char::from(mark)).expect("writing to memory");
}

/// Small numbers most of the time, and all the way to both ends.
fn integer(random: &mut Random) -> i64 {
    let number = random.number().cast_signed();
    match random.below(16) {
        0 => i64::MIN,
        1 => i64::MAX,
        2..8 => number >> random.below(64),
        _ => number % 100,
    }
}

/// A line holds any byte but those that end it.
fn text(mark: u8, random: &mut Random, stream: &mut Vec<u8>) {
    let length = random.below(40);
    stream.push(mark);
    let start = stream.len();
    random.bytes(length, stream);
    for byte in &mut stream[start..] {
        if matches!(*byte, b'\r' | b'\n') {
            *byte = b'.';
        }
    }
    stream.extend_from_slice(b"\r\n");
}

/// Any bytes, among them some that look like the protocol itself.
fn bulk(random: &mut Random, stream: &mut Vec<u8>) {
    const DECOYS: [&[u8]; 4] = [b"\r\n", b"$3\r\nfoo\r\n", b"*2\r\n:1\r\n", b"$-1\r\n"];
    let decoy = if random.below(8) == 0 { random.one_of(&DECOYS) } else { b"" };
    let length = match random.below(64) {
        0 => random.below(4_000),
        1..8 => 0,
        _ => random.below(48),
    };
    let whole = i64::try_from(length + decoy.len()).expect("a small length");
    header(b'$', whole, stream);
    random.bytes(length, stream);
    stream.extend_from_slice(decoy);
    stream.extend_from_slice(b"\r\n");
}
