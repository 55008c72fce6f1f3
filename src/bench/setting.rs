//! The servers of a benchmark together: made ready, and left as they were found.

use std::path::PathBuf;

use super::contestant::{Contestant, Way};
use super::server::Peer;
use crate::config::Server;
use crate::error::{Error, Result, Side};

/// Which servers take part.
#[derive(Clone, Debug)]
pub enum Servers {
    /// Started for the run: the programs of source and target.
    ThrowAway {
        /// The source's program.
        source: PathBuf,
        /// The target's program.
        target: PathBuf,
    },
    /// Named by their URLs. They must be empty, and are left empty.
    Given {
        /// The side that is loaded.
        source: Box<Server>,
        /// The side that is written.
        target: Box<Server>,
    },
}

/// What replication waits for if it is not told: 5 s for further replicas, and 6.2 for its disk.
const REPLICATION: [(&str, &str); 2] =
    [("repl-diskless-sync-delay", "0"), ("repl-diskless-sync", "yes")];

/// The servers.
pub(super) struct Setting {
    pub(super) source: Peer,
    pub(super) target: Peer,
    /// A replica of the source's own version, where the target is of another.
    replica: Option<Peer>,
    given: bool,
    /// Settings of the source to be put back.
    before: Vec<(&'static str, String)>,
}

impl Setting {
    /// Starts servers, or looks whether those that are given may be used.
    pub(super) async fn prepare(servers: &Servers, contestants: &[Contestant]) -> Result<Self> {
        let replicates = contestants.iter().any(|c| matches!(c.way, Way::Replica));
        match servers {
            Servers::ThrowAway { source, target } => {
                let own_replica = replicates && source != target;
                let mut replica = None;
                if own_replica {
                    replica = Some(Peer::start(source, Side::Target).await?);
                }
                let target = Peer::start(target, Side::Target).await?;
                let source = Peer::start(source, Side::Source).await?;
                let mut setting =
                    Self { source, target, replica, given: false, before: Vec::new() };
                setting.replicate_at_once(replicates).await?;
                Ok(setting)
            }
            Servers::Given { source, target } => {
                let (source, target) =
                    (Peer::given((**source).clone()), Peer::given((**target).clone()));
                whole_server(&source)?;
                whole_server(&target)?;
                source.must_be_empty().await?;
                target.must_be_empty().await?;
                let (run, other) =
                    (source.identity().await?.run_id, target.identity().await?.run_id);
                if run.is_some() && run == other {
                    return Err(Error::refused("source and target are the same server"));
                }
                let mut setting =
                    Self { source, target, replica: None, given: true, before: Vec::new() };
                if let Err(error) = setting.replicate_at_once(replicates).await {
                    setting.leave().await?;
                    return Err(error.advise("leave it out: --skip replicaof"));
                }
                Ok(setting)
            }
        }
    }

    async fn replicate_at_once(&mut self, replicates: bool) -> Result<()> {
        for (name, value) in REPLICATION.into_iter().filter(|_| replicates) {
            if let Some(before) = self.source.set(name, value).await? {
                self.before.push((name, before));
            }
        }
        Ok(())
    }

    /// The server that replicates the source.
    pub(super) fn replica(&self) -> &Peer {
        self.replica.as_ref().unwrap_or(&self.target)
    }

    /// Whether the servers were started for the run.
    pub(super) fn is_throw_away(&self) -> bool {
        !self.given
    }

    /// Leaves given servers empty and as they were set; those that were started need no farewell.
    pub(super) async fn leave(&self) -> Result<()> {
        if !self.given {
            return Ok(());
        }
        for (name, value) in &self.before {
            self.source.set(name, value).await?;
        }
        if !self.before.is_empty() {
            // An interrupted run may have left it a replica.
            self.target.demand(&[b"REPLICAOF", b"NO", b"ONE"]).await?;
        }
        self.target.flush().await?;
        self.source.flush().await
    }
}

/// A benchmark flushes whole servers: a database number would promise something else.
fn whole_server(peer: &Peer) -> Result<()> {
    let endpoint = &peer.server.endpoint;
    match endpoint.database {
        None => Ok(()),
        Some(_) => Err(Error::config("a benchmark takes a whole server, not one database")
            .at(peer.server.side, &endpoint.to_string())
            .advise("leave the database number out of the URL")),
    }
}
