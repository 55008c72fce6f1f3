//! `backup`: a source becomes an RDB file, and is read back before it is called done.
//!
//! ```text
//! whole, and the source hands it out:  replica ── pieces ──> part file ─┐
//! else:  scan ──> keys ──> fetch × n ──> channel ──> rdb::Writer ──────┴─> read back ──> its name
//! ```
//!
//! The first is the source as it was at one moment. In the second every key is as it was at some
//! moment of the run.

mod dump;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::part_file::{PartFile, shown};
use super::{Ended, Stop, census, unless_aborted, unsupported};
use crate::command::ServerInfo;
use crate::config::{FetchMode, Filter, Limits, Mapping, Server, Timeouts};
use crate::error::{Error, Kind, Result};
use crate::flow::{PIECES, Pace, Piece};
use crate::net::{Connection, Connector, Line, Link, Process, connect};
use crate::rdb::Summary;
use crate::report::json::{Outcome, Peer, Report};
use crate::report::{Count, Ledger, Mode, Proven, Stats, Verified};
use crate::source::replica::{self, Begun, Medium, Snapshot};
use write::Written;

/// What is saved, and where.
#[derive(Clone, Debug)]
pub struct BackupPlan {
    /// The server that is read.
    pub source: Server,
    /// The file that is written.
    pub file: PathBuf,
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Which databases.
    pub databases: Mapping,
    /// Which keys.
    pub filter: Filter,
    /// Whether a backup of nothing has failed.
    pub fail_if_empty: bool,
    /// Whether the source's own file is asked for.
    pub fetch: FetchMode,
    /// Whether the source may write its own file to its own disk first; else it is not asked for then.
    pub over_disk: bool,
    /// Connections, bounds, pace.
    pub limits: Limits,
    /// How long the source may be silent.
    pub timeouts: Timeouts,
}

impl BackupPlan {
    /// Whether all of the source is meant.
    pub fn is_whole(&self) -> bool {
        self.databases == Mapping::All && self.filter.is_all()
    }
}

/// What the tasks of a backup share.
struct Backup {
    plan: BackupPlan,
    source: Connector,
    info: ServerInfo,
    stats: Arc<Stats>,
    stop: CancellationToken,
    pace: Option<Arc<Pace>>,
}

/// Saves to a file, or, once it is to end, leaves nothing behind.
pub async fn backup(plan: BackupPlan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let endpoint = format!("file:{}", shown(&plan.file));
    let mut target = Peer { endpoint, ..Peer::default() };
    let (fail_if_empty, dry_run) = (plan.fail_if_empty, plan.dry_run);
    let work = save(plan, stats.clone(), &drain, &mut source);
    let result = Box::pin(unless_aborted(work, &drain, &abort)).await;
    if let Ok(Some(summary)) = &result {
        target.server = summary.describe();
    }
    if result.is_err() {
        // A backup is whole or not there: what was in the file is saved nowhere.
        stats.databases().iter().for_each(|database| database.forget_copied());
    }
    let whole = matches!(result, Ok(Some(_)));
    stats.dead_letters().are_complete(whole);
    let mut report = Report::new("backup", source, target, &stats);
    report.dead_letters_complete = stats.dead_letters().is_complete();
    report.dry_run = dry_run;
    report.outcome = match &result {
        Err(error) if error.kind() == Kind::Refused => Outcome::Refused,
        Err(_) if drain.is_cancelled() => Outcome::Interrupted,
        Err(_) => Outcome::Incomplete,
        Ok(None) => Outcome::DryRun,
        Ok(_) if report.keys.failed > 0 || report.keys.settled() != report.keys.scanned => {
            Outcome::Incomplete
        }
        Ok(_) => Outcome::Complete,
    };
    if result.is_ok() && !dry_run {
        let proven = stats
            .databases()
            .into_iter()
            .map(|of| Proven::new(of.source_db, of.target_db, Mode::ReadBack, false));
        report.verified = Verified::of(Mode::ReadBack, proven.collect());
    }
    report.tell_if_nothing(fail_if_empty);
    let error = result.err().filter(|_| report.outcome != Outcome::Interrupted);
    report.error = error.as_ref().map(Error::to_string);
    Ended { report, error }
}

/// Saves; `None`: it was to be a dry run.
async fn save(
    plan: BackupPlan,
    stats: Arc<Stats>,
    drain: &CancellationToken,
    source: &mut Peer,
) -> Result<Option<Summary>> {
    // Before anything is asked of the source: a file that cannot be is better known now.
    let part = match plan.dry_run {
        true => PartFile::refuse_existing(&plan.file).map(|()| None)?,
        false => Some(PartFile::create(&plan.file)?),
    };
    let (limits, stop) = (plan.limits, drain.child_token());
    let connector = Connector::new(&plan.source, plan.timeouts)?;
    let link = Link::new(connector.clone(), 0, Process::default(), stop.clone());
    let mut line = Line::over(link, connect(&connector, 0).await?);
    let info = line.info().await?;
    source.server = info.server();
    tracing::info!("source is {}", source.server);
    unsupported::refuse_sentinel(line.open().await?, &info)?;
    if info.cluster {
        tracing::warn!("the source is a cluster node; only the keys that it holds are saved");
    }
    let pace = limits.paced().then(|| {
        Arc::new(Pace::new(limits.bytes_per_second, limits.keys_per_second, stop.clone()))
    });
    let backup = Backup { plan, source: connector, info, stats, stop, pace };
    let Some(part) = part else {
        return backup.look(line.open().await?).await.map(|()| None);
    };
    let snapshot = match backup.plan.fetch {
        // A rate of keys cannot be kept where nobody sees them pass; and a source drops a replica that takes
        // its file too slowly (repl-timeout).
        FetchMode::Auto if backup.plan.is_whole() && !limits.paced() => {
            let begun = backup.snapshot(line.link().connect().await?).await;
            if begun.is_err() && backup.plan.over_disk {
                warn_of_failed_save(&mut line).await;
            }
            begun?
        }
        _ => None,
    };
    let over_disk = snapshot.is_some() && backup.plan.over_disk;
    let written = match snapshot {
        Some(snapshot) => backup.take(snapshot, part).await,
        None => dump::save(&backup, part).await,
    };
    if over_disk {
        warn_of_failed_save(&mut line).await;
    }
    let written = written?;
    if backup.stop.is_cancelled() {
        return Err(Error::new(Kind::Cancelled, "stopped"));
    }
    written.part.publish()?;
    Ok(Some(written.summary))
}

/// A source that could not write its file to its own disk refuses its clients' writes from then on.
async fn warn_of_failed_save(line: &mut Line) {
    let Ok(info) = line.info().await else { return };
    if info.last_save_failed {
        tracing::error!(
            "the source's last BGSAVE has failed: it refuses its clients' writes (MISCONF) until one succeeds; \
             free its disk and run BGSAVE there"
        );
    }
}

impl Backup {
    /// Counts what would be saved, as the source reports it.
    async fn look(&self, connection: &mut Connection) -> Result<()> {
        let mapping = &self.plan.databases;
        let held = census::of_mapping(connection, &self.source, &self.info, mapping).await?;
        for route in mapping.routes(held.keys().copied())? {
            let keys = held.get(&route.source).map_or(0, |keyspace| keyspace.keys);
            let counters = self.stats.database(route.source, route.source, keys);
            let ledger = Ledger::new(self.stats.clone(), counters);
            ledger.add(Count::Scanned, keys);
            ledger.add(Count::Copied, keys);
        }
        Ok(())
    }

    /// The source's own file, if it hands it out, and does no harm to itself by that.
    async fn snapshot(&self, mut connection: Connection) -> Result<Option<Box<Snapshot>>> {
        let asked = self.plan.over_disk;
        let why = match replica::medium(&mut connection).await? {
            Medium::Memory => None,
            _ if asked => None,
            Medium::Disk => Some("repl-diskless-sync is no".to_owned()),
            Medium::Unknown(why) => Some(format!("repl-diskless-sync is not known: {why}")),
        };
        if let Some(why) = why {
            tracing::warn!(
                "the source might write its RDB file to its own disk first ({why}); the backup is made of \
                 SCAN and DUMP instead: each key as it is when it is read. --fetch psync takes that file \
                 all the same"
            );
            return Ok(None);
        }
        let valkey = self.info.family == "valkey";
        match replica::begin(connection, valkey, &self.stop).await? {
            Begun::Snapshot(snapshot) => Ok(Some(snapshot)),
            Begun::Refused(why) if asked => {
                let text = format!("the source does not hand out its RDB file: {why}");
                Err(Error::new(Kind::Server, text).advise("leave out --fetch psync"))
            }
            Begun::Refused(why) => {
                tracing::warn!(
                    "the source does not hand out its RDB file ({why}); it is made of SCAN and \
                     DUMP: each key as it is when it is read"
                );
                Ok(None)
            }
        }
    }

    /// Writes the source's own file.
    async fn take(&self, mut snapshot: Box<Snapshot>, part: PartFile) -> Result<Written> {
        for (&database, keyspace) in &self.info.keyspace {
            self.stats.database(database, database, keyspace.keys);
        }
        let (sender, pieces) = mpsc::channel(PIECES);
        let writing = spawn_blocking(move || write::pieces(part, pieces));
        let came = self.pass(&mut snapshot, &sender).await;
        drop(sender);
        let written = whole(writing, came).await?;
        for section in &written.summary.sections {
            let known =
                self.stats.databases().into_iter().find(|d| d.source_db == section.database);
            let counters = known.unwrap_or_else(|| {
                self.stats.database(section.database, section.database, section.keys)
            });
            let ledger = Ledger::new(self.stats.clone(), counters);
            ledger.add(Count::Scanned, section.keys);
            ledger.add(Count::Copied, section.keys);
            ledger.add_bytes(section.bytes);
        }
        Ok(written)
    }

    async fn pass(&self, snapshot: &mut Snapshot, to: &mpsc::Sender<Piece>) -> Result<()> {
        while let Some(piece) = snapshot.next(&self.stop).await? {
            if to.send(Piece::Bytes(piece)).await.is_err() {
                // The writer has ended, and says why.
                return Ok(());
            }
        }
        let _ = to.send(Piece::End(None)).await;
        Ok(())
    }
}

/// Waits for the thread that writes. A file that cannot be written is the reason also where reading
/// was stopped by that.
async fn whole(writing: JoinHandle<Result<Option<Written>>>, read: Result<()>) -> Result<Written> {
    let written = writing.await.unwrap_or_else(|panic| {
        Err(Error::new(Kind::Local, format!("a task ended unexpectedly: {panic}"))
            .advise("this is a mistake in keyferry; please report it"))
    })?;
    read?;
    written.ok_or_else(|| Error::new(Kind::Cancelled, "stopped"))
}
