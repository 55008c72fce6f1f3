//! What a reckoning stands on: both servers, as far as they are known, and the processes that a pass
//! began with.

use std::time::Duration;

use super::Run;
use super::again::info_of_source;
use super::probe::Probed;
use crate::config::Route;
use crate::error::Result;
use crate::net::{Link, Process};

/// What is known of both servers.
#[derive(Clone)]
pub(super) struct Ground {
    /// Which database goes where.
    pub(super) routes: Vec<Route>,
    source: Process,
    target: Process,
    /// How long source and target take to answer a PING.
    pub(super) round_trips: [Duration; 2],
}

impl Ground {
    /// What a probe found.
    pub(super) fn of(probed: &Probed) -> Self {
        Self {
            routes: probed.routes.clone(),
            source: probed.source_process.clone(),
            target: probed.target_process.clone(),
            round_trips: probed.round_trips,
        }
    }

    /// What the source says, where no probe came to its end.
    ///
    /// # Errors
    /// It does not answer, or has none of the databases that are meant.
    pub(super) async fn of_source(run: &Run) -> Result<Self> {
        let (info, held) = info_of_source(run).await?;
        Ok(Self {
            routes: run.plan.mapping.routes(held.keys().copied())?,
            source: info.run_id.into(),
            target: Process::default(),
            round_trips: [Duration::ZERO; 2],
        })
    }

    /// The way to a database of the source.
    pub(super) fn source_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.source.clone(), database, self.source.clone(), run.stop.clone())
    }

    /// The way to a database of the target.
    pub(super) fn target_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.target.clone(), database, self.target.clone(), run.stop.clone())
    }
}

/// The servers' processes that a pass began with.
pub(super) struct Trusted {
    pub(super) ground: Ground,
    pub(super) source: Link,
    pub(super) target: Link,
}

impl Trusted {
    /// Those that are known now.
    pub(super) fn now(run: &Run, ground: Ground) -> Self {
        let (source, target) = (ground.source_link(run, 0), ground.target_link(run, 0));
        Self { ground, source, target }
    }
}
