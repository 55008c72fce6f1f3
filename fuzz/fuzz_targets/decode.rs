//! Any bytes through the decoder, with `redis-protocol` as the oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::decode::check(input));
