//! Any value encoded for targets of every version.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::reencode::check(input));
