//! The key that is asked about and never made: commands are tried on it, to see whether they are permitted.

use std::sync::OnceLock;

/// What its name begins with. As no other does: a user who may touch it may touch every key, but for odd
/// patterns.
const BEGINS: &str = "\u{1}keyferry:probe:";

/// A name that nobody has, another one in each process: whatever a trial did to it, it would be no key of
/// anybody's.
pub fn probe_key() -> &'static [u8] {
    static NAME: OnceLock<Vec<u8>> = OnceLock::new();
    NAME.get_or_init(|| format!("{BEGINS}{:016x}", fastrand::u64(..)).into_bytes())
}
