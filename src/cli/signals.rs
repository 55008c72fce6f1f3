//! Ctrl-C, SIGTERM, SIGHUP (the terminal is gone) and SIGQUIT: once drains and reports, twice stops at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::engine::Stop;
use crate::error::{Error, Kind, Result};

/// How long a run that is to stop at once may take: its own clean-up takes a second at most.
const CLEAN_UP: Duration = Duration::from_secs(2);

/// Listens from now on.
pub(super) struct Signals {
    listened_to: Vec<Signal>,
}

impl Signals {
    /// Takes over the signals of this process, but those that it was started to ignore: `nohup` means
    /// that a lost terminal is no reason to stop.
    pub(super) fn install() -> Result<Self> {
        let ignored = ignored();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ];
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Error::config(format!("cannot listen to signals: {error}")))
        };
        let kinds = kinds.into_iter().filter(|kind| !is_in(ignored, *kind));
        Ok(Self { listened_to: kinds.map(listen).collect::<Result<_>>()? })
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
        poll_fn(|cx| {
            let came = self.listened_to.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The signals that this process was started to ignore, a bit each from the lowest on, where the system
/// tells (Linux, proc(5)).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(mask: u64, kind: SignalKind) -> bool {
    u32::try_from(kind.as_raw_value() - 1)
        .is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_counted_from_one() {
        assert!(is_in(0b1, SignalKind::hangup()));
        assert!(is_in(0b100, SignalKind::quit()));
        assert!(!is_in(0b100, SignalKind::hangup()));
        assert!(!is_in(u64::MAX, SignalKind::from_raw(0)));
        assert!(!is_in(u64::MAX, SignalKind::from_raw(65)));
    }
}
