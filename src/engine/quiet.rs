//! `--require-quiet`: is the source being written to? Looked at before anything is copied, and once a
//! second until the end.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::probe::{Probed, refused_before_work};
use super::upheaval::Before;
use super::{Run, writing};
use crate::command::calls::Calls;
use crate::command::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Link};
use crate::units;

/// How long a source is looked at before it is taken to be quiet, and how often later on: a client
/// that writes less often than this is found at the end.
const LOOK: Duration = Duration::from_secs(1);
/// How often the first look is repeated because a save in the middle of it may hide changes.
const LOOKS: u32 = 3;

/// What a server reports of itself at one moment.
struct Reading {
    at: Instant,
    changes: Changes,
    calls: Option<Calls>,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// No client wrote.
    Nothing,
    /// So many changes, at least.
    Changes(u64),
    /// A save or a restart may hide changes.
    Unknown,
}

async fn read(connection: &mut Connection) -> Result<Reading> {
    let reply = connection.demand(&[b"INFO", b"all"]).await?;
    let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default());
    let Some(changes) = Changes::parse(&text) else {
        let text = "INFO does not report how many changes there were, so it is not known whether the \
                    server is being written to";
        let error = connection.place(Error::refused(text));
        return Err(error.advise("copy without --require-quiet"));
    };
    Ok(Reading { at: Instant::now(), changes, calls: Calls::parse(&text) })
}

/// Compares two readings. Where the count moved, or a save may have hidden that it did, the commands that
/// were called show whether there can have been any change. (Redis 6.2 counts a transaction that only
/// reads if a key expires in it.)
async fn seen(connection: &mut Connection, from: &Reading, to: &Reading) -> Result<Seen> {
    let changes = to.changes.since(from.changes);
    if changes == 0 && to.changes.is_exact_since(from.changes) {
        return Ok(Seen::Nothing);
    }
    let called = from.calls.as_ref().zip(to.calls.as_ref()).and_then(|(was, is)| is.since(was));
    let called = called.filter(|_| {
        to.changes.is_of_process(from.changes) && !to.changes.may_be_replaced_since(from.changes)
    });
    let reads = match called {
        Some(called) => writing::those_that_write(connection, &called).await?.is_empty(),
        None => false,
    };
    Ok(match changes {
        _ if reads => Seen::Nothing,
        0 => Seen::Unknown,
        changes => Seen::Changes(changes),
    })
}

/// Looks for a second whether somebody writes, and longer where that is not known.
///
/// # Errors
/// The source is written to, or may be; the connection broke, or the server does not report changes.
async fn look(connection: &mut Connection) -> Result<Reading> {
    let mut first = read(connection).await?;
    for _ in 0..LOOKS {
        sleep(LOOK).await;
        let last = read(connection).await?;
        match seen(connection, &first, &last).await? {
            Seen::Nothing => return Ok(last),
            Seen::Unknown => first = last,
            Seen::Changes(changes) => {
                let seconds = last.at.duration_since(first.at).as_secs_f64().max(0.001);
                let rate = units::count((changes as f64 / seconds).ceil() as u64);
                let text = format!("it is being written to: {rate} changes a second");
                return Err(connection.place(Error::refused(text)).advise(
                    "stop its writers first, or copy without --require-quiet; keys that only expire \
                     do not count",
                ));
            }
        }
    }
    let text = "whether it is being written to is not known: its saves hide changes, and commands that \
                write are called, or their number is not reported";
    Err(connection
        .place(Error::refused(text))
        .advise("stop its writers and its saves first, or copy without --require-quiet"))
}

/// Counts the changes of a source that was quiet; ends when it is dropped.
pub(super) struct Watch {
    done: DropGuard,
    /// Answers what it saw, and gives its connection back.
    task: JoinHandle<Result<(Seen, Connection)>>,
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
    let unfit = |error: Error| match error.kind() {
        Kind::Refused => error,
        _ => refused_before_work(error),
    };
    let first = look(&mut connection).await.map_err(unfit)?;
    let earlier = run.checkpoint.as_ref().filter(|_| probed.resumed && !probed.anew);
    if let Some(before) = earlier.and_then(|earlier| earlier.source_before()) {
        refuse_written_since(&mut connection, before, &first).await.map_err(unfit)?;
    }
    if run.plan.dry_run {
        return Ok(None);
    }
    let done = run.stop.child_token();
    let watched = watch(link, connection, first, done.clone());
    Ok(Some(Watch { task: tokio::spawn(watched), done: done.drop_guard() }))
}

/// Refuses to go on with a run since whose beginning the source was written to: what was copied then is not
/// of the moment of what is to be copied.
///
/// # Errors
/// It was, or may have been.
async fn refuse_written_since(
    connection: &mut Connection,
    before: Before,
    now: &Reading,
) -> Result<()> {
    let (changes, calls) = before.counts();
    let found = match changes {
        Some(changes) => seen(connection, &Reading { at: now.at, changes, calls }, now).await?,
        None => Seen::Unknown,
    };
    let text = match found {
        Seen::Nothing => return Ok(()),
        Seen::Changes(changes) => format!(
            "it was written to since the run began that this one goes on with (changes: {} at least)",
            units::count(changes)
        ),
        Seen::Unknown => {
            "whether it was written to since the run began that this one goes on with is \
                          not known"
                .to_owned()
        }
    };
    Err(connection.place(Error::refused(text)).advise(
        "copy again from the beginning: without the checkpoint, and with --if-exists replace; or go on \
         without --require-quiet",
    ))
}

/// Looks once a second until it is `done`, and then once more.
async fn watch(
    link: Link,
    mut connection: Connection,
    mut last: Reading,
    done: CancellationToken,
) -> Result<(Seen, Connection)> {
    let mut all = Seen::Nothing;
    loop {
        tokio::select! {
            biased;
            () = done.cancelled() => {}
            () = sleep(LOOK) => {}
        }
        let over = done.is_cancelled();
        let began = Instant::now();
        let (now, found) = loop {
            let looked = async {
                let now = read(&mut connection).await?;
                let found = seen(&mut connection, &last, &now).await?;
                Ok((now, found))
            };
            match looked.await {
                Ok(looked) => break looked,
                Err(error) => connection = link.reconnect(error, began).await?.connection,
            }
        };
        all = match (all, found) {
            (Seen::Changes(before), Seen::Changes(more)) => Seen::Changes(before + more),
            (Seen::Nothing, found) | (Seen::Unknown, found @ Seen::Changes(_)) => found,
            (before, _) => before,
        };
        last = now;
        if over {
            return Ok((all, connection));
        }
    }
}

impl Watch {
    /// Ends the watch; what the run deletes from its source it has to delete after that.
    ///
    /// # Errors
    /// The source was written to, or it is not known whether it was.
    pub(super) async fn end(self) -> Result<()> {
        let Self { done, task } = self;
        drop(done);
        let unknown = |why: &str| {
            let text = "whether the source was written to during the copy is not known";
            Err(Error::new(Kind::Server, format!("{text}: {why}")).advise(AGAIN))
        };
        match task.await {
            Ok(Ok((Seen::Nothing, _))) => Ok(()),
            Ok(Ok((Seen::Changes(changes), connection))) => {
                let times = units::count(changes);
                let text = format!("it was written to during the copy (changes: {times} at least)");
                Err(connection.place(Error::new(Kind::Server, text)).advise(AGAIN))
            }
            Ok(Ok((Seen::Unknown, _))) => unknown(
                "it saved its keys or was restarted, which hides changes, and commands that write \
                 were called, or their number is not reported",
            ),
            Ok(Err(error)) => unknown(&error.to_string()),
            Err(panic) => unknown(&format!("a task ended unexpectedly: {panic}")),
        }
    }
}

/// What to do about a copy that is not of one moment.
const AGAIN: &str = "what was written may be missing on the target: stop the writers, then copy again \
                     with --if-exists replace";
