//! Streams of replies cut anywhere, and commands laid together and sent in any way.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::{decode_split, oracle, round_trip};
use crate::random::Random;
use crate::replies;

/// A failure becomes a corpus file with a name, not a seed in a file of its own.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// A stream of a few replies.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    (any::<u64>(), 1..12_usize).prop_map(|(seed, count)| {
        let mut random = Random::new(seed);
        let mut stream = Vec::new();
        for _ in 0..count {
            replies::append(&mut random, &mut stream);
        }
        stream
    })
}

/// Pieces of a byte as often as pieces of many.
fn arrivals() -> impl Strategy<Value = Vec<decode_split::Step>> {
    use decode_split::Taken::{AfterEach, Never, WhenOpen};
    let arrives = prop_oneof![1..4_usize, 1..40_usize, 1..2_000_usize];
    let taken = prop_oneof![Just(Never), Just(WhenOpen), Just(AfterEach)];
    let step = (arrives, taken).prop_map(|(arrives, taken)| decode_split::Step { arrives, taken });
    vec(step, 1..20)
}

/// Arguments of any bytes, numbers, and some long enough to be chained by default.
fn argument() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => (any::<u64>(), 0..40_000_usize).prop_map(|(seed, length)| {
            let mut bytes = Vec::new();
            Random::new(seed).bytes(length, &mut bytes);
            bytes
        }),
    ]
}

fn sendings() -> impl Strategy<Value = Vec<round_trip::Step>> {
    let sent = prop_oneof![Just(0_usize), 1..20_usize, 1..50_000_usize];
    vec((any::<bool>(), sent).prop_map(|(laid, sent)| round_trip::Step { laid, sent }), 1..10)
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn a_stream_cut_anywhere_is_the_same_stream(stream in stream(), steps in arrivals()) {
        decode_split::compare(&stream, &steps);
    }

    #[test]
    fn a_stream_that_ends_anywhere_is_read_as_far_as_it_goes(
        stream in stream(),
        end in any::<prop::sample::Index>(),
    ) {
        oracle::compare(&stream[..end.index(stream.len() + 1)]);
    }

    #[test]
    fn bytes_of_any_kind_cut_anywhere_are_the_same_bytes(
        stream in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n$*:+-012"[..])], 0..60),
        steps in arrivals(),
    ) {
        decode_split::compare(&stream, &steps);
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn commands_arrive_as_they_were_meant(
        chain_from in prop_oneof![0..64_usize, Just(16 << 10), Just(usize::MAX)],
        steps in sendings(),
        commands in vec(vec(argument(), 0..6), 0..8),
    ) {
        round_trip::compare(chain_from, &steps, &commands);
    }
}
