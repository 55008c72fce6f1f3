//! A file made of SCAN and DUMP, where the source does not hand out its own, or only a part is meant.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use super::super::budget::{Budget, Pairs};
use super::super::copy::join_or_stop;
use super::super::part_file::PartFile;
use super::super::upheaval::Before;
use super::super::{census, clocks, knowledge, probe};
use super::write::{self, Chapter, Title, Written};
use super::{Backup, whole};
use crate::command::info::Keyspace;
use crate::command::keyspace::ExpiryCommand;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Result};
use crate::flow::{channel, key_queue};
use crate::net::{Connection, Line, Link};
use crate::payload::FOOTER_BYTES;
use crate::rdb::Version;
use crate::report::Ledger;
use crate::resp::Value;
use crate::source::fetch::{Asking, Fetch, Tools};
use crate::source::marks::Course;
use crate::source::scan::{Scan, scan};
use crate::source::window::Window;
use crate::source::{ExpiryClock, time_ms};

/// Databases that wait to be written: they are read one after the other.
const CHAPTERS: usize = 1;

/// Saves the databases that are meant, one after the other.
pub(super) async fn save(backup: &Backup, part: PartFile) -> Result<Written> {
    let link = |database| {
        let run_id = backup.info.run_id.clone();
        Link::new(backup.source.clone(), database, run_id.into(), backup.stop.clone())
    };
    let (mapping, info) = (&backup.plan.databases, &backup.info);
    let mut line = Line::new(link(0));
    let before = Before::now(&mut line).await?;
    let held = loop {
        match census::of_mapping(line.open().await?, &backup.source, info, mapping).await {
            Ok(held) => break held,
            Err(error) => line.recover(error).await?,
        }
    };
    let mut connection = link(0).connect().await?;
    let routes = mapping.routes(held.keys().copied())?;
    let clock = clock(&mut connection).await?;
    let far = clocks::clock_offset(&mut connection).await?.round_trip;
    let (functions, told) = functions(&mut connection).await?;
    let version = Version::new(told.unwrap_or_else(|| knowledge::rdb_version(&backup.info)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let server = (backup.info.family.clone(), backup.info.version.clone());
    let title = Title { version, server, made: now.as_secs() };
    let (chapters, receiver) = mpsc::channel(CHAPTERS);
    let handle = Handle::current();
    let writing = spawn_blocking(move || write::dumped(part, &title, receiver, &handle));
    let read = async {
        if backup.plan.is_whole() {
            let _ = chapters.send(Chapter::Functions(functions)).await;
        } else if !functions.is_empty() {
            tracing::warn!("functions belong to no database; they are not in this file");
        }
        for route in routes {
            let link = link(route.source);
            let about = held.get(&route.source).copied().unwrap_or_default();
            let place = (route.source, about);
            read_database(backup, place, &link, (clock, far), &chapters).await?;
        }
        let upheaval = before.until(&Before::now(&mut line).await?);
        let now = line.info().await?;
        if now.run_id != backup.info.run_id {
            let text = "the source was restarted meanwhile: keys may stand twice in the file";
            return Err(Error::new(Kind::Server, text).advise("it is not kept; run it again"));
        }
        if let Some(error) = upheaval.while_saved() {
            return Err(line.open().await?.place(error));
        }
        if !backup.stop.is_cancelled() {
            let _ = chapters.send(Chapter::End).await;
        }
        Ok(())
    };
    let read = read.await;
    drop(chapters);
    whole(writing, read).await
}

/// Reads one database over several connections; its keys go to the writer's thread.
async fn read_database(
    backup: &Backup,
    (number, Keyspace { keys, expires }): (u32, Keyspace),
    link: &Link,
    (clock, far): (ExpiryClock, Duration),
    chapters: &mpsc::Sender<Chapter>,
) -> Result<()> {
    let (plan, stop) = (&backup.plan, &backup.stop);
    let connections = Pairs::new(plan.limits, 1, 1, &[]).each;
    let budget = Budget::new(plan.limits.memory, connections, far, Duration::ZERO);
    let ledger = Ledger::new(backup.stats.clone(), backup.stats.database(number, number, keys));
    let (out, loads) = channel::bounded(budget.channel * connections);
    let out = out.paced(backup.pace.clone());
    // What the filters leave is not known.
    let about = if plan.filter.is_all() { (keys, expires) } else { (0, 0) };
    let chapter = Chapter::Database { number, about, loads, ledger: ledger.clone() };
    if chapters.send(chapter).await.is_err() {
        return Ok(());
    }
    let mut tasks = JoinSet::new();
    let (key_sender, key_queue) = key_queue(budget.waiting);
    tasks.spawn(scan(Scan {
        link: link.clone(),
        connection: link.connect().await?,
        filter: plan.filter.clone(),
        // A server does not load a file that names a key twice.
        once: true,
        largest_count: budget.largest_count,
        longest_name: budget.longest_name,
        too_long: ledger.clone(),
        keys: key_sender,
        ledger: ledger.clone(),
        stop: stop.clone(),
        course: Course::default(),
    }));
    let window_keys = (Budget::NEAR_KEYS, budget.source_keys);
    let window = Window::new(budget.source_window, window_keys, connections, far);
    let window = Arc::new(window);
    let asking = Asking { clock, by_value: false, large: budget.large, fingerprints: false };
    for _ in 0..connections {
        let fetch = Fetch::new(Tools {
            link: link.clone(),
            connection: link.connect().await?,
            keys: key_queue.clone(),
            out: out.clone(),
            pieces: None,
            asking,
            still: None,
            window: window.clone(),
            slab: budget.slab,
            ledger: ledger.clone(),
            stop: stop.clone(),
        });
        tasks.spawn(fetch.run());
    }
    drop((key_queue, out));
    join_or_stop(tasks, stop).await
}

/// How the source tells expiries; the file's are by its own clock.
async fn clock(connection: &mut Connection) -> Result<ExpiryClock> {
    let probe::Readable { expiry: command, together, .. } = probe::readable(connection).await?;
    if command == ExpiryCommand::Remaining && time_ms(&connection.call(&[b"TIME"]).await?).is_none()
    {
        let text = "without PEXPIRETIME the source's TIME is needed, and it is refused";
        let error = Error::refused(text).advise("grant it there: ACL SETUSER <user> +time");
        return Err(connection.place(error));
    }
    Ok(ExpiryClock { command, ahead_ms: 0, together })
}

/// The records of all libraries of functions, and the version that `FUNCTION DUMP` ends with, also
/// where there are none.
async fn functions(connection: &mut Connection) -> Result<(Vec<u8>, Option<u16>)> {
    match connection.call(&[b"FUNCTION", b"DUMP"]).await? {
        Value::Bulk(mut dump) => {
            if let Some(&[low, high, ..]) = dump.last_chunk::<FOOTER_BYTES>() {
                dump.truncate(dump.len() - FOOTER_BYTES);
                return Ok((dump, Some(u16::from_le_bytes([low, high]))));
            }
        }
        Value::Error(line) => {
            let error = ServerError::parse(line.as_bytes());
            match error.cause {
                // Below 7.0.
                Cause::UnknownCommand => {}
                Cause::CommandDenied => {
                    tracing::warn!("functions, if there are any, are not saved: {error}");
                }
                _ => return Err(connection.refused(b"FUNCTION", &error)),
            }
            return Ok((Vec::new(), None));
        }
        _ => {}
    }
    Err(connection.place(Error::new(Kind::Protocol, "unexpected reply to FUNCTION DUMP")))
}
