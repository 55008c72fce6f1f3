//! Marks on their way from the scans of a run to its checkpoint.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::{Run, unwritten};
use super::{Checkpoint, Reached};
use crate::config::Route;
use crate::error::Result;
use crate::report::{FAILED, Ledger, Stats};
use crate::source::marks::Mark;
use crate::units;

/// Marks that wait to be kept, over all databases.
const WAITING: usize = 16;

/// The task that keeps marks, and the way to it.
pub(in super::super) struct Keeping {
    checkpoint: Arc<Checkpoint>,
    marks: mpsc::Sender<Mark>,
    keeper: JoinHandle<()>,
}

impl Keeping {
    /// Takes up what an earlier run left (its counts, the names of the keys that failed), and keeps
    /// marks from here on.
    ///
    /// # Errors
    /// [`Kind::Local`]: the dead letters cannot be read or written.
    pub(in super::super) fn of(
        checkpoint: &Arc<Checkpoint>,
        run: &Run,
        ledgers: &[(Route, Ledger)],
    ) -> Result<Self> {
        let routes: Vec<Route> = ledgers.iter().map(|(route, _)| *route).collect();
        let others = checkpoint.others(&routes);
        for (route, counters) in &others {
            run.stats.database(route.source, route.target, 0).restore(counters);
        }
        for (route, ledger) in ledgers {
            ledger.restore(&checkpoint.counters(*route));
        }
        run.stats.name_failures(checkpoint.failures());
        let begun = routes.into_iter().map(|route| (route, checkpoint.counters(route)));
        let failed = begun.chain(others).map(|(route, counters)| {
            let failed = counters.get(FAILED).copied().unwrap_or_default();
            ((route.source, route.target), failed)
        });
        let letters = run.stats.dead_letters();
        let before = checkpoint.letters(letters.path());
        let lacking = letters.keep_first(failed.collect(), before.as_deref());
        let lacking = lacking.map_err(|error| unwritten(&error))?;
        if lacking > 0 && letters.are_kept() {
            tracing::warn!(
                "keys failed before that are not in the file of failures: {}; the run that they failed \
                 in wrote none, or another one",
                units::count(lacking)
            );
        }
        let (marks, receiver) = mpsc::channel(WAITING);
        let keeper = tokio::spawn(keep(checkpoint.clone(), receiver, run.stats.clone()));
        Ok(Self { checkpoint: checkpoint.clone(), marks, keeper })
    }

    /// Where a database goes on.
    pub(in super::super) fn reached(&self, route: Route) -> Reached {
        self.checkpoint.reached(route)
    }

    /// Takes marks.
    pub(in super::super) fn marks(&self) -> mpsc::Sender<Mark> {
        self.marks.clone()
    }

    /// What was reached counts no more: all is copied anew. Behind the marks that are on their way.
    pub(in super::super) async fn begin_anew(&self, ledgers: &[(Route, Ledger)]) {
        for (route, ledger) in ledgers {
            let (route, cursor) = (*route, Some(b"0".to_vec()));
            // Gone when nothing is kept any more.
            let _ = self.marks.send(Mark { route, cursor, counters: ledger.keep() }).await;
        }
    }

    /// Waits until the last mark is kept.
    pub(in super::super) async fn end(self) {
        drop(self.marks);
        let _ = self.keeper.await;
    }
}

/// Keeps marks as they come, until nobody makes any more. A mark that cannot be kept is said once, and
/// ends nothing: the keys are copied all the same.
async fn keep(checkpoint: Arc<Checkpoint>, mut marks: mpsc::Receiver<Mark>, stats: Arc<Stats>) {
    while let Some(mark) = marks.recv().await {
        let mut came = vec![mark];
        while let Ok(mark) = marks.try_recv() {
            came.push(mark);
        }
        let (checkpoint, stats) = (checkpoint.clone(), stats.clone());
        let kept = spawn_blocking(move || {
            // A letter belongs to a key before the cursor: it has to be in the file first.
            stats.dead_letters().flush().map_err(|error| unwritten(&error))?;
            came.into_iter().for_each(|mark| checkpoint.mark(mark, &stats));
            checkpoint.save()
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!("how far the copy has come is not kept: {error}");
            return;
        }
    }
}
