//! What others do on a server: two looks at INFO, a short time apart.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::probe;
use crate::command::ServerInfo;
use crate::error::Result;
use crate::net::Connection;

/// The least time between two looks: a writer that writes ten times a second is seen.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// What was seen between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    /// Changes of keys in a second; `None`: the server does not tell, or was restarted.
    pub(super) changes_per_second: Option<f64>,
}

impl Activity {
    /// From what INFO told twice: where a save ended meanwhile, the least that happened.
    pub(super) fn between(first: &ServerInfo, second: &ServerInfo, apart: Duration) -> Self {
        let same = first.run_id == second.run_id;
        let changes = first.changes.zip(second.changes).filter(|_| same);
        let changes = changes.map(|(was, is)| is.since(was));
        let seconds = apart.as_secs_f64().max(0.001);
        Self { changes_per_second: changes.map(|changes| changes as f64 / seconds) }
    }
}

/// Looks once more, at least [`BETWEEN_LOOKS`] after a first look.
///
/// # Errors
/// The connection broke, or INFO is refused.
pub(super) async fn look_again(
    connection: &mut Connection,
    first: &ServerInfo,
    looked: Instant,
) -> Result<Activity> {
    sleep(BETWEEN_LOOKS.saturating_sub(looked.elapsed())).await;
    let second = probe::info(connection).await?;
    Ok(Activity::between(first, &second, looked.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_also_across_a_save() {
        let info = |run: &str, changes: u64| {
            ServerInfo::parse(&format!("run_id:{run}\nrdb_changes_since_last_save:{changes}\n"))
        };
        let rate = |first: &ServerInfo, second: &ServerInfo| {
            Activity::between(first, second, Duration::from_millis(500)).changes_per_second
        };
        assert_eq!(rate(&info("a", 100), &info("a", 150)), Some(100.0));
        assert_eq!(rate(&info("a", 100), &info("a", 100)), Some(0.0));
        assert_eq!(rate(&info("a", 100), &info("a", 4)), Some(8.0), "saved in between");
        assert_eq!(rate(&info("a", 100), &info("b", 4)), None);
        assert_eq!(rate(&ServerInfo::default(), &info("a", 4)), None);
    }
}
