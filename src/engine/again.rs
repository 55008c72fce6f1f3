//! What is done again because no connection outlived it: questions outside the pipeline of a copy.

use tokio::time::{Instant, sleep};

use super::Run;
use super::acquaint::{Meant, Met, acquaint};
use super::probe::{Probed, probe};
use crate::command::ServerInfo;
use crate::error::{Error, Result};
use crate::net::{Backoff, Link};
use crate::report::json::Peer;

/// How often and how long something is done again that no connection outlived. It has to be such that
/// it can be done twice.
#[derive(Default)]
struct Again {
    began: Option<Instant>,
    backoff: Backoff,
}

impl Again {
    /// Waits a little longer each time, until it may be done again.
    ///
    /// # Errors
    /// `cause`: it does not pass, the retry budget is used up, or the run is stopped.
    async fn after(&mut self, cause: Error, run: &Run) -> Result<()> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let over = run.stop.is_cancelled() || began.elapsed() >= run.plan.timeouts.retry;
        if over || !cause.passes() {
            return Err(cause);
        }
        tracing::warn!("{cause}; beginning again");
        tokio::select! {
            biased;
            () = run.stop.cancelled() => Err(cause),
            () = sleep(self.backoff.next_delay()) => Ok(()),
        }
    }
}

/// Probes both servers. Until both have told what they are, nothing is tried again: a wrong address
/// should be told at once.
pub(super) async fn probed(run: &Run, source: &mut Peer, target: &mut Peer) -> Result<Probed> {
    let mut again = Again::default();
    loop {
        match probe(run, source, target).await {
            Err(error) if !source.server.is_empty() && !target.server.is_empty() => {
                again.after(error, run).await?;
            }
            result => return result,
        }
    }
}

/// What a comparison has to know before the copy is made.
pub(super) async fn met(
    run: &Run,
    probed: &Probed,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Met> {
    let mut again = Again::default();
    loop {
        match acquaint(run, Meant::These(&probed.routes), source, target).await {
            Ok(met) => return Ok(met),
            Err(error) => again.after(error, run).await?,
        }
    }
}

/// What a server says of itself now.
pub(super) async fn info(run: &Run, link: &Link) -> Result<ServerInfo> {
    let mut again = Again::default();
    loop {
        let mut connection = link.connect().await?;
        match connection.demand(&[b"INFO"]).await {
            Ok(reply) => {
                let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default());
                return Ok(ServerInfo::parse(&text));
            }
            Err(error) => again.after(error, run).await?,
        }
    }
}
