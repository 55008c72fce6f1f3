//! Commands encoded, sent in part, and read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::round_trip::check(input));
