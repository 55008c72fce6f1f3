//! What both servers are, and whether the plan is safe on them. Leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Run, knowledge};
use crate::command::info::Keyspace;
use crate::command::keyspace::ExpiryCommand;
use crate::command::{Cause, ServerError, ServerInfo};
use crate::config::mapping::{Route, shared_targets};
use crate::config::{FetchMode, IfExists};
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, connect};
use crate::report::json::Peer;
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::fetch::Asking;
use crate::target::crossing::Crossing;
use crate::units;

/// Clocks closer than this agree: an expiry then stays the same number. It is what a verification
/// tolerates, too.
const CLOCKS_AGREE_MS: i64 = 50;
/// Samples of each clock; the quickest counts.
const CLOCK_SAMPLES: usize = 5;
/// PINGs to learn how far a server is away.
const ROUND_TRIPS: usize = 3;
/// A key that is asked about and never made.
const PROBE_KEY: &[u8] = b"keyferry:probe";

/// What the probe found.
pub(super) struct Probed {
    /// Which database goes where.
    pub(super) routes: Vec<Route>,
    /// How expiries are read.
    pub(super) clock: ExpiryClock,
    /// What the source held.
    pub(super) source: BTreeMap<u32, Keyspace>,
    /// What the target held.
    pub(super) target: BTreeMap<u32, Keyspace>,
    /// The source's process.
    pub(super) source_run_id: Option<String>,
    /// The target's process.
    pub(super) target_run_id: Option<String>,
    /// Whether strings can go by value: both users may, and the target can set an expiry with them.
    by_value: bool,
    /// Whether the target's user may set expiries later.
    may_expire: bool,
    /// How payloads get across.
    pub(super) crossing: Crossing,
    /// How long source and target take to answer a PING.
    pub(super) round_trips: [Duration; 2],
    /// Keys that the source had removed because they expired, when the run began.
    pub(super) expired_keys: Option<u64>,
}

impl Probed {
    /// What the source is asked about each key of a route.
    pub(super) fn asking(&self, run: &Run, route: Route, large: usize) -> Asking {
        let plan = &run.plan;
        Asking {
            clock: self.clock,
            expiries: !self.spares_expiries(run, route),
            by_value: self.by_value && plan.fetch == FetchMode::Auto,
            large,
            // To find out whether a value was written before a connection broke, or to delete it.
            fingerprints: plan.delete_source || plan.if_exists != Some(IfExists::Replace),
        }
    }

    /// Whether a database has no expiry at all. Only where the target was empty: should an expiry
    /// appear meanwhile, every key can be looked at again.
    pub(super) fn spares_expiries(&self, run: &Run, route: Route) -> bool {
        let none = self.source.get(&route.source).is_some_and(|keyspace| keyspace.expires == 0);
        let empty = !self.target.contains_key(&route.target);
        let plain = run.plan.fetch == FetchMode::Auto && !run.plan.delete_source;
        let alone = !shared_targets(&self.routes).contains(&route.target);
        none && empty && plain && alone && self.may_expire && self.expired_keys.is_some()
    }
}

/// Asks both servers what they are and refuses what is not safe.
pub(super) async fn probe(run: &Run, source: &mut Peer, target: &mut Peer) -> Result<Probed> {
    let (at_source, at_target) = tokio::join!(connect(&run.source, 0), connect(&run.target, 0));
    let (mut at_source, mut at_target) = (at_source?, at_target?);
    let source_info = info(&mut at_source).await?;
    source.server = source_info.server();
    let target_info = info(&mut at_target).await?;
    target.server = target_info.server();
    tracing::info!("source is {}, target is {}", source.server, target.server);
    for (connection, info) in [(&at_source, &source_info), (&at_target, &target_info)] {
        if info.cluster {
            let text = "the server is a cluster node; clusters are not supported yet";
            return Err(connection.place(Error::refused(text)));
        }
    }
    let routes = run.plan.mapping.routes(source_info.keyspace.keys().copied())?;
    refuse_same(run, &routes, &source_info, &target_info)?;
    refuse_occupied(run.plan.if_exists, &routes, &target_info, &at_target)?;
    let clock = expiry_clock(&mut at_source, &mut at_target).await?;
    source_permissions(&mut at_source).await?;
    if !run.plan.dry_run {
        target_permissions(&mut at_target).await?;
    }
    let by_value = !run.plan.dry_run
        && target_info.sets_with_expiry()
        && by_value_is_permitted(&mut at_source, &mut at_target).await?;
    let may_expire = !run.plan.dry_run && may_expire(&mut at_target).await?;
    let (source_far, target_far) =
        tokio::join!(round_trip(&mut at_source), round_trip(&mut at_target));
    // Last, since it leaves these connections on other databases.
    for route in &routes {
        select(&mut at_source, route.source).await?;
        select(&mut at_target, route.target).await?;
    }
    // Not in databases that are no target: somebody may have the right to these only.
    let taken = match run.plan.dry_run {
        true => knowledge::of_version(&target_info),
        false => knowledge::ask(&mut at_target, &target_info).await?,
    };
    tracing::debug!("the target takes {taken:?}");
    let crossing =
        Crossing { target: taken, source: knowledge::family(&source_info), lossy: run.plan.lossy };
    Ok(Probed {
        routes,
        crossing,
        clock,
        source: source_info.keyspace,
        target: target_info.keyspace,
        source_run_id: source_info.run_id,
        target_run_id: target_info.run_id,
        by_value,
        may_expire,
        expired_keys: source_info.expired_keys,
        round_trips: [source_far?, target_far?],
    })
}

/// The shortest of a few round trips: the network's own time.
async fn round_trip(connection: &mut Connection) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for _ in 0..ROUND_TRIPS {
        let began = Instant::now();
        // Refused to some users; the answer takes its time all the same.
        connection.call(&[b"PING"]).await?;
        shortest = shortest.min(began.elapsed());
    }
    Ok(shortest)
}

pub(super) async fn info(connection: &mut Connection) -> Result<ServerInfo> {
    let reply = connection.demand(&[b"INFO"]).await.map_err(refused_before_work)?;
    Ok(ServerInfo::parse(&String::from_utf8_lossy(reply.bytes().unwrap_or_default())))
}

/// Nothing is written yet: what a server refuses now is a refusal, or a missing authentication.
pub(super) fn refused_before_work(error: Error) -> Error {
    match error.kind() {
        Kind::Server => error.as_kind(Kind::Refused),
        _ => error.as_kind(Kind::Connect),
    }
}

/// The same database on both sides, or a database that is read and written at once.
fn refuse_same(
    run: &Run,
    routes: &[Route],
    source: &ServerInfo,
    target: &ServerInfo,
) -> Result<()> {
    let same_address = run.plan.source.endpoint.address == run.plan.target.endpoint.address;
    let same = match (&source.run_id, &target.run_id) {
        (Some(source), Some(target)) => source == target,
        _ => same_address,
    };
    if same {
        let read: BTreeSet<u32> = routes.iter().map(|route| route.source).collect();
        if let Some(route) = routes.iter().find(|route| read.contains(&route.target)) {
            let text = if route.source == route.target {
                format!(
                    "source and target are the same server and the same database {}",
                    route.source
                )
            } else {
                format!(
                    "source and target are the same server, and database {} would be read and \
                     written",
                    route.target
                )
            };
            return Err(
                Error::refused(text).advise("name another target, or another database by --db N:M")
            );
        }
    }
    refuse_shared(run.plan.if_exists, routes)
}

/// Several databases that would go into one, with nothing said about it.
pub(super) fn refuse_shared(if_exists: Option<IfExists>, routes: &[Route]) -> Result<()> {
    let shared = shared_targets(routes);
    if let Some(target) = shared.first().filter(|_| if_exists.is_none()) {
        return Err(Error::config(format!("several databases would go into database {target}")).advise(
            "say what happens to a key that comes twice: --if-exists replace, skip, fail or merge",
        ));
    }
    Ok(())
}

pub(super) fn refuse_occupied(
    if_exists: Option<IfExists>,
    routes: &[Route],
    target: &ServerInfo,
    connection: &Connection,
) -> Result<()> {
    if if_exists.is_some() {
        return Ok(());
    }
    let occupied: Vec<String> = routes
        .iter()
        .filter_map(|route| {
            let keys = target.keyspace.get(&route.target)?.keys;
            Some(format!("database {} holds {} keys", route.target, units::count(keys)))
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
pub(super) async fn select(connection: &mut Connection, database: u32) -> Result<()> {
    let reply = connection.call(&[b"SELECT", database.to_string().as_bytes()]).await;
    match reply.map_err(refused_before_work)? {
        Value::Error(line) => Err(connection.no_database(database, &line)),
        _ => Ok(()),
    }
}

async fn expiry_clock(source: &mut Connection, target: &mut Connection) -> Result<ExpiryClock> {
    let command =
        match source.call(&[b"PEXPIRETIME", PROBE_KEY]).await.map_err(refused_before_work)? {
            Value::Integer(_) => ExpiryCommand::Absolute,
            _ => ExpiryCommand::Remaining,
        };
    let (at_source, at_target) = (clock_offset(source).await?, clock_offset(target).await?);
    let ahead_ms = match (at_source, at_target) {
        (Some(source), Some(target)) => {
            let ahead = target.ahead_ms - source.ahead_ms;
            let unsure = (source.unsure_ms + target.unsure_ms).max(CLOCKS_AGREE_MS);
            if ahead.abs() <= unsure { 0 } else { ahead }
        }
        (None, _) if command == ExpiryCommand::Remaining => {
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
    Ok(ExpiryClock { command, ahead_ms })
}

pub(super) struct Offset {
    /// How far the server's clock is ahead of ours.
    pub(super) ahead_ms: i64,
    /// By how much this may be wrong: half the round trip.
    unsure_ms: i64,
}

/// The difference of a server's clock to ours; `None` where TIME is refused.
pub(super) async fn clock_offset(connection: &mut Connection) -> Result<Option<Offset>> {
    let mut best: Option<Offset> = None;
    for _ in 0..CLOCK_SAMPLES {
        let (wall, began) = (unix_ms(), Instant::now());
        let reply = connection.call(&[b"TIME"]).await.map_err(refused_before_work)?;
        let Some(server) = crate::source::time_ms(&reply) else { return Ok(None) };
        let unsure_ms = i64::try_from(began.elapsed().as_millis() / 2).unwrap_or(i64::MAX);
        let ahead_ms = server - wall.saturating_add(unsure_ms);
        if best.as_ref().is_none_or(|best| unsure_ms < best.unsure_ms) {
            best = Some(Offset { ahead_ms, unsure_ms });
        }
    }
    Ok(best)
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Tries what every key needs on a key that does not exist.
async fn source_permissions(source: &mut Connection) -> Result<()> {
    for command in [&[b"SCAN".as_slice(), b"0", b"COUNT", b"1"][..], &[b"DUMP", PROBE_KEY]] {
        let reply = source.call(command).await.map_err(refused_before_work)?;
        refuse_if_pointless(source, command, &reply)?;
    }
    Ok(())
}

/// An empty payload is never restored, but a RESTORE that is not permitted, on a full server or on
/// a read-only replica is refused for that reason first.
pub(super) async fn target_permissions(target: &mut Connection) -> Result<()> {
    let command = [b"RESTORE".as_slice(), PROBE_KEY, b"0", b""];
    let reply = target.call(&command).await.map_err(refused_before_work)?;
    refuse_if_pointless(target, &command, &reply)
}

/// Tries what strings by value need; the target's commands are wrong on purpose and write nothing,
/// but a user without the right is told that first.
async fn by_value_is_permitted(source: &mut Connection, target: &mut Connection) -> Result<bool> {
    let read = source.call(&[b"MGET", PROBE_KEY]).await.map_err(refused_before_work)?;
    let set = [b"SET".as_slice(), PROBE_KEY, b"", b"no-such-option"];
    let set = target.call(&set).await.map_err(refused_before_work)?;
    let mset = [b"MSET".as_slice(), PROBE_KEY, b"", PROBE_KEY];
    let mset = target.call(&mset).await.map_err(refused_before_work)?;
    Ok(![read, set, mset].iter().any(is_denied))
}

/// Likewise for PEXPIREAT: `x` is no time.
async fn may_expire(target: &mut Connection) -> Result<bool> {
    let reply = target.call(&[b"PEXPIREAT", PROBE_KEY, b"x"]).await.map_err(refused_before_work)?;
    Ok(!is_denied(&reply))
}

fn is_denied(reply: &Value) -> bool {
    match reply {
        Value::Error(line) => ServerError::parse(line.as_bytes()).cause != Cause::Other,
        _ => false,
    }
}

fn refuse_if_pointless(connection: &Connection, command: &[&[u8]], reply: &Value) -> Result<()> {
    let Value::Error(line) = reply else { return Ok(()) };
    let error = ServerError::parse(line.as_bytes());
    let name = command.first().copied().unwrap_or_default();
    match error.cause {
        Cause::NotAuthenticated => Err(connection.refused(name, &error).as_kind(Kind::Connect)),
        cause if cause.hits_every_key() => {
            Err(connection.refused(name, &error).as_kind(Kind::Refused))
        }
        _ => Ok(()),
    }
}
