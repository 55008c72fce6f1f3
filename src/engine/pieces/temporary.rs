//! The names under which values are built, and what a killed run left under them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::Run;
use super::super::probe::Probed;
use crate::error::{Error, Kind, Result};
use crate::net::Link;
use crate::resp::Value;
use crate::target::temporary;

/// So many names a run takes in turn. Two keys are never built at once, and after a name was given up
/// on a broken connection as many others come before it again.
const NAMES: u64 = 1_000;
/// How long a run that is stopped at once may take to remove what it was building.
const HURRY: Duration = Duration::from_secs(1);
/// What is left in a server's buffers for a closed connection is carried out within that time, as a rule.
const SOON: Duration = Duration::from_millis(50);

/// The names of one run; no two runs have the same.
pub(in super::super) struct TemporaryNames {
    begin: String,
    next: AtomicU64,
    /// Who builds, by the databases of a route.
    built_by: Mutex<BTreeMap<(u32, u32), Builder>>,
}

/// The way to the target, and the number of the client there, where it is told.
type Builder = (Link, Option<i64>);

impl Default for TemporaryNames {
    fn default() -> Self {
        let begin = format!("keyferry:tmp:{:016x}", fastrand::u64(..));
        Self { begin, next: AtomicU64::new(0), built_by: Mutex::default() }
    }
}

impl TemporaryNames {
    /// What all of them begin with.
    pub(in super::super) fn beginning(&self) -> &str {
        &self.begin
    }

    /// From now on this client builds values that come from a database of the source.
    pub(super) fn are_used_by(&self, source: &Link, link: &Link, client: Option<i64>) {
        let mut built_by = self.built_by.lock().unwrap_or_else(PoisonError::into_inner);
        let route = (source.database(), link.database());
        built_by.insert(route, (link.clone(), client));
    }

    /// After everything was dropped where it was: removes what was being built, within a second.
    pub(in super::super) async fn remove_at_once(&self) {
        let built_by = {
            let mut held = self.built_by.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *held)
        };
        let names = names(&self.begin);
        let all = async {
            for (link, client) in built_by.values() {
                remove_behind(link, *client, &names).await?;
            }
            Ok::<(), Error>(())
        };
        let why = match timeout(HURRY, all).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within a second".to_owned(),
        };
        tracing::warn!(
            "the temporary key {}:… may stay on the target for an hour: {why}",
            self.begin
        );
    }

    /// A name that is not in use.
    pub(super) fn next(&self) -> Vec<u8> {
        nth(&self.begin, self.next.fetch_add(1, Ordering::Relaxed) % NAMES)
    }
}

/// All names that begin so.
fn names(begin: &str) -> Vec<Vec<u8>> {
    (0..NAMES).map(|number| nth(begin, number)).collect()
}

/// Removes names that a client may still have commands for in the server's buffers: it is disconnected first.
async fn remove_behind(link: &Link, client: Option<i64>, names: &[Vec<u8>]) -> Result<()> {
    let mut connection = link.connect().await?;
    let client = client.unwrap_or_default().to_string();
    let kill = [b"CLIENT".as_slice(), b"KILL", b"ID", client.as_bytes()];
    if matches!(connection.call(&kill).await?, Value::Error(_)) {
        // It is gone already, or that is not permitted: what the server has of it is carried out soon.
        temporary::remove(&mut connection, names).await?;
        sleep(SOON).await;
    }
    temporary::remove(&mut connection, names).await
}

fn nth(begin: &str, number: u64) -> Vec<u8> {
    format!("{begin}:{number}").into_bytes()
}

/// Removes what an earlier, killed run of the same checkpoint may have left behind.
///
/// # Errors
/// The target could not be reached any more.
pub(in super::super) async fn remove(run: &Run, probed: &Probed) -> Result<()> {
    let Some(checkpoint) = &run.checkpoint else { return Ok(()) };
    let Some((begin, databases)) = checkpoint.temporary() else { return Ok(()) };
    let names = names(&begin);
    for database in databases {
        let link = run.target_link(database, probed);
        let mut connection = link.connect_for_writing().await?;
        match temporary::remove(&mut connection, &names).await {
            Ok(()) => {}
            Err(error) if error.kind() == Kind::Transport => return Err(error),
            Err(error) => tracing::warn!(
                "the temporary key {begin}:… of an earlier run may stay on the target for an hour: \
                 {error}"
            ),
        }
    }
    Ok(())
}
