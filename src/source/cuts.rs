//! Connections that a source closes because of what they were asked for.
//!
//! A server closes a client for whom longer replies wait than `client-output-buffer-limit` or
//! `maxmemory-clients` allow, without a word, and drops what it had not sent yet: of the keys that were
//! asked for one may be too long, or all of them together. Ever fewer are asked for, until they get through or
//! one of them is left:
//!
//! ```text
//! cut ──> all of them again ──> cut ──> an eighth at a time ──> … ──> one at a time ──> cut ──> it is too long
//!              └── through: a hiccup        └───┴── through: together they were too long: a narrower window
//! ```

/// What to look at on a source that closes connections while a value is read.
pub const WHERE_TO_LOOK: &str =
    "see CONFIG GET client-output-buffer-limit there, and maxmemory-clients";

/// By this part fewer keys are asked for at once after each cut.
const FEWER: usize = 8;
/// So often the connection has to be cut at one key alone before that key is to blame: before any was, and
/// once it is known that the source does so.
const ALONE: [u32; 2] = [2, 1];

/// The cuts that one connection has met since it got through the last time.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// How many keys may be asked for at once while some of those that were cut are not through.
    most: Option<usize>,
    /// So many of them are not.
    suspects: usize,
    /// How often it was cut at one key alone.
    alone: u32,
    /// A key was too long before.
    known: bool,
}

impl Cuts {
    /// How many keys may be asked for at once.
    pub(super) fn most(&self) -> usize {
        self.most.unwrap_or(usize::MAX)
    }

    /// The connection was cut while so many keys had no answer; whether the first of them, alone, is too long
    /// for the source.
    pub(super) fn cut(&mut self, outstanding: usize) -> bool {
        if outstanding == 0 {
            return false;
        }
        if outstanding == 1 {
            self.alone += 1;
            if self.alone >= ALONE[usize::from(self.known)] {
                self.known = true;
                self.through(1);
                return true;
            }
        }
        let again = self.suspects > 0 || self.known;
        self.suspects = self.suspects.max(outstanding);
        if again {
            self.most = Some((outstanding / FEWER).max(1));
        }
        false
    }

    /// So many keys have their answers; whether all that were cut are through now by asking for fewer.
    pub(super) fn through(&mut self, keys: usize) -> bool {
        if keys == 0 || self.suspects == 0 {
            return false;
        }
        self.alone = 0;
        self.suspects = self.suspects.saturating_sub(keys);
        self.suspects == 0 && self.most.take().is_some()
    }

    /// Another process answers: what this one did says nothing of it.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hiccup_changes_nothing() {
        let mut cuts = Cuts::default();
        assert!(!cuts.cut(500));
        assert_eq!(cuts.most(), usize::MAX);
        assert!(!cuts.through(500), "nothing was narrowed");
        assert!(!cuts.cut(0));
        assert_eq!(cuts.most(), usize::MAX);
    }

    #[test]
    fn ever_fewer_are_asked_for_until_one_is_to_blame() {
        let mut cuts = Cuts::default();
        let mut outstanding = 500;
        for most in [usize::MAX, 62, 7, 1] {
            assert!(!cuts.cut(outstanding));
            assert_eq!(cuts.most(), most);
            outstanding = most.min(500);
        }
        assert!(!cuts.cut(1));
        assert!(cuts.cut(1));
        assert!(cuts.through(499), "the others came through one by one");
        assert_eq!(cuts.most(), usize::MAX);
        // Now that it is known, the next one is found sooner.
        assert!(!cuts.cut(8));
        assert_eq!(cuts.most(), 1);
        assert!(cuts.cut(1));
    }

    #[test]
    fn what_was_too_long_together_gets_through_in_parts() {
        let mut cuts = Cuts::default();
        cuts.cut(128);
        cuts.cut(128);
        assert_eq!(cuts.most(), 16);
        assert!((0..7).all(|_| !cuts.through(16)));
        assert!(cuts.through(16));
        assert_eq!(cuts.most(), usize::MAX);
    }
}
