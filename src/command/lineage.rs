//! Whose data a server has, as `INFO replication` reports it.
//!
//! Source: `replication.c` of Redis and Valkey. `master_replid` names the history of the data: a replica has its
//! primary's, and another one after a full synchronisation. One that is promoted begins a history and names the
//! one that it goes on from in `master_replid2`. A primary begins one, too, when its first replica asks for its
//! data, or when it had none for an hour (`repl-backlog-ttl`); then it names none before, but zeros.

use serde::{Deserialize, Serialize};

use super::info::ServerInfo;

/// What makes a server follow another one, or none.
pub(super) const FOLLOWS: [&str; 3] = ["replicaof", "slaveof", "failover"];

/// The history of a server's data at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    history: Option<String>,
    before: Option<String>,
    replica: bool,
    /// How often it was told whom to follow, where it reports what was called.
    followed: Option<u64>,
}

impl Lineage {
    /// What a server has reported.
    pub fn of(info: &ServerInfo) -> Self {
        Self {
            history: info.history.clone(),
            before: info.history_before.clone(),
            replica: info.replica,
            followed: info.calls.as_ref().map(|calls| calls.of(&FOLLOWS)),
        }
    }

    /// Whether the data is that of another server since `earlier`, or may be. What is not reported is taken to
    /// be as it was.
    pub fn is_other_since(&self, earlier: &Self) -> bool {
        let (Some(was), Some(is)) = (&earlier.history, &self.history) else { return false };
        // Fewer: the counts were reset, which shows elsewhere.
        let told = match (earlier.followed, self.followed) {
            (Some(was), Some(is)) => is.saturating_sub(was),
            _ => 0,
        };
        let follows = earlier.replica || self.replica;
        let names_none = |before: &String| before.bytes().all(|byte| byte == b'0');
        match &self.before {
            // To another one and back again.
            _ if is == was => follows && told > 0,
            // Once is a promotion, of itself or of its primary; a primary that took over other data never comes
            // back to its own.
            Some(before) if before == was => earlier.replica && told > 1,
            Some(before) if names_none(before) => follows || told > 0,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_another_server_is_no_going_on() {
        let told = |role: &str, history: &str, before: &str, followed: u32| {
            let text = format!(
                "role:{role}\nmaster_replid:{history}\nmaster_replid2:{before}\n\
                 cmdstat_info:calls=1\ncmdstat_replicaof:calls={followed}\n"
            );
            Lineage::of(&ServerInfo::parse(&text))
        };
        let of = |role: &str, history: &str, before: &str| told(role, history, before, 0);
        for (was, is, other) in [
            (of("slave", "x", "0"), of("slave", "x", "0"), false),
            (of("slave", "x", "0"), of("slave", "y", "0"), true),
            // Its primary was promoted, or it was itself.
            (of("slave", "x", "0"), of("slave", "y", "x"), false),
            (of("slave", "x", "0"), of("master", "y", "x"), false),
            (of("slave", "x", "0"), of("master", "y", "z"), true),
            (of("slave", "x", "0"), of("master", "y", "0"), true),
            (of("master", "x", "0"), of("slave", "y", "0"), true),
            // It was a replica in between.
            (of("master", "x", "0"), of("master", "y", "z"), true),
            // A first replica asked for its data; or it was a replica, and that is forgotten.
            (of("master", "x", "0"), of("master", "y", "000"), false),
            (of("master", "x", "0"), told("master", "y", "000", 2), true),
            // It followed another one in between, and was promoted in the end.
            (of("slave", "x", "0"), told("slave", "x", "0", 2), true),
            // CONFIG RESETSTAT.
            (told("slave", "x", "0", 1), of("slave", "x", "0"), false),
            (of("slave", "x", "0"), told("master", "y", "x", 1), false),
            (of("slave", "x", "0"), told("master", "y", "x", 3), true),
            (of("master", "x", "0"), told("master", "y", "x", 2), false),
        ] {
            assert_eq!(is.is_other_since(&was), other, "{was:?} {is:?}");
        }
        let untold = Lineage::of(&ServerInfo::parse("role:master\n"));
        assert!(!untold.is_other_since(&of("slave", "x", "0")));
    }
}
