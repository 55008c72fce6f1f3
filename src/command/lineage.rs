//! Whose data a server has, as `INFO replication` reports it.
//!
//! Source: `replication.c` of Redis and Valkey. `master_replid` names the history of the data: a replica has its
//! primary's, and another one after a full synchronisation. One that is promoted begins a history and names the
//! one that it goes on from in `master_replid2`. A primary begins one, too, when its first replica asks for its
//! data, or when it had none for an hour (`repl-backlog-ttl`); then it names none before, but zeros.

use serde::{Deserialize, Serialize};

use super::info::ServerInfo;

/// The history of a server's data at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    history: Option<String>,
    before: Option<String>,
    replica: bool,
}

impl Lineage {
    /// What a server has reported.
    pub fn of(info: &ServerInfo) -> Self {
        Self {
            history: info.history.clone(),
            before: info.history_before.clone(),
            replica: info.replica,
        }
    }

    /// Whether the data is that of another server since `earlier`, or may be. What is not reported is taken to
    /// be as it was.
    pub fn is_other_since(&self, earlier: &Self) -> bool {
        let (Some(was), Some(is)) = (&earlier.history, &self.history) else { return false };
        if is == was || self.before.as_ref() == Some(was) {
            return false;
        }
        let names_none = |before: &String| before.bytes().all(|byte| byte == b'0');
        let began =
            !earlier.replica && !self.replica && self.before.as_ref().is_some_and(names_none);
        !began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_another_server_is_no_going_on() {
        let of = |role: &str, history: &str, before: &str| {
            let text = format!("role:{role}\nmaster_replid:{history}\nmaster_replid2:{before}\n");
            Lineage::of(&ServerInfo::parse(&text))
        };
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
            // A first replica asked for its data.
            (of("master", "x", "0"), of("master", "y", "000"), false),
        ] {
            assert_eq!(is.is_other_since(&was), other, "{was:?} {is:?}");
        }
        let untold = Lineage::of(&ServerInfo::parse("role:master\n"));
        assert!(!untold.is_other_since(&of("slave", "x", "0")));
    }
}
