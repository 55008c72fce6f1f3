//! Who takes part, and how one run of each is measured.

use std::process::Command;
use std::time::Duration;

use super::copying::{Copying, Road, passwords};
use super::data::DataSet;
use super::foreground;
use super::guide::{self, Programs};
pub(super) use super::outcome::Measured;
use super::outcome::{fill, of_process};
use super::server::Peer;
use super::setting::Setting;
use super::throttle::Moved;
use super::watch::{Clients, Watch};
use super::{ceiling, native, null_target, process};
use crate::error::{Error, Kind, Result};

/// How long nothing is moved: enough operations of a client to tell the slowest hundredth.
const ALONE: Duration = Duration::from_secs(3);

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Contestant {
    pub(super) name: String,
    pub(super) way: Way,
    /// Whether clients work on the source meanwhile.
    pub(super) client: bool,
    /// Why it cannot take part, where that is known beforehand.
    pub(super) obstacle: Option<String>,
}

/// How keys get from the source to the target, or how far.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// The guides' pipeline; without the programs it is emulated.
    Guide(Option<Programs>),
    /// The server's MIGRATE in batches over one connection.
    Migrate,
    /// The server's own replication.
    Replica,
    /// Every DUMP and PTTL is read, nothing is written: the source's own limit.
    Ceiling,
    /// keyferry's reading half, into nothing.
    NullTarget,
    /// `keyferry copy` as a process of its own.
    Copy(Copying),
    /// A shell command.
    Against(String),
    /// Nothing is moved, for a while.
    Nothing,
}

/// What a contestant finds.
pub(super) struct Occasion {
    /// What the source holds.
    pub(super) data: DataSet,
    /// How many keys of it.
    pub(super) keys: u64,
    /// What the plain copy moved, if it ran already.
    pub(super) free: Option<Moved>,
}

pub(super) fn failed(why: impl Into<String>) -> Error {
    Error::new(Kind::Server, why)
}

impl Contestant {
    /// The name in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line about how it works.
    pub fn describe(&self) -> String {
        let way = self.describe_way();
        if self.client { format!("{way}, beside clients of the source") } else { way }
    }

    fn describe_way(&self) -> String {
        match &self.way {
            Way::Guide(Some(_)) => {
                "redis-cli KEYS '*' | xargs redis-cli MIGRATE … COPY KEYS".into()
            }
            Way::Guide(None) => {
                "the guide's MIGRATEs by one client (emulated: no redis-cli and xargs in PATH)"
                    .into()
            }
            Way::Migrate => "SCAN and MIGRATE … COPY in batches of 100 keys, one connection".into(),
            Way::Replica => {
                "REPLICAOF, diskless and without delay, until all keys are there".into()
            }
            Way::Ceiling => {
                "every DUMP and PTTL is read, nothing written: the source's limit".into()
            }
            Way::NullTarget => "keyferry's scan and fetch, whose batches are dropped".into(),
            Way::Copy(copying) => copying.describe(),
            Way::Against(template) => template.clone(),
            Way::Nothing => "nothing".into(),
        }
    }

    /// Whether the keys must be on the target afterwards.
    fn writes(&self) -> bool {
        !matches!(self.way, Way::Ceiling | Way::NullTarget | Way::Nothing)
    }

    /// The plain copy does not take part: whoever is measured by it cannot either.
    pub(super) fn needs_copy(&mut self) {
        if matches!(&self.way, Way::Copy(copying) if copying.throttle.is_some()) {
            let why = "its rate is a part of what 'copy' reaches, which does not take part";
            self.obstacle.get_or_insert_with(|| why.into());
        }
    }

    /// Whether it needs the servers' TLS ports.
    pub(super) fn speaks_tls(&self) -> bool {
        matches!(&self.way, Way::Copy(copying) if copying.road == Road::Tls)
    }

    /// Why it cannot run on these servers.
    pub(super) fn obstacle(&self, setting: &Setting) -> Option<String> {
        if self.obstacle.is_some() {
            return self.obstacle.clone();
        }
        if self.speaks_tls() {
            return setting.no_tls();
        }
        let servers_talk = match &self.way {
            Way::NullTarget | Way::Against(_) | Way::Nothing => false,
            Way::Copy(copying) => matches!(copying.road, Road::Proxies(_)),
            Way::Guide(_) | Way::Migrate | Way::Replica | Way::Ceiling => true,
        };
        let plain = |peer: &Peer| peer.plain_address().is_some();
        if servers_talk && !(plain(&setting.source) && plain(&setting.target)) {
            return Some("it needs plain TCP without a password on both sides".into());
        }
        if self.client && !plain(&setting.source) {
            return Some("the clients need plain TCP without a password".into());
        }
        None
    }

    /// Runs it once, on a source that is filled and an empty target.
    pub(super) async fn measure(&self, setting: &Setting, now: &Occasion) -> Result<Measured> {
        setting.target.flush().await?;
        let clients = match self.way {
            Way::Copy(_) | Way::NullTarget => Clients::Keyferry,
            _ => Clients::All,
        };
        let watch = Watch::start(&setting.source, clients, now.data.has_large_values()).await?;
        let measured = Box::pin(self.run_beside(setting, now)).await;
        let seen = watch.end().await;
        let mut measured = measured?;
        fill(&mut measured, &seen);
        if self.writes() && !matches!(self.way, Way::Replica) {
            let there = setting.target.keys().await?;
            if there != now.keys {
                return Err(failed(format!("{there} of {} keys are on the target", now.keys)));
            }
        }
        Ok(measured)
    }

    async fn run_beside(&self, setting: &Setting, now: &Occasion) -> Result<Measured> {
        if !self.client {
            return self.run(setting, now).await;
        }
        let broken = |error: std::io::Error| failed(format!("the clients: {error}"));
        let clients = foreground::Clients::start(setting.source.plain()?).await.map_err(broken)?;
        let mut measured = self.run(setting, now).await?;
        measured.client_ms = Some(clients.end().await.map_err(broken)?);
        Ok(measured)
    }

    async fn run(&self, setting: &Setting, now: &Occasion) -> Result<Measured> {
        let keys = now.keys;
        let (source, target) = (&setting.source, &setting.target);
        match &self.way {
            Way::Guide(Some(programs)) => {
                guide::for_real(programs, [&source.plain()?, &target.plain()?]).await
            }
            Way::Guide(None) => guide::emulated(source, &target.plain()?).await,
            Way::Migrate => native::migrate(source, &target.plain()?).await,
            Way::Replica => {
                let replica = setting.replica();
                let measured = native::replicate(&source.plain()?, replica, keys).await;
                // Whatever came of it: a replica can be neither written nor flushed.
                replica.demand(&[b"REPLICAOF", b"NO", b"ONE"]).await?;
                replica.flush().await?;
                measured
            }
            Way::Ceiling => ceiling(source.plain()?, keys).await,
            Way::NullTarget => Box::pin(null_target::read(source, keys)).await,
            Way::Copy(copying) => Box::pin(copying.run(setting, keys, now.free)).await,
            Way::Against(template) => against(template, source, target).await,
            Way::Nothing => {
                tokio::time::sleep(ALONE).await;
                Ok(Measured { seconds: ALONE.as_secs_f64(), ..Measured::default() })
            }
        }
    }
}

async fn ceiling((host, port): (String, u16), keys: u64) -> Result<Measured> {
    let task = tokio::task::spawn_blocking(move || ceiling::read_everything(&host, port));
    let (payloads, seconds) = task
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    if payloads < keys {
        return Err(failed(format!("{payloads} of {keys} payloads came")));
    }
    Ok(Measured { seconds, ..Measured::default() })
}

async fn against(template: &str, source: &Peer, target: &Peer) -> Result<Measured> {
    let mut script = template.to_owned();
    for (side, peer) in [("source", source), ("target", target)] {
        let (host, port) = match &peer.server.endpoint.address {
            crate::config::Address::Tcp { host, port } => (host.clone(), port.to_string()),
            crate::config::Address::Unix(path) => (path.display().to_string(), String::new()),
        };
        script = script
            .replace(&format!("{{{side}}}"), &peer.url())
            .replace(&format!("{{{side}_host}}"), &host)
            .replace(&format!("{{{side}_port}}"), &port);
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    passwords(&mut command, source, target);
    let ended = process::run(vec![command]).await?;
    of_process(&ended)
}
