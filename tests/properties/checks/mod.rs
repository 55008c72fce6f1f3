//! What must hold for any input at all: one function for each fuzz target.
//!
//! The fuzz targets (`fuzz/`) and the plain tests of this directory call the same functions, so a
//! corpus file that once showed a bug stays a test where no fuzzer is installed. A check panics when
//! its property is broken.

pub mod decode;
pub mod decode_split;
pub mod endpoint;
pub mod oracle;
pub mod pattern;
pub mod payload;
pub mod payload_decode;
pub mod rdb_file;
pub mod reencode;
pub mod round_trip;
pub mod walk;

/// A property of arbitrary bytes.
pub type Check = fn(&[u8]);

/// The fuzz targets by name; `fuzz/corpus/NAME/` holds the hand-made inputs of each.
pub const ALL: [(&str, Check); 9] = [
    ("decode", decode::check),
    ("decode_split", decode_split::check),
    ("round_trip", round_trip::check),
    ("endpoint", endpoint::check),
    ("pattern", pattern::check),
    ("walk", walk::check),
    ("payload_decode", payload_decode::check),
    ("reencode", reencode::check),
    ("rdb_file", rdb_file::check),
];

/// Cuts an input at its first `|` into what steers the check and what the check is about; without
/// a `|` nothing steers.
fn steering_and_subject(input: &[u8]) -> (&[u8], &[u8]) {
    input
        .iter()
        .position(|&byte| byte == b'|')
        .map_or((&[], input), |bar| (&input[..bar], &input[bar + 1..]))
}

/// The small number that a letter stands for: `A` and `a` are 1, `Z` and `z` are 26, `@` is 0.
fn small_number(letter: u8) -> usize {
    usize::from(letter & 0x1f)
}
