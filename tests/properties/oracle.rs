//! The decoder against the oracle `redis-protocol` on a million replies, and on damaged ones.

use crate::checks::{decode, oracle};
use crate::random::{Random, seed};
use crate::replies;

#[test]
fn a_million_replies_are_read_as_the_oracle_reads_them() {
    const STREAMS: u64 = 1_000;
    const REPLIES: usize = 1_000;
    let first = seed();
    for stream_seed in first..first + STREAMS {
        let mut random = Random::new(stream_seed);
        let mut stream = Vec::new();
        for _ in 0..REPLIES {
            replies::append(&mut random, &mut stream);
        }
        // Shown only when the comparison fails.
        println!("PROPERTIES_SEED={stream_seed}");
        assert_eq!(oracle::compare(&stream), REPLIES);
    }
}

#[test]
fn damaged_replies_are_judged_as_the_oracle_judges_them() {
    const STREAMS: u64 = 100_000;
    /// What a damaged length, type or line end tends to be.
    const DAMAGE: &[u8] = b"\r\n$*:+-0123456789\0\xff";
    let first = seed();
    for stream_seed in first..first + STREAMS {
        let mut random = Random::new(stream_seed);
        let mut stream = Vec::new();
        for _ in 0..3 {
            replies::append(&mut random, &mut stream);
        }
        let at = random.below(stream.len());
        match random.below(3) {
            0 => stream[at] = random.one_of(DAMAGE),
            1 => stream.insert(at, random.one_of(DAMAGE)),
            _ => drop(stream.remove(at)),
        }
        println!("PROPERTIES_SEED={stream_seed}: {}", stream.escape_ascii());
        decode::check(&stream);
    }
}
