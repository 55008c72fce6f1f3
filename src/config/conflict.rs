//! What happens to a key that the target already holds.

/// The policy of `--if-exists`, or what holds without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Nothing was asked for: the target database is empty when the copy begins, and a key that
    /// another client puts there later stays; the key is counted as failed and named.
    #[default]
    Refuse,
    /// The source's value takes its place, in one step.
    Replace,
    /// The target's value stays; the key is counted as skipped.
    Skip,
    /// The target's value stays; the key is counted as failed and named.
    Fail,
    /// Sets, hashes and sorted sets get the members they lack; other types are skipped.
    Merge,
}

impl IfExists {
    /// The command that sets several strings at once and does so, or with nothing in its way.
    pub fn sets_several(self) -> &'static [u8] {
        match self {
            Self::Replace => b"MSET",
            _ => b"MSETNX",
        }
    }

    /// The option's word; none for what holds without it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refuse => "",
            Self::Replace => "replace",
            Self::Skip => "skip",
            Self::Fail => "fail",
            Self::Merge => "merge",
        }
    }
}
