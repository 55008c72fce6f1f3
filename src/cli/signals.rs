//! Ctrl-C and SIGTERM: once drains and reports, twice stops at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::engine::Stop;
use crate::error::{Error, Kind, Result};

/// How long a run that is to stop at once may take: its own clean-up takes a second at most.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Listens from now on.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes over the signals of this process.
    pub(super) fn install() -> Result<Self> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::config(format!("signals cannot be listened to: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Drains on the first signal, aborts on the second, ends the process on the third, or if the
    /// run does not end by itself; never returns.
    pub(super) async fn watch(mut self, stop: Stop) {
        self.next().await;
        stop.drain.cancel();
        tracing::warn!("stopping: what is in flight is finished first; once more stops at once");
        self.next().await;
        stop.abort.cancel();
        tokio::select! {
            () = self.next() => {}
            () = sleep(CLEAN_UP) => {}
        }
        std::process::exit(i32::from(Kind::Cancelled.exit_code()));
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
