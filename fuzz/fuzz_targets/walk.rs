//! Any bytes as a value: where it ends, and what would be done with it.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::walk::check(input));
