//! `--require-quiet`: is the source being written to? Looked at before anything is copied, and once a
//! second until the end.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Run;
use super::probe::{Probed, refused_before_work};
use crate::command::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Link};
use crate::units;

/// How long a source is looked at before it is taken to be quiet, and how often later on: a client
/// that writes less often than this is found at the end.
const LOOK: Duration = Duration::from_secs(1);
/// How often the first look is taken again because a save ended in the middle of it, which may hide
/// changes.
const LOOKS: u32 = 3;

/// What one look came to.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// Changes that were seen.
    changes: u64,
    /// In this time.
    within: Duration,
    /// The count at the end of the look.
    last: Changes,
}

impl Look {
    /// Changes in a second.
    fn per_second(self) -> f64 {
        self.changes as f64 / self.within.as_secs_f64().max(0.001)
    }
}

/// Looks whether somebody writes, for a second.
///
/// # Errors
/// The connection broke, or the server does not tell.
async fn look(connection: &mut Connection) -> Result<Look> {
    let mut looks = 1;
    loop {
        let (began, first) = (Instant::now(), changes(connection).await?);
        sleep(LOOK).await;
        let last = changes(connection).await?;
        let activity = Look { changes: last.since(first), within: began.elapsed(), last };
        if activity.changes > 0 || !last.saved_since(first) || looks == LOOKS {
            return Ok(activity);
        }
        looks += 1;
    }
}

async fn changes(connection: &mut Connection) -> Result<Changes> {
    let reply = connection.demand(&[b"INFO", b"persistence"]).await?;
    Changes::parse(&String::from_utf8_lossy(reply.bytes().unwrap_or_default())).ok_or_else(|| {
        let text = "INFO does not tell how many changes there were, so nobody knows whether it is \
                    being written to";
        connection.place(Error::refused(text)).advise("copy without --require-quiet")
    })
}

/// Counts the changes of a source that was quiet; ends when it is dropped.
pub(super) struct Watch {
    done: DropGuard,
    /// Tells how many changes it saw, and gives its connection back.
    task: JoinHandle<Result<(u64, Connection)>>,
}

/// Refuses a source that is being written to, and watches it from then on; `None`: not asked for, or
/// nothing will be copied.
pub(super) async fn begin(run: &Run, probed: &Probed) -> Result<Option<Watch>> {
    if !run.plan.require_quiet {
        return Ok(None);
    }
    let link = run.source_link(0, probed);
    let mut connection = link.connect().await?;
    if probed.one_server {
        let text = "the target is the same server: the copy itself would write to the source";
        return Err(connection.place(Error::refused(text)).advise("copy without --require-quiet"));
    }
    let activity = look(&mut connection).await.map_err(refused_before_work)?;
    if activity.changes > 0 {
        let rate = units::count(activity.per_second().ceil() as u64);
        let text = format!("it is being written to: {rate} changes a second");
        return Err(connection.place(Error::refused(text)).advise(
            "stop its writers first, or copy without --require-quiet; keys that only expire are \
             no writing",
        ));
    }
    if run.plan.dry_run {
        return Ok(None);
    }
    let done = run.stop.child_token();
    let watched = watch(link, connection, activity.last, done.clone());
    Ok(Some(Watch { task: tokio::spawn(watched), done: done.drop_guard() }))
}

/// Looks once a second until it is `done`, and then once more.
async fn watch(
    link: Link,
    mut connection: Connection,
    mut last: Changes,
    done: CancellationToken,
) -> Result<(u64, Connection)> {
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            () = done.cancelled() => {}
            () = sleep(LOOK) => {}
        }
        let over = done.is_cancelled();
        let began = Instant::now();
        let now = loop {
            match changes(&mut connection).await {
                Ok(now) => break now,
                Err(error) => connection = link.reconnect(error, began).await?.connection,
            }
        };
        seen += now.since(last);
        last = now;
        if over {
            return Ok((seen, connection));
        }
    }
}

impl Watch {
    /// Ends the watch of a copy that made `own` changes itself.
    ///
    /// # Errors
    /// The source was written to, or nobody knows whether it was.
    pub(super) async fn end(self, own: u64) -> Result<()> {
        let Self { done, task } = self;
        drop(done);
        let unknown = |why: String| {
            let text = "whether the source was written to during the copy is not known";
            Err(Error::new(Kind::Server, format!("{text}: {why}")).advise(AGAIN))
        };
        let (written, connection) = match task.await {
            Ok(Ok((seen, connection))) => (seen.saturating_sub(own), connection),
            Ok(Err(error)) => return unknown(error.to_string()),
            Err(panic) => return unknown(format!("a task ended unexpectedly: {panic}")),
        };
        if written == 0 {
            return Ok(());
        }
        let times = units::count(written);
        let text = format!("it was written to during the copy (changes: {times} at least)");
        Err(connection.place(Error::new(Kind::Server, text)).advise(AGAIN))
    }
}

/// What to do about a copy that is not of one moment.
const AGAIN: &str = "what was written may be missing on the target: stop the writers, then copy again \
                     with --if-exists replace";
