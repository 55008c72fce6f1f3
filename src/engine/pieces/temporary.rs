//! The names under which values are built, and what a killed run left under them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Run;
use super::super::probe::Probed;
use crate::error::{Kind, Result};

/// So many names a run takes in turn. Two keys are never built at once, and after a name was given up
/// on a broken connection as many others come before it again.
const NAMES: u64 = 1_000;

/// The names of one run; no two runs have the same.
#[derive(Debug)]
pub(in super::super) struct TemporaryNames {
    begin: String,
    next: AtomicU64,
}

impl Default for TemporaryNames {
    fn default() -> Self {
        let begin = format!("keyferry:tmp:{:016x}", fastrand::u64(..));
        Self { begin, next: AtomicU64::new(0) }
    }
}

impl TemporaryNames {
    /// What all of them begin with.
    pub(in super::super) fn beginning(&self) -> &str {
        &self.begin
    }

    /// A name that is not in use.
    pub(super) fn next(&self) -> Vec<u8> {
        nth(&self.begin, self.next.fetch_add(1, Ordering::Relaxed) % NAMES)
    }
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
    let names: Vec<Vec<u8>> = (0..NAMES).map(|number| nth(&begin, number)).collect();
    let unlink: Vec<&[u8]> =
        [b"UNLINK".as_slice()].into_iter().chain(names.iter().map(Vec::as_slice)).collect();
    for database in databases {
        let link = run.target_link(database, probed);
        let mut connection = link.connect_for_writing().await?;
        match connection.demand(&unlink).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::Transport => return Err(error),
            Err(error) => tracing::warn!(
                "the temporary key {begin}:… of an earlier run may stay on the target for an hour: \
                 {error}"
            ),
        }
    }
    Ok(())
}
