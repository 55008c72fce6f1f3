//! What is done again because no connection outlived it: questions outside the pipeline of a copy.

use tokio::time::{Instant, sleep};

use super::acquaint::{Meant, Met, acquaint};
use super::census::{self, Holdings};
use super::probe::{self, Probed, probe};
use super::{Run, independent, queued};
use crate::command::ServerInfo;
use crate::config::Route;
use crate::error::{Error, Kind, Result, Side};
use crate::net::{Backoff, Line, Link, connect};
use crate::report::json::Peer;
use crate::source::unlink::Removal;

/// How often and how long something is done again that no connection outlived. It has to be such that
/// it can be done twice. Until a server has answered once, nothing is tried again: a wrong address
/// should be told at once.
#[derive(Default)]
struct Again {
    began: Option<Instant>,
    backoff: Backoff,
}

impl Again {
    /// Waits a little longer each time, until it may be done again.
    ///
    /// # Errors
    /// `cause`: it does not pass, its server has never answered, the retry budget is used up, or the
    /// run is stopped.
    async fn after(&mut self, cause: Error, run: &Run) -> Result<()> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let over = run.stop.is_cancelled() || began.elapsed() >= run.plan.timeouts.retry;
        if over || !cause.passes() || !run.has_answered(cause.side()) {
            return Err(cause);
        }
        match cause.side() {
            Some(Side::Source) => run.source.tell_waiting(&cause, "beginning again"),
            _ => run.target.tell_waiting(&cause, "beginning again"),
        }
        tokio::select! {
            biased;
            () = run.stop.cancelled() => Err(cause),
            () = sleep(self.backoff.next_delay()) => Ok(()),
        }
    }
}

/// Whatever a server does not permit now is a refusal, unless an earlier run has written something.
pub(super) fn nothing_written(run: &Run, error: Error) -> Error {
    let resumed = run.checkpoint.as_ref().is_some_and(|earlier| earlier.is_begun());
    let refused = error.kind() == Kind::Server && !error.passes() && !resumed;
    if refused { error.as_kind(Kind::Refused) } else { error }
}

/// Probes both servers.
pub(super) async fn probed(run: &Run, source: &mut Peer, target: &mut Peer) -> Result<Probed> {
    let mut again = Again::default();
    loop {
        match probe(run, source, target).await {
            Ok(probed) => return Ok(probed),
            Err(error) => {
                again.after(error, run).await.map_err(|error| nothing_written(run, error))?;
            }
        }
    }
}

/// What a comparison has to know of both servers.
pub(super) async fn met(
    run: &Run,
    meant: Meant<'_>,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Met> {
    let mut again = Again::default();
    loop {
        match run.stop.run_until_cancelled(acquaint(run, meant, source, target)).await {
            Some(Ok(met)) => return Ok(met),
            Some(Err(error)) => {
                again.after(error, run).await.map_err(|error| nothing_written(run, error))?;
            }
            None => return Err(Error::new(Kind::Cancelled, "stopped")),
        }
    }
}

/// How keys may be deleted from the source.
pub(super) async fn removal(run: &Run, met: &Met) -> Result<Removal> {
    let mut again = Again::default();
    loop {
        let asked = async {
            let connection = met.source_link(run, 0).connect().await?;
            queued::may_delete(connection).await
        };
        match asked.await {
            Ok(removal) => return Ok(removal),
            Err(error) => again.after(error, run).await?,
        }
    }
}

/// Refuses a clean-up where it is not shown that the sides are independent of each other.
pub(super) async fn refuse_dependent(run: &Run, met: &Met) -> Result<()> {
    let mut again = Again::default();
    let [of_source, of_target] = &met.infos;
    loop {
        let asked = async {
            let mut at_target = met.target_link(run, 0).connect().await?;
            let (sameness, at) = (met.sameness.clone(), (&mut at_target, of_target));
            independent::refuse_deletion(run, &met.routes, sameness, of_source, at).await
        };
        match asked.await {
            Ok(_) => return Ok(()),
            Err(error) => again.after(error, run).await?,
        }
    }
}

/// What the source says of itself and which databases hold keys, where it was not probed.
pub(super) async fn info_of_source(run: &Run) -> Result<(ServerInfo, Holdings)> {
    let mut again = Again::default();
    loop {
        let asked = async {
            let mut connection = connect(&run.source, 0).await?;
            let info = probe::info(&mut connection).await?;
            let mapping = &run.plan.mapping;
            let held = census::of_mapping(&mut connection, &run.source, &info, mapping).await?;
            Ok((info, held))
        };
        match asked.await {
            Ok(info) => return Ok(info),
            Err(error) => again.after(error, run).await?,
        }
    }
}

/// What a server says of itself now.
pub(super) async fn info(link: &Link) -> Result<ServerInfo> {
    Line::new(link.clone()).info().await
}

/// Which databases of these routes a source holds keys in now.
pub(super) async fn holdings(link: &Link, routes: &[Route]) -> Result<Holdings> {
    let mut line = Line::new(link.clone());
    let info = line.info().await?;
    loop {
        let databases = routes.iter().map(|route| route.source);
        match census::look(line.open().await?, &info, databases).await {
            Ok(held) => return Ok(held),
            Err(error) => line.recover(error).await?,
        }
    }
}
