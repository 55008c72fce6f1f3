//! Any pattern and key against the reference matcher.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::pattern::check(input));
