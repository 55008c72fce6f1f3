//! `copy FILE TARGET`: what was saved goes into a server.
//!
//! ```text
//! read once, whole ──> probe target ──> functions ──> for each database: thread ──> lane × n ──> proof
//! ```
//!
//! The first reading finds damage before anything is written. The databases follow one after the
//! other, as the file has them; the lanes are those that copies between servers have.

mod proof;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::budget::{Budget, Pairs};
use super::copy::join_or_stop;
use super::library::Library;
use super::part_file::shown;
use super::{
    Ended, Stop, census, clocks, existing, functions, knowledge, probe, unless_aborted, unsupported,
};
use crate::command::ServerInfo;
use crate::config::mapping::Route;
use crate::config::{Filter, IfExists, Limits, Mapping, Server, Timeouts, Verify};
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{Pace, Repeated, channel};
use crate::net::{Connection, Connector, Link, Process, connect};
use crate::rdb::{Section, Summary, Version};
use crate::report::json::{Outcome, Peer, Report};
use crate::report::{Ledger, Stats, Verified};
use crate::source::file::Reading;
use crate::source::opened::Opened;
use crate::source::twice::Twice;
use crate::target::crossing::Crossing;
use crate::target::recovering::OtherProcess;
use crate::target::restore::{Hooks, Lane, Tools};
use crate::units;

/// The advice where keys exist on the target: a file cannot be merged.
const WITHOUT_MERGE: &str =
    "say what happens to a key that is there already: --if-exists replace, skip or fail";
/// How the name of the first part of an append-only file ends, and what the names of the others end with.
const BASE: &str = ".base.rdb";
const INCREMENT: &str = ".incr.aof";

/// What is copied from a file, and where.
#[derive(Clone, Debug)]
pub struct FilePlan {
    /// The file that is read.
    pub file: PathBuf,
    /// The server that is written.
    pub target: Server,
    /// Which database goes where.
    pub mapping: Mapping,
    /// Which keys are meant.
    pub filter: Filter,
    /// Whether a copy of nothing has failed.
    pub fail_if_empty: bool,
    /// What happens to a key that the target holds.
    pub if_exists: IfExists,
    /// Whether functions are copied, too.
    pub functions: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Fields of hashes may lose their expiries to a target that has none.
    pub lossy: bool,
    /// How the end is proven.
    pub verify: Verify,
    /// Connections, bounds, pace.
    pub limits: Limits,
    /// How long the target may be silent.
    pub timeouts: Timeouts,
}

/// What the tasks of such a copy share.
struct Restore {
    plan: FilePlan,
    opened: Opened,
    summary: Summary,
    /// Names that the file holds twice.
    twice: Arc<Twice>,
    connector: Connector,
    process: Process,
    /// What the target reported before the first key was written.
    before: ServerInfo,
    routes: Vec<Route>,
    crossing: Crossing,
    /// How far the target's clock is ahead of ours, in milliseconds.
    ahead_ms: i64,
    /// How long it takes to answer.
    far: Duration,
    stats: Arc<Stats>,
    stop: CancellationToken,
    pace: Option<Arc<Pace>>,
}

/// Copies a file into a server, or, once it is to drain, until what is in flight is done.
pub async fn copy_file(plan: FilePlan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain, abort } = stop.into();
    let endpoint = format!("file:{}", shown(&plan.file));
    let mut source = Peer { endpoint, ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let (dry_run, fail_if_empty) = (plan.dry_run, plan.fail_if_empty);
    let if_exists = plan.if_exists.word();
    let work = run(plan, stats.clone(), &drain, &mut source, &mut target);
    let result = unless_aborted(work, &drain, &abort).await;
    let mut report = Report::new("copy", source, target, &stats);
    (report.dry_run, report.if_exists) = (dry_run, if_exists);
    let clean = report.keys.failed == 0 && report.keys.settled() == report.keys.scanned;
    report.outcome = match &result {
        // A damaged file: nothing was written.
        Err(error) if error.kind() == Kind::Refused => Outcome::Refused,
        Err(error) if error.kind() == Kind::State && report.keys.scanned == 0 => Outcome::Refused,
        Err(error) if error.kind() == Kind::Cancelled => Outcome::Interrupted,
        Err(error) if drain.is_cancelled() && error.passes() => Outcome::Interrupted,
        Err(_) => Outcome::Incomplete,
        Ok(_) if drain.is_cancelled() => Outcome::Interrupted,
        Ok(_) if dry_run => Outcome::DryRun,
        Ok(verified) if clean && verified.agrees() => Outcome::Complete,
        Ok(_) => Outcome::Incomplete,
    };
    let ended = !dry_run && !drain.is_cancelled();
    let complete = ended && result.as_ref().is_ok_and(Verified::agrees);
    stats.dead_letters().are_complete(complete);
    report.dead_letters_complete = stats.dead_letters().is_complete();
    let error = match result {
        Ok(verified) => {
            report.verified = verified;
            None
        }
        Err(error) => Some(error).filter(|error| error.kind() != Kind::Cancelled),
    };
    report.tell_if_nothing(fail_if_empty);
    report.error = error.as_ref().map(Error::to_string);
    Ended { report, error }
}

async fn run(
    plan: FilePlan,
    stats: Arc<Stats>,
    drain: &CancellationToken,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Verified> {
    let stop = drain.child_token();
    let place = source.endpoint.clone();
    let (opened, (summary, twice)) =
        open(&plan, &stop).await.map_err(|e| e.at(Side::Source, &place))?;
    source.server = summary.describe();
    tracing::info!("source is {}", source.server);
    tell(&summary, &twice, &plan);
    let connector = Connector::new(&plan.target, plan.timeouts)?;
    let mut connection = connect(&connector, 0).await?;
    let info = probe::info(&mut connection).await?;
    target.server = info.server();
    tracing::info!("target is {}", target.server);
    let restore = Restore::new(
        plan,
        stats,
        stop,
        (opened, summary, twice),
        connector,
        &mut connection,
        &info,
    )
    .await?;
    if restore.plan.functions && !restore.summary.functions.is_empty() {
        restore.functions(&mut connection).await?;
    }
    if restore.plan.dry_run {
        proof::dry_run(&restore).await?;
        return Ok(Verified::none());
    }
    drop(connection);
    for section in restore.sections() {
        if !restore.stop.is_cancelled() {
            let copied = Box::pin(restore.database(section)).await;
            copied.map_err(|error| match error.kind() {
                Kind::State => not_damaged(&restore.opened, error).at(Side::Source, &place),
                _ => error,
            })?;
        }
    }
    restore.opened.ensure_unchanged().map_err(|error| error.at(Side::Source, &place))?;
    if restore.plan.verify == Verify::None || restore.stop.is_cancelled() {
        return Ok(Verified::none());
    }
    proof::prove(&restore).await
}

/// Opens the file and reads it once.
async fn open(plan: &FilePlan, stop: &CancellationToken) -> Result<(Opened, (Summary, Twice))> {
    let opened = Opened::open(&plan.file, stop.clone())?;
    let reading = opened.clone();
    let found = thread(move || reading.check()).await;
    let found = found.map_err(|error| not_damaged(&opened, error))?;
    Ok((opened, found))
}

/// A file that somebody writes to is not damaged, however that shows.
fn not_damaged(opened: &Opened, error: Error) -> Error {
    match error.kind() {
        Kind::State if opened.ensure_unchanged().is_err() => error.as_kind(Kind::Local),
        _ => error,
    }
}

/// Says what of the file stays behind.
fn tell(summary: &Summary, twice: &Twice, plan: &FilePlan) {
    if twice.replaced > 0 {
        tracing::warn!(
            "the file holds names twice, and no server loads it: of each name the last key is copied; \
             keys that are skipped: {}",
            units::count(twice.replaced)
        );
    }
    let name = plan.file.file_name().unwrap_or_default().to_string_lossy();
    if summary.append_only_base || name.ends_with(BASE) {
        tracing::warn!(
            "the file is the base of an append-only file: newer writes are in the {INCREMENT} files beside it, and \
             are not copied; to have them, start a server with the append-only file and copy from that server"
        );
    }
    if summary.is_newer_than_known() {
        let version = summary.version;
        tracing::warn!(
            "the file has RDB version {version}, which is newer than any that is known here"
        );
    }
    if !summary.checked {
        tracing::warn!("the file has no checksum: damage inside of values would not show");
    }
    let libraries = summary.functions.len();
    if libraries > 0 && !plan.functions {
        tracing::warn!("{}", functions::left_behind("file", libraries as u64));
    }
    if summary.module_data > 0 {
        tracing::warn!("what modules keep beside keys is not copied: only they can read it");
    }
    if summary.keys_with_metadata > 0 {
        let keys = summary.keys_with_metadata;
        tracing::warn!("{keys} keys lose what modules keep beside them");
    }
}

/// Runs what waits for the disk.
async fn thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::new(Kind::Local, format!("a task ended unexpectedly: {panic}"))
            .advise("this is a mistake in keyferry; please report it"))
    })
}

impl Restore {
    /// Looks whether the plan is safe on the target. Leaves nothing behind.
    async fn new(
        plan: FilePlan,
        stats: Arc<Stats>,
        stop: CancellationToken,
        (opened, summary, twice): (Opened, Summary, Twice),
        connector: Connector,
        connection: &mut Connection,
        info: &ServerInfo,
    ) -> Result<Self> {
        unsupported::refuse_unsupported(connection, info)?;
        let present: BTreeSet<u32> = summary.sections.iter().map(|s| s.database).collect();
        let routes = plan.mapping.routes(present.into_iter())?;
        probe::refuse_shared(plan.if_exists, &routes)
            .map_err(|error| error.advise_instead(WITHOUT_MERGE))?;
        let holds = census::look(connection, info, routes.iter().map(|route| route.target)).await?;
        probe::refuse_occupied(plan.if_exists, &routes, &holds, connection)
            .map_err(|error| error.advise_instead(WITHOUT_MERGE))?;
        probe::writable(connection, plan.dry_run, plan.if_exists).await?;
        let clock = clocks::clock_offset(connection).await?;
        let ahead_ms = clock.offset.map_or(0, |offset| offset.ahead_ms);
        probe::select(connection, routes.iter().map(|route| route.target)).await?;
        let taken = match plan.dry_run {
            true => knowledge::of_version(info),
            false => knowledge::ask(connection, info).await?.0,
        };
        let source = crate::payload::Family::of_version(summary.version);
        // A file has no clock: its times stay what they are, and have passed if they have on the target.
        let crossing = Crossing {
            target: taken,
            source,
            lossy: plan.lossy,
            ahead_ms: 0,
            source_ahead_ms: ahead_ms,
        };
        let pace = plan.limits.paced().then(|| {
            let limits = plan.limits;
            Arc::new(Pace::new(limits.bytes_per_second, limits.keys_per_second, stop.clone()))
        });
        let process = Process::with_data(info);
        Ok(Self {
            plan,
            opened,
            summary,
            twice: Arc::new(twice),
            connector,
            process,
            before: info.clone(),
            routes,
            crossing,
            ahead_ms,
            far: clock.round_trip,
            stats,
            stop,
            pace,
        })
    }

    fn target_link(&self, database: u32) -> Link {
        Link::new(self.connector.clone(), database, self.process.clone(), self.stop.clone())
    }

    /// The parts of the file that are meant, and where each goes.
    fn sections(&self) -> Vec<(Section, Route)> {
        let route = |section: &Section| {
            let found = self.routes.iter().find(|route| route.source == section.database);
            found.map(|&route| (*section, route))
        };
        self.summary.sections.iter().filter_map(route).collect()
    }

    /// The time by the target's clock, in Unix milliseconds.
    fn now_ms(&self) -> i64 {
        clocks::unix_ms().saturating_add(self.ahead_ms)
    }

    fn budget(&self) -> (usize, Budget) {
        let connections = Pairs::new(self.plan.limits, 1, 1, &[]).each;
        let memory = self.plan.limits.memory;
        (connections, Budget::new(memory, connections, Duration::ZERO, self.far))
    }

    fn reading(&self, section: Section, ledger: Ledger) -> Reading {
        let (_, budget) = self.budget();
        Reading {
            opened: self.opened.clone(),
            version: Version::new(self.summary.version),
            section,
            filter: self.plan.filter.clone(),
            twice: self.twice.clone(),
            ahead_ms: self.ahead_ms,
            large: budget.large,
            ledger,
            empty: Cell::default(),
        }
    }

    fn ledger(&self, section: Section, route: Route) -> Ledger {
        let known = self.stats.databases().into_iter().find(|d| d.source_db == route.source);
        let counters =
            known.unwrap_or_else(|| self.stats.database(route.source, route.target, section.keys));
        Ledger::new(self.stats.clone(), counters)
    }

    /// Functions come before the keys: an application may call one as soon as it finds its keys. A dry run
    /// refuses what would be refused.
    async fn functions(&self, target: &mut Connection) -> Result<()> {
        let version = Version::new(self.summary.version);
        let mut libraries = functions::Libraries::new(target, self.plan.if_exists).await?;
        for &at in &self.summary.functions {
            let opened = self.opened.clone();
            let code = thread(move || opened.function(version, at)).await?;
            let library = Library::of_code(&code);
            libraries.take(target, code, library)?;
        }
        match self.plan.dry_run {
            true => libraries.refuse_conflicts(target),
            false => libraries.load(target).await,
        }
    }

    /// Copies one database.
    async fn database(&self, (section, route): (Section, Route)) -> Result<()> {
        let (connections, budget) = self.budget();
        let link = self.target_link(route.target).for_writing();
        let ledger = self.ledger(section, route);
        let mut tasks = JoinSet::new();
        let mut hooks = Hooks::default();
        if self.plan.if_exists != IfExists::Replace {
            let (sender, questions) = mpsc::channel(existing::WAITING);
            hooks.existing = Some(sender);
            tasks.spawn(existing::answer(existing::Existing {
                target: link.clone(),
                questions,
                ahead_ms: 0,
                crossing: self.crossing,
                stop: self.stop.clone(),
            }));
        }
        let mut lanes = Vec::new();
        for _ in 0..connections {
            let (sender, receiver) = channel::bounded(budget.channel);
            lanes.push(sender.paced(self.pace.clone()));
            let lane = Lane::new(Tools {
                link: link.clone(),
                connection: link.connect().await?,
                batches: receiver,
                policy: self.plan.if_exists,
                several: false,
                crossing: self.crossing,
                window: budget.lane,
                repeated: Repeated::default(),
                ledger: ledger.clone(),
                stop: self.stop.clone(),
                hooks: hooks.clone(),
                // The file is not read a second time.
                other_process: OtherProcess { ends: true, ..Default::default() },
            });
            tasks.spawn(lane.run());
        }
        // What is left here must not keep the task waiting for more.
        drop(hooks);
        let (reading, handle) = (self.reading(section, ledger), Handle::current());
        tasks.spawn(thread(move || reading.send_values(&lanes, &handle)));
        join_or_stop(tasks, &self.stop).await
    }
}
