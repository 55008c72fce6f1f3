//! Ctrl-C and SIGTERM: once drains and reports, twice stops at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};

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

    /// Cancels on the first signal, ends the process on the second; never returns.
    pub(super) async fn watch(mut self, cancel: CancellationToken) {
        self.next().await;
        cancel.cancel();
        tracing::warn!("stopping: what is in flight is finished first; once more stops at once");
        self.next().await;
        std::process::exit(i32::from(Kind::Cancelled.exit_code()));
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
