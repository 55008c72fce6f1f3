//! The servers of a benchmark together: made ready, and left as they were found.

use std::path::{Path, PathBuf};

use super::certificates::Certificates;
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
    /// What both sides' TLS ports show, or why they have none.
    tls: std::result::Result<Certificates, String>,
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
                let wants_tls = contestants.iter().any(Contestant::speaks_tls);
                let mut tls = if wants_tls { Certificates::make() } else { Err(String::new()) };
                let target = with_tls(target, Side::Target, &mut tls).await?;
                let source = with_tls(source, Side::Source, &mut tls).await?;
                let mut setting =
                    Self { source, target, replica, given: false, before: Vec::new(), tls };
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
                let why = "only throw-away servers are given TLS ports";
                let mut setting = Self {
                    source,
                    target,
                    replica: None,
                    given: true,
                    before: Vec::new(),
                    tls: Err(why.into()),
                };
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

    /// Why the servers cannot be reached by TLS, if so.
    pub(super) fn no_tls(&self) -> Option<String> {
        self.tls.as_ref().err().cloned()
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

/// Starts a server with a TLS port if there are certificates; if it has no TLS, `tls` says so then.
async fn with_tls(
    program: &Path,
    side: Side,
    tls: &mut std::result::Result<Certificates, String>,
) -> Result<Peer> {
    let Ok(certificates) = tls else { return Peer::start(program, side).await };
    let (peer, answers) = Peer::start_with_tls(program, side, certificates).await?;
    if let Err(why) = answers {
        *tls = Err(why);
    }
    Ok(peer)
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
