//! Every name of the file is asked for on the target: to prove a copy, or to say what one would do.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Restore, thread};
use crate::command::{ServerError, keyspace};
use crate::config::IfExists;
use crate::config::mapping::Route;
use crate::engine::dry_run::look_at;
use crate::engine::evidence::lost_by;
use crate::engine::uncounted;
use crate::error::{Error, Kind, Result};
use crate::flow::name_of;
use crate::net::Connection;
use crate::rdb::Section;
use crate::report::{Ledger, Mode, Proven, Verified};
use crate::resp::Value;
use crate::source::file::{Foresee, Names};
use crate::units::printable;

/// Chunks of names that wait.
const WAITING: usize = 4;
/// Missing keys that are named; all are counted.
const NAMED: u64 = 20;
/// How much earlier than its expiry a key may be gone: what two clocks may differ by.
const EARLY_MS: i64 = 100;

/// Looks for every key on the target.
pub(super) async fn prove(restore: &Restore) -> Result<Verified> {
    let (mut proven, mut named): (Vec<Proven>, u64) = (Vec::new(), 0);
    for (section, route) in restore.sections() {
        let mut found = Proven::new(route.source, route.target, Mode::Names, false);
        let mut target = restore.target_link(route.target).connect().await?;
        let mut names = read(restore, section, uncounted(), None);
        while let Some(chunk) = names.receiver.recv().await {
            if restore.stop.is_cancelled() {
                break;
            }
            for name in missing(restore, &mut target, &chunk).await? {
                found.missing += 1;
                named += 1;
                if named <= NAMED {
                    let shown = printable(name);
                    tracing::warn!("missing on the target: database {route}, key \"{shown}\"");
                }
            }
        }
        names.end().await?;
        proven.push(found);
    }
    let mut verified = Verified::of(Mode::Names, proven);
    if !verified.agrees() {
        let now = restore.target_link(0).connect().await?.info().await?;
        verified.cause = lost_by(&restore.before, &now);
    }
    Ok(verified)
}

/// The names that the target lacks, although their keys have not expired.
async fn missing<'a>(
    restore: &Restore,
    target: &mut Connection,
    names: &'a Names,
) -> Result<Vec<&'a [u8]>> {
    for wire in &names.keys.wires {
        keyspace::exists(target.output(), wire.of(&names.keys.slab));
    }
    let replies = target.receive(names.keys.wires.len()).await?;
    let now = restore.now_ms().saturating_add(EARLY_MS);
    let mut missing = Vec::new();
    for ((wire, &expiry), reply) in names.keys.wires.iter().zip(&names.expiries).zip(replies) {
        match reply {
            Value::Integer(0) if expiry == 0 || expiry > now => {
                missing.push(name_of(wire.of(&names.keys.slab)));
            }
            Value::Integer(_) => {}
            Value::Error(line) => {
                return Err(target.refused(b"EXISTS", &ServerError::parse(line.as_bytes())));
            }
            _ => {
                let text = "EXISTS answered something else";
                return Err(target.place(Error::new(Kind::Protocol, text)));
            }
        }
    }
    Ok(missing)
}

/// Counts what a copy would do, database by database.
pub(super) async fn dry_run(restore: &Restore) -> Result<()> {
    let policy = restore.plan.if_exists;
    for (section, route) in restore.sections() {
        let ledger = restore.ledger(section, route);
        let existing = look(restore, section, route, policy, &ledger).await?;
        tracing::info!("database {route}: {existing} keys exist on the target");
    }
    Ok(())
}

async fn look(
    restore: &Restore,
    section: Section,
    route: Route,
    policy: IfExists,
    ledger: &Ledger,
) -> Result<u64> {
    let mut target = restore.target_link(route.target).connect().await?;
    let crossing = restore.crossing;
    let foresee = Arc::new(move |payload: &[u8]| crossing.foresee(payload));
    let mut names = read(restore, section, ledger.clone(), Some(foresee));
    let mut existing = 0;
    while let Some(chunk) = names.receiver.recv().await {
        let counted = (ledger, &chunk.foreseen);
        existing += look_at(&mut target, &chunk.keys, policy, counted, &restore.stop).await?;
    }
    names.end().await?;
    Ok(existing)
}

/// The names of a database, as a thread reads them.
struct Reader {
    receiver: mpsc::Receiver<Names>,
    reading: tokio::task::JoinHandle<Result<()>>,
}

fn read(
    restore: &Restore,
    section: Section,
    ledger: Ledger,
    foresee: Option<Arc<Foresee>>,
) -> Reader {
    let (sender, receiver) = mpsc::channel(WAITING);
    let reading = restore.reading(section, ledger);
    let reading = tokio::spawn(thread(move || reading.send_names(&sender, foresee.as_deref())));
    Reader { receiver, reading }
}

impl Reader {
    async fn end(self) -> Result<()> {
        drop(self.receiver);
        self.reading.await.unwrap_or(Ok(()))
    }
}
