//! What happens to a key that the target already holds.

/// The policy of `--if-exists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
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
    /// The option's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Skip => "skip",
            Self::Fail => "fail",
            Self::Merge => "merge",
        }
    }
}
