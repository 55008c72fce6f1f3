//! Which process answers for a server: after a restart or a failover it is another one, and what the
//! old one said of cursors, or acknowledged, counts no more.

use std::sync::{Arc, Mutex, PoisonError};

use crate::command::ServerInfo;
use crate::command::lineage::Lineage;

/// The process behind an endpoint, as all connections of a run know it together.
#[derive(Clone, Debug, Default)]
pub struct Process(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    run_id: Option<String>,
    /// Whose data it has, where it matters that the data is the same.
    lineage: Option<Lineage>,
    /// How often it was another one.
    changes: u64,
}

impl Process {
    /// A target: it also counts as another one if it took over another server's data meanwhile, as
    /// a replica does.
    pub fn with_data(info: &ServerInfo) -> Self {
        let (run_id, lineage) = (info.run_id.clone(), Some(Lineage::of(info)));
        Self(Arc::new(Mutex::new(Known { run_id, lineage, changes: 0 })))
    }

    /// How often it was another one so far.
    pub fn changes(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Takes note of who answered now; answers as [`Self::changes`]. What a server does not tell is
    /// taken to be as it was.
    pub fn meet(&self, info: &ServerInfo) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let other = |was: &Option<String>, is: &Option<String>| {
            was.as_ref().is_some_and(|was| is.as_ref().is_some_and(|is| is != was))
        };
        let now = Lineage::of(info);
        let other_data = known.lineage.as_ref().is_some_and(|was| now.is_other_since(was));
        if other(&known.run_id, &info.run_id) || other_data {
            known.changes += 1;
        }
        if info.run_id.is_some() && known.run_id.is_some() {
            known.run_id.clone_from(&info.run_id);
        }
        if info.history.is_some() && known.lineage.is_some() {
            known.lineage = Some(now);
        }
        known.changes
    }
}

impl From<Option<String>> for Process {
    fn from(run_id: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(Known { run_id, ..Known::default() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(run_id: &str, history: &str, before: &str) -> ServerInfo {
        ServerInfo::parse(&format!(
            "run_id:{run_id}\nmaster_replid:{history}\nmaster_replid2:{before}\n"
        ))
    }

    #[test]
    fn a_replica_that_is_promoted_goes_on_with_what_it_held() {
        let process = Process::with_data(&info("a", "x", "0"));
        assert_eq!(process.meet(&info("a", "x", "0")), 0);
        assert_eq!(process.meet(&info("a", "y", "x")), 0);
        assert_eq!(process.meet(&info("a", "z", "y")), 0);
        // Its first replica asks for its data.
        assert_eq!(process.meet(&info("a", "x", "0")), 0);
        // It took another's data.
        assert_eq!(process.meet(&info("a", "w", "u")), 1);
        assert_eq!(process.meet(&info("b", "v", "w")), 2);
        assert_eq!(process.meet(&info("b", "v", "w")), 2);
    }

    #[test]
    fn what_is_not_told_is_as_it_was() {
        let process = Process::with_data(&info("a", "x", "0"));
        assert_eq!(process.meet(&ServerInfo::default()), 0);
        assert_eq!(Process::default().meet(&info("a", "x", "0")), 0);
        let source = Process::from(Some("a".to_owned()));
        assert_eq!(source.meet(&info("a", "y", "0")), 0);
        assert_eq!(source.meet(&info("b", "y", "0")), 1);
        assert_eq!(source.changes(), 1);
    }
}
