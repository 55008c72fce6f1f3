//! How many changes a server has seen, as `INFO` reports it.
//!
//! `rdb_changes_since_last_save` counts each key that a client writes or deletes, on every version
//! and without any persistence configured; keys and fields of hashes that expire, keys that are
//! evicted, and whatever is only read, do not count. (On a replica the deletions of expired keys come
//! as commands and count.) When a save ends, what was counted before it began is taken off: between
//! two readings a save hides changes. Saves are told apart by the second, and FLUSHALL saves without
//! being counted, so a reading within a second of the last save cannot exclude another one.

use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::lineage::FOLLOWS;

/// The count at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    since_save: u64,
    /// When the last save ended well, in Unix seconds.
    saved: Option<u64>,
    /// How many saves have ended, unless the last one failed, where that is reported.
    saves: Option<u64>,
    /// A save is under way: how much it will take off is not known.
    saving: bool,
    /// The server's time at this reading, in Unix seconds.
    now: Option<u64>,
    /// The identity of the process: 40 characters.
    run_id: Option<[[u8; 8]; 5]>,
    /// Of a replica: how much it has taken from its primary. A full resynchronisation replaces keys
    /// without counting them.
    taken: Option<u64>,
    replica: Option<bool>,
    /// Whose data it has: 40 characters, others after each full synchronisation.
    #[serde(default)]
    history: Option<[[u8; 8]; 5]>,
    /// How often it was told whom to follow; `None` where this reading does not report it.
    #[serde(default)]
    followed: Option<u64>,
}

impl Changes {
    /// Reads the text of INFO: at least its section `persistence`, better all of it. `None`: the
    /// server does not report its changes.
    pub fn parse(text: &str) -> Option<Self> {
        let field = |wanted: &str| -> Option<&str> {
            let mut fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
            fields.find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let number = |wanted: &str| -> Option<u64> { field(wanted)?.parse().ok() };
        let identity = |wanted: &str| match field(wanted)?.as_bytes().as_chunks() {
            (id, []) => id.try_into().ok(),
            _ => None,
        };
        let saving = number("rdb_bgsave_in_progress") == Some(1);
        let failed = field("rdb_last_bgsave_status").is_some_and(|status| status != "ok");
        Some(Self {
            since_save: number("rdb_changes_since_last_save")?,
            saved: number("rdb_last_save_time"),
            // Counted when they begin.
            saves: number("rdb_saves")
                .filter(|_| !failed)
                .map(|begun| begun.saturating_sub(u64::from(saving))),
            saving,
            now: number("server_time_usec").map(|time| time / 1_000_000),
            run_id: identity("run_id"),
            history: identity("master_replid"),
            followed: Calls::parse(text).map(|calls| calls.of(&FOLLOWS)),
            taken: number("master_repl_offset"),
            replica: match field("role") {
                Some("slave") => Some(true),
                Some("master") => Some(false),
                _ => None,
            },
        })
    }

    /// How many changes there were since `earlier`, at least: exactly so many if
    /// [`Self::is_exact_since`].
    pub fn since(self, earlier: Self) -> u64 {
        if !self.is_of_process(earlier) {
            0
        } else if !self.saved_since(earlier) {
            self.since_save - earlier.since_save
        } else if earlier.saving {
            // What is left may be from before.
            0
        } else {
            self.since_save
        }
    }

    /// Whether nothing that happened since `earlier` is missing in [`Self::since`]: it is the same
    /// process, no save ended, and it took over no other server's data.
    pub fn is_exact_since(self, earlier: Self) -> bool {
        if self.has_other_history_than(earlier) {
            return false;
        }
        // Else a save of the same second may have come behind the reading.
        let saved_before = earlier.now.zip(earlier.saved).is_some_and(|(now, saved)| now > saved);
        saved_before && self.is_of_process(earlier) && !self.saved_since(earlier)
    }

    /// Whether a replica, at one of the two moments, has the data of another server since, or may have. Of a
    /// primary the commands show what made a replica of it in between.
    pub fn may_be_replaced_since(self, earlier: Self) -> bool {
        let follows = [earlier.replica, self.replica].contains(&Some(true));
        follows && self.has_other_history_than(earlier)
    }

    /// Whether its data may have another history since, or had in between: see [`super::lineage`], which needs
    /// more than this to tell whether it is other data.
    fn has_other_history_than(self, earlier: Self) -> bool {
        let told = earlier.followed.zip(self.followed).is_some_and(|(then, now)| now != then);
        told || self.history != earlier.history
    }

    /// Whether both were read of one process, as far as it is told.
    pub fn is_of_process(self, earlier: Self) -> bool {
        self.run_id == earlier.run_id
    }

    /// Whether certainly no client wrote or deleted a key since `earlier`: the server reports its
    /// changes, is the same process, has counted none, and no save began, ran or ended. What
    /// cannot be told (fields of INFO that are missing, a save too short ago) is `false`. Keys may
    /// have expired or have been evicted all the same.
    pub fn certainly_unchanged_since(self, earlier: Self) -> bool {
        let taken_nothing = match (earlier.replica, self.replica) {
            (Some(false), Some(false)) => true,
            (Some(true), Some(true)) => self.taken.is_some() && self.taken == earlier.taken,
            _ => false,
        };
        self.run_id.is_some()
            && self.is_exact_since(earlier)
            && self.since_save == earlier.since_save
            && !(self.saving || earlier.saving)
            && taken_nothing
    }

    /// Whether a reading of the section `persistence` alone, on a connection to the same process, shows
    /// the count where it stood: no change, and no save that could hide one.
    pub fn stands_still_since(self, earlier: Self) -> bool {
        self.since_save == earlier.since_save
            && !self.saved_since(earlier)
            && !(self.saving || earlier.saving)
    }

    /// Whether a save is known to have ended since `earlier`, which hides changes.
    fn saved_since(self, earlier: Self) -> bool {
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

    /// All of INFO that counts, at this second.
    fn whole(now: u64, saved: u64, changes: u64, more: &str) -> Changes {
        let run_id = "0123456789".repeat(4);
        Changes::parse(&format!(
            "{more}server_time_usec:{now}999999\r\nrun_id:{run_id}\r\nrole:master\r\n\
             rdb_changes_since_last_save:{changes}\r\nrdb_bgsave_in_progress:0\r\n\
             rdb_last_save_time:{saved}\r\nrdb_last_bgsave_status:ok\r\nmaster_repl_offset:7\r\n"
        ))
        .unwrap()
    }

    #[test]
    fn only_a_counter_that_can_have_missed_nothing_is_certain() {
        let before = whole(10, 9, 5, "");
        assert!(whole(10, 9, 5, "").certainly_unchanged_since(before));
        assert!(!whole(11, 9, 6, "").certainly_unchanged_since(before), "a change");
        assert!(!whole(11, 11, 5, "").certainly_unchanged_since(before), "a save ended");
        // Within the second of its last save another one would look the same.
        let just_saved = whole(10, 10, 0, "");
        assert!(!whole(11, 10, 0, "").certainly_unchanged_since(just_saved));
        assert!(!whole(11, 10, 0, "").is_exact_since(just_saved));
        assert!(whole(11, 9, 6, "").is_exact_since(before));
        let saving = "rdb_bgsave_in_progress:1\r\n";
        assert!(!whole(11, 9, 5, saving).certainly_unchanged_since(before));
        assert!(!whole(11, 9, 5, "").certainly_unchanged_since(whole(10, 9, 5, saving)));
        let other = format!("run_id:{}\r\n", "f".repeat(40));
        assert!(!whole(11, 9, 5, &other).certainly_unchanged_since(before), "another process");
        // A field that is hidden is no evidence.
        for hidden in
            ["run_id:\r\n", "server_time_usec:\r\n", "role:\r\n", "rdb_last_save_time:\r\n"]
        {
            let hides = |now| whole(now, 9, 5, hidden);
            let certain = hides(11).certainly_unchanged_since(hides(10));
            assert!(!certain, "{hidden}");
        }
    }

    #[test]
    fn a_replica_is_unchanged_while_it_takes_nothing() {
        let taken = |bytes: u64| format!("role:slave\r\nmaster_repl_offset:{bytes}\r\n");
        let before = whole(10, 9, 5, &taken(3));
        assert!(whole(11, 9, 5, &taken(3)).certainly_unchanged_since(before));
        assert!(!whole(11, 9, 5, &taken(4)).certainly_unchanged_since(before));
        assert!(!whole(11, 9, 5, "").certainly_unchanged_since(before), "it was promoted");
    }
}
