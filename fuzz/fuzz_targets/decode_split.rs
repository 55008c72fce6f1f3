//! A stream of replies that arrives in pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::decode_split::check(input));
