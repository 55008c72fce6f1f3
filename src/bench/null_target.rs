//! keyferry's own reading half, into nothing: what the pipeline reaches when no target slows it.
//!
//! The same tasks as in `engine::database`, in this process; each lane is replaced by a task that
//! counts its batches and drops them.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::contestant::{Measured, failed};
use super::server::Peer;
use crate::command::ServerInfo;
use crate::command::keyspace::ExpiryCommand;
use crate::config::{Filter, Limits};
use crate::error::Result;
use crate::flow::{channel, key_queue};
use crate::net::Link;
use crate::report::{Ledger, Stats, Usage};
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::fetch::{Asking, Fetch};
use crate::source::scan::{Scan, scan};

/// Bytes between a fetch and its consumer, as in a copy.
const CHANNEL_BYTES: usize = 2 << 20;

/// Reads the whole of database 0 once.
pub(super) async fn read(source: &Peer, keys: u64) -> Result<Measured> {
    let (began, before) = (Instant::now(), Usage::now());
    let stop = CancellationToken::new();
    let _ends_the_waiting = stop.clone().drop_guard();
    let link = Link::new(source.connector()?, 0, None, stop.clone());
    let asking = asking(&link).await?;
    let stats = Arc::new(Stats::default());
    let ledger = Ledger::new(stats.clone(), stats.database(0, 0, keys));
    let (sender, queue) = key_queue();
    let mut readers = JoinSet::new();
    let mut consumers = JoinSet::new();
    readers.spawn(scan(Scan {
        link: link.clone(),
        connection: link.connect().await?,
        filter: Filter::default(),
        once: false,
        keys: sender,
        ledger: ledger.clone(),
        stop: stop.clone(),
    }));
    for _ in 0..Limits::default().connections_for(1) {
        let (sender, mut receiver) = channel::bounded(CHANNEL_BYTES);
        let from = link.connect().await?;
        let (ledger, stop) = (ledger.clone(), stop.clone());
        let fetch = Fetch::new(link.clone(), from, queue.clone(), sender, asking, ledger, stop);
        readers.spawn(fetch.run());
        consumers.spawn(async move {
            let mut entries = 0;
            while let Some(batch) = receiver.next().await {
                entries += batch.entries.len() as u64;
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
async fn asking(link: &Link) -> Result<Asking> {
    let mut connection = link.connect().await?;
    let command = match connection.call(&[b"PEXPIRETIME", b"keyferry:probe"]).await? {
        Value::Integer(_) => ExpiryCommand::Absolute,
        _ => ExpiryCommand::Remaining,
    };
    let info = connection.demand(&[b"INFO", b"keyspace"]).await?;
    let info = ServerInfo::parse(&String::from_utf8_lossy(info.bytes().unwrap_or_default()));
    let expiries = info.keyspace.get(&0).is_some_and(|keyspace| keyspace.expires > 0);
    Ok(Asking { clock: ExpiryClock { command, ahead_ms: 0 }, expiries, by_value: true })
}
