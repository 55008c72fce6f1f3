//! Any bytes as a value: read part by part and as a whole.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::payload_decode::check(input));
