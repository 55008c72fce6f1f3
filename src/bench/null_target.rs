//! keyferry's own reading half, into nothing: what the pipeline reaches when no target slows it.
//!
//! The same tasks as in `engine::database`, in this process; each lane is replaced by a task that
//! counts its batches and drops them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::contestant::{Measured, failed};
use super::server::Peer;
use crate::command::ServerInfo;
use crate::command::keyspace::ExpiryCommand;
use crate::config::{Filter, Limits};
use crate::engine::Budget;
use crate::error::Result;
use crate::flow::{Load, Verdict, channel, key_queue};
use crate::net::{Link, Process};
use crate::report::{Ledger, Stats, Usage};
use crate::source::ExpiryClock;
use crate::source::fetch::{Asking, Fetch, Tools};
use crate::source::marks::Course;
use crate::source::scan::{Scan, scan};
use crate::source::still::Still;
use crate::source::window::Window;

/// Reads the whole of database 0 once.
pub(super) async fn read(source: &Peer, keys: u64) -> Result<Measured> {
    let (began, before) = (Instant::now(), Usage::now());
    let stop = CancellationToken::new();
    let _ends_the_waiting = stop.clone().drop_guard();
    let link = Link::new(source.connector()?, 0, Process::default(), stop.clone());
    let limits = Limits::default();
    let connections = limits.connections_for(1);
    let budget = Budget::new(limits.memory, connections, Duration::ZERO, Duration::ZERO);
    let window = Window::new(
        budget.source_window,
        (Budget::NEAR_KEYS, budget.source_keys),
        connections,
        Duration::ZERO,
    );
    let window = Arc::new(window);
    let (asking, still) = asking(&link, budget.large).await?;
    let (sender, queue) = key_queue(budget.waiting);
    let stats = Arc::new(Stats::default());
    let ledger = Ledger::new(stats.clone(), stats.database(0, 0, keys));
    let mut readers = JoinSet::new();
    let mut consumers = JoinSet::new();
    readers.spawn(scan(Scan {
        link: link.clone(),
        connection: link.connect().await?,
        filter: Filter::default(),
        once: false,
        largest_count: budget.largest_count,
        longest_name: budget.longest_name,
        too_long: ledger.clone(),
        keys: sender,
        ledger: ledger.clone(),
        stop: stop.clone(),
        course: Course::default(),
    }));
    for _ in 0..connections {
        let (sender, mut receiver) = channel::bounded(budget.channel);
        let fetch = Fetch::new(Tools {
            link: link.clone(),
            connection: link.connect().await?,
            keys: queue.clone(),
            out: sender,
            pieces: None,
            asking,
            still: still.clone(),
            window: window.clone(),
            slab: budget.slab,
            ledger: ledger.clone(),
            stop: stop.clone(),
        });
        readers.spawn(fetch.run());
        consumers.spawn(async move {
            let mut entries = 0;
            while let Some(load) = receiver.next().await {
                entries += match load {
                    Load::Batch(batch) => batch.entries.len() as u64,
                    Load::Large(mut large) => {
                        while large.pieces.recv().await.is_some() {}
                        let _ = large.verdict.send(Verdict::Settled);
                        1
                    }
                };
            }
            entries
        });
    }
    drop(queue);
    while let Some(ended) = readers.join_next().await {
        ended.map_err(|panic| failed(panic.to_string()))??;
    }
    let entries: u64 = consumers.join_all().await.into_iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    if entries < keys {
        return Err(failed(format!("{entries} of {keys} keys were read")));
    }
    let cpu_seconds = Usage::now().cpu_seconds - before.cpu_seconds;
    let latency = stats.latency().to_json().get("fetch").map(|f| serde_json::json!({ "fetch": f }));
    Ok(Measured { seconds, cpu_seconds: Some(cpu_seconds), latency, ..Measured::default() })
}

/// As the engine asks when no options are given and the target is empty.
async fn asking(link: &Link, large: usize) -> Result<(Asking, Option<Arc<Still>>)> {
    let mut connection = link.connect().await?;
    let told = connection.call(&[b"PEXPIRETIME", b"keyferry:probe"]).await?;
    let command = ExpiryCommand::known_by(Some(&told));
    let info = connection.demand(&[b"INFO"]).await?;
    let info = ServerInfo::parse(&String::from_utf8_lossy(info.bytes().unwrap_or_default()));
    let expires = info.keyspace.get(&0).is_some_and(|keyspace| keyspace.expires > 0);
    let still = info.changes.filter(|_| !expires).map(|changes| Arc::new(Still::since(changes)));
    let clock = ExpiryClock { command, ahead_ms: 0, together: true };
    Ok((Asking { clock, by_value: true, large, fingerprints: false }, still))
}
