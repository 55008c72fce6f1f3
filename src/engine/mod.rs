//! The only place that spawns and wires: a [`Plan`] becomes tasks, and their ends an outcome.
//!
//! ```text
//! probe (both servers, safety) ──> for each route: database (scan, fetch × n, lane × n) ──> verify
//! ```

mod copy;
mod database;
mod dry_run;
mod expiries;
mod merge;
mod probe;
mod proof;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::{Plan, Verify};
use crate::error::{Error, Result};
use crate::net::{Connector, Link};
use crate::report::Stats;
use crate::report::json::{Outcome, Peer, Report, Verified};
use probe::Probed;

/// What all tasks of a run share.
struct Run {
    plan: Plan,
    source: Connector,
    target: Connector,
    stats: Arc<Stats>,
    /// Ends the run early: the operator's wish, or a cause that hits every key.
    stop: CancellationToken,
}

impl Run {
    /// The way to a database of the source.
    fn source_link(&self, database: u32, probed: &Probed) -> Link {
        let run_id = probed.source_run_id.clone();
        Link::new(self.source.clone(), database, run_id, self.stop.clone())
    }

    /// The way to a database of the target.
    fn target_link(&self, database: u32, probed: &Probed) -> Link {
        let run_id = probed.target_run_id.clone();
        Link::new(self.target.clone(), database, run_id, self.stop.clone())
    }
}

/// A run and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// Everything there is to say.
    pub report: Report,
    /// The cause that ended it early.
    pub error: Option<Error>,
}

/// Runs a plan to its end, or, once `cancel` is cancelled, until what is in flight is done.
pub async fn run(plan: Plan, stats: Arc<Stats>, cancel: CancellationToken) -> Ended {
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let dry_run = plan.dry_run;
    let result = run_probed(plan, stats.clone(), &cancel, &mut source, &mut target).await;
    let mut report = Report::new("copy", source, target, &stats);
    let mut error = None;
    let mut proven = true;
    match result {
        Ok(verified) => {
            proven = verified.agrees();
            report.verified = verified;
        }
        Err(cause) => {
            report.error = Some(cause.to_string());
            error = Some(cause);
        }
    }
    let refused = error.as_ref().is_some_and(|e| e.kind() == crate::error::Kind::Refused);
    let accounted = report.keys.settled() == report.keys.scanned;
    let clean = report.keys.failed == 0 && report.keys.kept_on_source == 0;
    report.outcome = match &error {
        Some(_) if refused => Outcome::Refused,
        // Stopped, and a server was away while what was in flight was waited for.
        Some(cause) if cancel.is_cancelled() && cause.passes() => Outcome::Interrupted,
        Some(_) => Outcome::Incomplete,
        None if cancel.is_cancelled() => Outcome::Interrupted,
        None if dry_run => Outcome::DryRun,
        None if proven && clean && accounted => Outcome::Complete,
        None => Outcome::Incomplete,
    };
    Ended { report, error }
}

async fn run_probed(
    plan: Plan,
    stats: Arc<Stats>,
    cancel: &CancellationToken,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    let run = Run {
        source: Connector::new(&plan.source, plan.timeouts)?,
        target: Connector::new(&plan.target, plan.timeouts)?,
        plan,
        stats,
        stop: cancel.child_token(),
    };
    let probed = tokio::select! {
        biased;
        () = cancel.cancelled() => return Ok(Verified::none()),
        probed = probe::probe(&run, source, target) => probed?,
    };
    if run.plan.dry_run {
        dry_run::dry_run(&run, &probed).await?;
        return Ok(Verified::none());
    }
    let run = Arc::new(run);
    copy::copy(&run, &probed).await?;
    expiries::settle(&run, &probed).await?;
    if run.plan.verify == Verify::None || cancel.is_cancelled() {
        return Ok(Verified::none());
    }
    proof::prove(&run, &probed).await
}
