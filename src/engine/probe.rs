//! What both servers are, and whether the plan is safe on them. Leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::census::{self, Holdings};
use super::checkpoint::GoingOn;
use super::clocks::{Offset, clock_offset};
use super::independent::{self, Sameness};
use super::target_watch::Look;
use super::unsupported::refuse_unsupported;
use super::{Run, knowledge, permitted_keys, queued, rights, room};
use crate::command::changes::Changes;
use crate::command::keyspace::{ExpiryCommand, refused_restore};
use crate::command::{Cause, ServerError, ServerInfo};
use crate::config::mapping::{Route, shared_targets};
use crate::config::{FetchMode, IfExists, Plan};
use crate::error::{Error, Kind, Result};
use crate::flow::Repeated;
use crate::net::{Connection, Process, connect, probe_key};
use crate::report::json::Peer;
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::fetch::Asking;
use crate::source::still::Still;
use crate::target::crossing::Crossing;
use crate::units;

/// Fewer keys are asked for their expiries whatever INFO says: that takes a fraction of a second.
const SPARED_KEYS: u64 = 100_000;
/// Where values are larger than this on average, in bytes, the question costs nothing beside them.
const SPARED_BYTES: u64 = 64 << 10;

/// Longer strings of answers are not held by a probe, in bytes.
const HELD: usize = 4 << 20;

/// What the probe found.
pub(super) struct Probed {
    /// Which database goes where.
    pub(super) routes: Vec<Route>,
    /// How expiries are read.
    pub(super) clock: ExpiryClock,
    /// What the source held.
    pub(super) source: Holdings,
    /// What the target held.
    pub(super) target: Holdings,
    /// The source's process.
    pub(super) source_process: Process,
    /// The target's process, with what it holds.
    pub(super) target_process: Process,
    /// Whether strings can go by value: both users may, and the target can set an expiry with them.
    by_value: bool,
    /// Whether several strings can go at once.
    several: bool,
    /// Whether source and target are one server.
    pub(super) one_server: bool,
    /// How payloads get across.
    pub(super) crossing: Crossing,
    /// How long source and target take to answer a PING.
    pub(super) round_trips: [Duration; 2],
    /// The source's count of changes when INFO told what it holds.
    changes: Option<Changes>,
    has_large_values: bool,
    /// INFO said that no key expires, and some do.
    pub(super) lied: AtomicBool,
    /// Keys that the source had removed because they expired, when the run began.
    pub(super) expired_keys: Option<u64>,
    /// What source and target reported before the first key was read.
    pub(super) before: [ServerInfo; 2],
    /// An earlier run began it: what the target holds may be ours.
    pub(super) resumed: bool,
    /// And all its keys are begun anew.
    pub(super) anew: bool,
    /// Of source and target: whether it is not known if databases were exchanged between two runs.
    pub(super) uncertain: [bool; 2],
    /// What the target said of itself before anything was written, where that will be asked for.
    pub(super) look: Option<Look>,
}

impl Probed {
    /// What the source is asked about each key of a route.
    pub(super) fn asking(&self, run: &Run, large: usize) -> Asking {
        let plan = &run.plan;
        Asking {
            clock: self.clock,
            by_value: self.by_value && plan.fetch == FetchMode::Auto,
            large,
            fingerprints: false,
        }
    }

    /// Whether the target may hold keys that this copy wrote.
    pub(super) fn repeated(&self) -> Repeated {
        match (self.resumed, self.anew) {
            (_, true) => Repeated::all(),
            (true, false) => Repeated::some(),
            (false, false) => Repeated::default(),
        }
    }

    /// Whether strings go several at once: not where each key may be there already.
    pub(super) fn several(&self, plan: &Plan) -> bool {
        self.several && matches!(plan.if_exists, IfExists::Refuse | IfExists::Replace)
    }

    /// Whether a database may be one whose expiries need not be asked for.
    pub(super) fn spares_any(&self) -> bool {
        self.source.values().any(|held| held.expires == 0 && held.keys >= SPARED_KEYS)
    }

    /// The evidence by which a database's expiries need not be asked for: INFO told of none, and the
    /// source's count of changes stands still from then on until `now`, and behind every value. Only
    /// where it is worth it, and where keys that came without it could be written again.
    pub(super) fn still(&self, run: &Run, route: Route, now: &ServerInfo) -> Option<Arc<Still>> {
        let held = self.source.get(&route.source)?;
        let worth_it = held.expires == 0 && held.keys >= SPARED_KEYS && !self.has_large_values;
        let again = matches!(run.plan.if_exists, IfExists::Refuse | IfExists::Replace);
        let (then, now) = (self.changes?, now.changes?);
        let stands = now.certainly_unchanged_since(then) && !self.before[0].replica;
        let believed = !self.lied.load(Ordering::Relaxed);
        (worth_it && again && stands && believed).then(|| Arc::new(Still::since(now)))
    }
}

/// Connects to both servers and asks what they are.
pub(super) async fn meet(
    run: &Run,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<[(Connection, ServerInfo); 2]> {
    let (at_source, at_target) = tokio::join!(connect(&run.source, 0), connect(&run.target, 0));
    let (mut at_source, mut at_target) = (at_source?, at_target?);
    let (source_info, target_info) = tokio::join!(info(&mut at_source), info(&mut at_target));
    let source_info = source_info?;
    source.server = source_info.server();
    // Questions of a probe are answered by names, now and then, of which none is needed whole.
    [&mut at_source, &mut at_target].into_iter().for_each(|at| {
        at.hold_at_most(Some(HELD));
    });
    let target_info = target_info?;
    target.server = target_info.server();
    tracing::info!("source is {}, target is {}", source.server, target.server);
    refuse_unsupported(&at_source, &source_info)?;
    refuse_unsupported(&at_target, &target_info)?;
    Ok([(at_source, source_info), (at_target, target_info)])
}

/// Asks both servers what they are and refuses what is not safe.
pub(super) async fn probe(run: &Run, source: &mut Peer, target: &mut Peer) -> Result<Probed> {
    let [(mut at_source, source_info), (mut at_target, target_info)] =
        meet(run, source, target).await?;
    let mapping = &run.plan.mapping;
    let held = census::of_mapping(&mut at_source, &run.source, &source_info, mapping).await?;
    let routes = mapping.routes(held.keys().copied())?;
    let sameness = {
        let source = (&mut at_source, &source_info);
        independent::without_a_write(run, source, (&mut at_target, &target_info)).await?
    };
    independent::refuse_same(run, &routes, &sameness)?;
    refuse_shared(run.plan.if_exists, &routes)?;
    let earlier = run.checkpoint.as_deref();
    let look = match earlier.is_some() || run.plan.delete_source {
        true => Some(Look::now(&mut at_target).await?),
        false => None,
    };
    let mut going_on = GoingOn::default();
    if let (Some(earlier), Some(look)) = (earlier, &look) {
        let met = earlier.meet((&source_info, &held), &target_info, look);
        going_on = met.map_err(|error| match error.kind() {
            Kind::Server => at_target.place(error),
            _ => error,
        })?;
    }
    let resumed = earlier.filter(|earlier| earlier.is_begun());
    let targets = routes.iter().map(|route| route.target);
    let holds = census::look(&mut at_target, &target_info, targets).await?;
    refuse_occupied(run.plan.if_exists, &fresh(run, &routes), &holds, &at_target)?;
    let (at_clocks, can_read, can_write) = {
        let (source, target) = (&mut at_source, &mut at_target);
        let clocks = tokio::join!(clock_offset(source), clock_offset(target));
        let rights =
            tokio::join!(readable(source), writable(target, run.plan.dry_run, run.plan.if_exists));
        (clocks, rights.0?, rights.1?)
    };
    let (source_time, target_time) = (at_clocks.0?, at_clocks.1?);
    let timed = [&source_time, &target_time].map(|look| look.offset.is_some());
    rights::refuse_missing(&run.plan, [&mut at_source, &mut at_target], timed).await?;
    let source_ahead_ms = source_time.offset.as_ref().map_or(0, |offset| offset.ahead_ms);
    let clock = expiry_clock(&at_source, &can_read, source_time.offset, target_time.offset)?;
    permitted_keys::refuse_untouchable(run, &routes).await?;
    if !run.plan.dry_run {
        let too_small = room::certainly_too_small(&run.plan, &routes, &source_info, &target_info);
        too_small.map_or(Ok(()), |refusal| Err(at_target.place(refusal)))?;
        if run.plan.delete_source {
            let from = routes.first().map_or(0, |route| route.source);
            queued::may_delete(connect(&run.source, from).await?).await?;
        }
        if run.plan.if_exists == IfExists::Merge {
            let into = routes.first().map_or(0, |route| route.target);
            let denied = queued::try_merge(&run.target, into).await?;
            rights::refuse_denied(&at_target, &denied)?;
        }
    }
    let sameness = match run.plan.delete_source {
        true => {
            let target = (&mut at_target, &target_info);
            independent::refuse_deletion(run, &routes, sameness, &source_info, target).await?
        }
        false => independent::decide(run, &routes, sameness).await?,
    };
    let by_value = target_info.sets_with_expiry() && can_read.by_value && can_write.by_value;
    // Last, since it leaves these connections on other databases.
    let selected = tokio::join!(
        select(&mut at_source, routes.iter().map(|route| route.source)),
        select(&mut at_target, routes.iter().map(|route| route.target)),
    );
    selected.0.and(selected.1)?;
    // Not in databases that are no target: somebody may have the right to these only.
    let (taken, written) = match run.plan.dry_run {
        true => (knowledge::of_version(&target_info), 0),
        false => knowledge::ask(&mut at_target, &target_info).await?,
    };
    run.stats.add_written(written);
    tracing::debug!("the target takes {taken:?}");
    let crossing = Crossing {
        target: taken,
        source: knowledge::family(&source_info),
        lossy: run.plan.lossy,
        ahead_ms: clock.ahead_ms,
        source_ahead_ms,
    };
    let keys: u64 = source_info.keyspace.values().map(|held| held.keys).sum();
    let dataset = source_info.memory.dataset;
    let has_large_values = dataset.is_some_and(|bytes| bytes / keys.max(1) > SPARED_BYTES);
    Ok(Probed {
        target_process: Process::with_data(&target_info),
        routes,
        one_server: matches!(sameness, Sameness::One | Sameness::Mixed(_)),
        crossing,
        clock,
        source: held,
        // As it was when the first run began.
        target: holds
            .into_iter()
            .filter(|&(target, _)| !resumed.is_some_and(|earlier| earlier.was_empty(target)))
            .collect(),
        source_process: source_info.run_id.clone().into(),
        by_value,
        several: can_write.several,
        changes: source_info.changes,
        has_large_values,
        lied: AtomicBool::new(false),
        expired_keys: match resumed {
            Some(earlier) => earlier.expired_keys(),
            None => source_info.expired_keys,
        },
        resumed: resumed.is_some(),
        anew: going_on.anew.is_some(),
        uncertain: going_on.uncertain,
        look,
        before: [source_info, target_info],
        round_trips: [source_time.round_trip, target_time.round_trip],
    })
}

pub(super) async fn info(connection: &mut Connection) -> Result<ServerInfo> {
    connection.info().await.map_err(refused_before_work)
}

/// Nothing is written yet: what a server refuses now is a refusal, or a missing authentication.
pub(super) fn refused_before_work(error: Error) -> Error {
    match error.kind() {
        Kind::Server => error.as_kind(Kind::Refused),
        _ => error.as_kind(Kind::Connect),
    }
}

/// Several databases that would go into one, with nothing said about it.
pub(super) fn refuse_shared(if_exists: IfExists, routes: &[Route]) -> Result<()> {
    let shared = shared_targets(routes);
    if let Some(target) = shared.first().filter(|_| if_exists == IfExists::Refuse) {
        return Err(Error::config(format!("several databases would go into database {target}")).advise(
            "say what happens to a key that comes twice: --if-exists replace, skip, fail or merge",
        ));
    }
    Ok(())
}

/// The routes that no earlier run has begun: what their targets hold is not ours.
pub(super) fn fresh(run: &Run, routes: &[Route]) -> Vec<Route> {
    let begun = |route| run.checkpoint.as_ref().is_some_and(|earlier| earlier.has_begun(route));
    routes.iter().copied().filter(|&route| !begun(route)).collect()
}

pub(super) fn refuse_occupied(
    if_exists: IfExists,
    routes: &[Route],
    target: &Holdings,
    connection: &Connection,
) -> Result<()> {
    if if_exists != IfExists::Refuse {
        return Ok(());
    }
    let occupied: Vec<String> = routes
        .iter()
        .filter_map(|route| {
            let keys = target.get(&route.target)?.keys;
            Some(format!("database {} holds keys (about {})", route.target, units::count(keys)))
        })
        .collect();
    if occupied.is_empty() {
        return Ok(());
    }
    Err(connection
        .place(Error::refused(format!("it is not empty: {}", occupied.join(", "))))
        .advise("say what happens to a key that exists: --if-exists replace, skip, fail or merge"))
}

/// Before anything is written: are all databases there?
pub(super) async fn select(
    connection: &mut Connection,
    databases: impl Iterator<Item = u32>,
) -> Result<()> {
    let databases = to_select(databases);
    for database in &databases {
        connection.output().command(&[b"SELECT", database.to_string().as_bytes()]);
    }
    let replies = connection.receive(databases.len()).await.map_err(refused_before_work)?;
    for (database, reply) in databases.into_iter().zip(replies) {
        if let Value::Error(line) = reply
            && !needs_no_select(database, &line)
        {
            return Err(connection.no_database(database, &line));
        }
    }
    Ok(())
}

/// Databases that are to be selected, to see whether they are there. Every connection begins on database 0, and a
/// server, or a proxy, with no other may know no SELECT: alone, it is not asked for.
pub(super) fn to_select(databases: impl Iterator<Item = u32>) -> Vec<u32> {
    let databases: Vec<u32> = databases.collect();
    if databases.iter().all(|&database| database == 0) { Vec::new() } else { databases }
}

/// Whether it is no matter that SELECT was refused: of database 0, but where the database is what is not permitted
/// (Valkey 9.1).
pub(super) fn needs_no_select(database: u32, line: &str) -> bool {
    database == 0 && !line.contains("access database")
}

pub(super) fn expiry_clock(
    source: &Connection,
    readable: &Readable,
    at_source: Option<Offset>,
    at_target: Option<Offset>,
) -> Result<ExpiryClock> {
    let ahead_ms = match (at_source, at_target) {
        (Some(at_source), Some(at_target)) => {
            at_source.refuse_apart(&at_target).map_err(|error| source.place(error))?;
            at_source.until(&at_target)
        }
        (None, _) if readable.expiry == ExpiryCommand::Remaining => {
            let text = "without PEXPIRETIME the source's TIME is needed, and it is refused";
            let error = Error::refused(text).advise("grant it there: ACL SETUSER <user> +time");
            return Err(source.place(error));
        }
        _ => {
            tracing::warn!("a server refuses TIME; its clock is taken to be right");
            0
        }
    };
    if ahead_ms != 0 {
        tracing::warn!(
            "the target's clock is {ahead_ms} ms ahead of the source's; expiries follow it"
        );
    }
    Ok(ExpiryClock { command: readable.expiry, ahead_ms, together: readable.together })
}

/// What may be read of a server, and how.
pub(super) struct Readable {
    pub(super) expiry: ExpiryCommand,
    pub(super) by_value: bool,
    /// Whether several things may be asked in one transaction.
    pub(super) together: bool,
}

/// Tries what keys need on one that does not exist.
pub(super) async fn readable(source: &mut Connection) -> Result<Readable> {
    let commands: [&[&[u8]]; 4] = [
        &[b"SCAN", b"0", b"COUNT", b"1"],
        &[b"DUMP", probe_key()],
        &[b"PEXPIRETIME", probe_key()],
        &[b"MGET", probe_key()],
    ];
    let replies = source.call_all(&commands).await.map_err(refused_before_work)?;
    for (command, reply) in commands.into_iter().zip(&replies).take(2) {
        refuse_if_pointless(source, command, reply)?;
    }
    let expiry = ExpiryCommand::known_by(replies.get(2));
    let together = may_ask_together(source, expiry).await?;
    Ok(Readable { expiry, by_value: !replies.get(3).is_some_and(is_denied), together })
}

/// Tries a transaction that only reads. EXEC is tried first: a transaction that was begun and may not be
/// ended would swallow all that comes behind it.
pub(super) async fn may_ask_together(
    connection: &mut Connection,
    expiry: ExpiryCommand,
) -> Result<bool> {
    if !may_end(connection).await? {
        return Ok(false);
    }
    let commands: [&[&[u8]]; 3] =
        [&[b"MULTI"], &[expiry.name().as_bytes(), probe_key()], &[b"EXEC"]];
    let replies = connection.call_all(&commands).await.map_err(refused_before_work)?;
    Ok(match replies.as_slice() {
        [Value::Simple(_), Value::Simple(_), Value::Array(told)] => told.len() == 1,
        // The name is none of the user's; the transaction itself was begun and ended.
        [Value::Simple(_), Value::Error(line), Value::Error(ended)] => {
            let denied = ServerError::parse(line.as_bytes()).cause == Cause::KeyDenied;
            denied && ended.starts_with("EXECABORT")
        }
        _ => false,
    })
}

/// Whether a transaction may be ended.
pub(super) async fn may_end(connection: &mut Connection) -> Result<bool> {
    let exec = connection.call(&[b"EXEC"]).await.map_err(refused_before_work)?;
    Ok(matches!(&exec, Value::Error(line) if line.contains("without MULTI")))
}

/// What may be written to the target.
pub(super) struct Writable {
    by_value: bool,
    several: bool,
}

/// Tries commands that are wrong on purpose and write nothing: an empty payload is never restored, an
/// option that is none, a value without a key. But what is not permitted, on a full server or on a
/// read-only replica is refused for that reason first.
pub(super) async fn writable(
    target: &mut Connection,
    dry_run: bool,
    if_exists: IfExists,
) -> Result<Writable> {
    if dry_run {
        return Ok(Writable { by_value: false, several: false });
    }
    let commands: [&[&[u8]]; 3] = [
        &refused_restore(probe_key()),
        &[b"SET", probe_key(), b"", b"no-such-option"],
        &[if_exists.sets_several(), probe_key(), b"", probe_key()],
    ];
    let replies = target.call_all(&commands).await.map_err(refused_before_work)?;
    if let (Some(command), Some(reply)) = (commands.first(), replies.first()) {
        refuse_if_pointless(target, command, reply)?;
    }
    let denied = |place: usize| replies.get(place).is_some_and(is_denied);
    Ok(Writable { by_value: !denied(1), several: !denied(2) })
}

pub(super) fn is_denied(reply: &Value) -> bool {
    match reply {
        Value::Error(line) => ServerError::parse(line.as_bytes()).cause != Cause::Other,
        _ => false,
    }
}

pub(super) fn refuse_if_pointless(
    connection: &Connection,
    command: &[&[u8]],
    reply: &Value,
) -> Result<()> {
    let Value::Error(line) = reply else { return Ok(()) };
    let error = ServerError::parse(line.as_bytes());
    let name = command.first().copied().unwrap_or_default();
    match error.cause {
        Cause::NotAuthenticated => Err(connection.refused(name, &error).as_kind(Kind::Connect)),
        // A replica is waited for only once it has taken writes of ours: then a failover is under way.
        cause if cause.hits_every_key() => {
            Err(connection.refused(name, &error).as_kind(Kind::Refused).lasting())
        }
        _ => Ok(()),
    }
}
