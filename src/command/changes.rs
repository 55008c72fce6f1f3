//! How many changes a server has seen, as `INFO persistence` tells it.
//!
//! `rdb_changes_since_last_save` counts each key that a client writes or deletes, on every version
//! and without any persistence configured; keys and fields of hashes that expire, and whatever is
//! only read, do not count. (On a replica the deletions of expired keys come as commands and count.)
//! When a save ends, what was counted before it began is taken off.

/// The count at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    since_save: u64,
    /// When the last save ended well, in Unix seconds.
    saved: Option<u64>,
    /// How many saves have ended, unless the last one failed, where that is told.
    saves: Option<u64>,
    /// A save is under way: nobody knows how much will be taken off.
    saving: bool,
}

impl Changes {
    /// Reads the section `persistence` of INFO; `None`: it does not tell.
    pub fn parse(text: &str) -> Option<Self> {
        let told = |wanted: &str| {
            let mut fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
            fields.find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let field = |wanted: &str| -> Option<u64> { told(wanted)?.parse().ok() };
        let saving = field("rdb_bgsave_in_progress") == Some(1);
        let failed = told("rdb_last_bgsave_status").is_some_and(|status| status != "ok");
        Some(Self {
            since_save: field("rdb_changes_since_last_save")?,
            saved: field("rdb_last_save_time"),
            // Counted when they begin.
            saves: field("rdb_saves")
                .filter(|_| !failed)
                .map(|begun| begun.saturating_sub(u64::from(saving))),
            saving,
        })
    }

    /// How many changes there were since `earlier`, at least: exactly so many, unless a save ended in
    /// between.
    pub fn since(self, earlier: Self) -> u64 {
        if !self.saved_since(earlier) {
            self.since_save - earlier.since_save
        } else if earlier.saving {
            // What is left may be from before.
            0
        } else {
            self.since_save
        }
    }

    /// Whether a save ended since `earlier`, which may hide changes.
    pub fn saved_since(self, earlier: Self) -> bool {
        // Fewer: a replica is being given a copy, which is a save that is not counted.
        let counted = self.saves.zip(earlier.saves).is_some_and(|(now, then)| now > then);
        self.saved != earlier.saved || counted || self.since_save < earlier.since_save
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(changes: u64, saved: u64, saving: u8) -> Changes {
        Changes::parse(&format!(
            "# Persistence\r\nloading:0\r\nrdb_changes_since_last_save:{changes}\r\n\
             rdb_bgsave_in_progress:{saving}\r\nrdb_last_save_time:{saved}\r\n"
        ))
        .unwrap()
    }

    #[test]
    fn a_save_in_between_hides_changes_and_makes_none() {
        assert_eq!(at(7, 1, 0).since(at(5, 1, 0)), 2);
        assert_eq!(at(5, 1, 1).since(at(5, 1, 0)), 0);
        // The five of before were saved.
        assert_eq!(at(0, 2, 0).since(at(5, 1, 0)), 0);
        assert_eq!(at(9, 2, 0).since(at(5, 1, 0)), 9);
        assert_eq!(at(3, 1, 0).since(at(5, 1, 0)), 3, "within one second of the last");
        // Some of the three may have come before.
        assert_eq!(at(3, 2, 0).since(at(5, 1, 1)), 0);
        assert!(at(3, 2, 0).saved_since(at(3, 1, 0)) && !at(3, 1, 0).saved_since(at(3, 1, 1)));
        assert_eq!(Changes::parse("# Persistence\r\nloading:0\r\n"), None);
    }

    fn counted(changes: u64, saves: u64, saving: u8, status: &str) -> Changes {
        Changes::parse(&format!(
            "rdb_changes_since_last_save:{changes}\r\nrdb_bgsave_in_progress:{saving}\r\n\
             rdb_last_save_time:1\r\nrdb_last_bgsave_status:{status}\r\nrdb_saves:{saves}\r\n"
        ))
        .unwrap()
    }

    #[test]
    fn a_save_counts_once_it_has_ended_well() {
        let before = counted(5, 1, 0, "ok");
        assert_eq!(counted(5, 2, 1, "ok").since(before), 0, "it began in between");
        assert_eq!(counted(5, 2, 0, "err").since(before), 0, "it failed");
        assert_eq!(counted(5, 1, 1, "ok").since(before), 0, "a replica is being given a copy");
        assert_eq!(counted(5, 1, 0, "ok").since(counted(5, 1, 1, "ok")), 0, "and has it");
        assert_eq!(counted(5, 2, 0, "ok").since(before), 5, "all of them are new");
        assert_eq!(counted(5, 2, 0, "ok").since(counted(5, 2, 1, "ok")), 0);
    }
}
