//! Any bytes as an RDB file: refused, or read to its exact end.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keyferry_fuzz::checks::rdb_file::check(input));
