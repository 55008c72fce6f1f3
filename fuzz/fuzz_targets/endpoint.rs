//! Any text as an endpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::endpoint::check(input));
