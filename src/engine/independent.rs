//! Are source and target two servers? What deletes has to be shown that they are, and that neither
//! passes on to the other what is deleted.
//!
//! Two `run_id`s that are told and differ show it. Where a service hides them, one server may stand
//! behind two addresses: then a key is written to the target for a moment, and must not appear on the
//! source. What may not be written is looked for in the source's list of clients, which can only show
//! that it is one server.

use std::collections::BTreeSet;

use super::Run;
use super::target_watch::Look;
use crate::command::ServerInfo;
use crate::command::info::Eviction;
use crate::config::{Address, Mapping, Route};
use crate::error::{Error, Result};
use crate::net::{Connection, connect};
use crate::resp::Value;
use crate::units;

/// What the name of a probe key begins with; the rest is random.
const PROBE: &str = "keyferry:probe:";
/// How long it lives should we not come to remove it, in milliseconds.
const PROBE_LIFE_MS: &[u8] = b"10000";
/// Characters of a `run_id` and of a `master_replid`.
const ID: usize = 40;

/// Whether two endpoints are one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sameness {
    /// They are one.
    One,
    /// They are two.
    Two,
    /// One, and a database that is read there is one that is written, under another number.
    Mixed(u32),
    /// It is not known, and why.
    Unknown(String),
}

/// What a server tells of its identity: 40 hexadecimal digits, and not all the same one.
fn told(id: Option<&String>) -> Option<&str> {
    let id = id?.as_str();
    let digits = id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let first = id.bytes().next();
    (digits && id.bytes().any(|byte| Some(byte) != first)).then_some(id)
}

/// By what both say of themselves, and by their addresses.
pub(super) fn by_info(run: &Run, source: &ServerInfo, target: &ServerInfo) -> Sameness {
    if let (Some(source), Some(target)) =
        (told(source.run_id.as_ref()), told(target.run_id.as_ref()))
    {
        return if source == target { Sameness::One } else { Sameness::Two };
    }
    let address = |server: &crate::config::Server| server.endpoint.address.clone();
    let histories = (told(source.history.as_ref()), told(target.history.as_ref()));
    let primaries = [source, target].iter().all(|server| server.tells_role && !server.replica);
    // Only a primary's history is its own.
    let one_history = primaries && histories.0.is_some() && histories.0 == histories.1;
    if address(&run.plan.source) == address(&run.plan.target) || one_history {
        return Sameness::One;
    }
    Sameness::Unknown("a server does not tell its run_id".to_owned())
}

/// Likewise, and by the source's list of clients; writes nothing.
///
/// # Errors
/// A connection broke.
pub(super) async fn without_a_write(
    run: &Run,
    (at_source, source): (&mut Connection, &ServerInfo),
    (at_target, target): (&mut Connection, &ServerInfo),
) -> Result<Sameness> {
    let known = by_info(run, source, target);
    if !matches!(known, Sameness::Unknown(_)) {
        return Ok(known);
    }
    let name = format!("keyferry-{:016x}", fastrand::u64(..));
    let named = at_target.call(&[b"CLIENT", b"SETNAME", name.as_bytes()]).await?;
    let clients = at_source.call(&[b"CLIENT", b"LIST"]).await?;
    let seen = clients
        .bytes()
        .is_some_and(|list| list.windows(name.len()).any(|part| part == name.as_bytes()));
    let seen = seen && !matches!(named, Value::Error(_));
    Ok(if seen { Sameness::One } else { known })
}

/// Likewise, and where that does not decide, by a key that is written to the target's databases and
/// looked for in the source's. It is gone afterwards.
///
/// # Errors
/// A connection broke.
pub(super) async fn by_probe_key(run: &Run, routes: &[Route]) -> Result<Sameness> {
    let into: BTreeSet<u32> = routes.iter().map(|route| route.target).collect();
    let from: BTreeSet<u32> = routes.iter().map(|route| route.source).collect();
    let Some(&first) = into.first() else {
        return Ok(Sameness::Unknown("no database is selected".to_owned()));
    };
    let (mut at_source, mut at_target) =
        tokio::try_join!(connect(&run.source, 0), connect(&run.target, first))?;
    let name = format!("{PROBE}{:016x}", fastrand::u64(..));
    let set = [b"SET".as_slice(), name.as_bytes(), b"", b"NX", b"PX", PROBE_LIFE_MS];
    let written = in_each(&mut at_target, (first, &into), &set).await?;
    let refused = written.iter().find_map(|(_, reply)| match reply {
        Value::Error(line) => Some(format!("the target refused a probe key: {line}")),
        _ => None,
    });
    // A server that is one has the same databases, whatever a route calls them.
    let anywhere: BTreeSet<u32> = from.union(&into).copied().collect();
    let found = in_each(&mut at_source, (0, &anywhere), &[b"DUMP", name.as_bytes()]).await?;
    let removed = in_each(&mut at_target, (first, &into), &[b"DEL", name.as_bytes()]).await?;
    if let Some((_, Value::Error(line))) =
        removed.iter().find(|(_, reply)| matches!(reply, Value::Error(_)))
    {
        tracing::debug!("the probe key {name} goes by itself: {line}");
    }
    let held = |reply: &Value| reply.bytes().is_some();
    if let Some((database, _)) =
        found.iter().find(|(database, reply)| held(reply) && from.contains(database))
    {
        let mixed = !into.contains(database);
        return Ok(if mixed { Sameness::Mixed(*database) } else { Sameness::One });
    }
    if found.iter().any(|(_, reply)| held(reply)) {
        return Ok(Sameness::One);
    }
    if let Some(why) = refused {
        return Ok(Sameness::Unknown(why));
    }
    // In a database that only the target writes, the source need not tell; in one that is read, it has to.
    let silent = found.iter().find_map(|(database, reply)| match reply {
        Value::Error(line) if from.contains(database) => {
            Some(format!("the source refused DUMP of a probe key: {line}"))
        }
        _ => None,
    });
    Ok(silent.map_or(Sameness::Two, Sameness::Unknown))
}

/// A command in each of these databases, beginning on the one that is selected; a database that is not
/// there, or may not be selected, answers with that refusal.
async fn in_each(
    connection: &mut Connection,
    (selected, databases): (u32, &BTreeSet<u32>),
    command: &[&[u8]],
) -> Result<Vec<(u32, Value)>> {
    let mut answers = Vec::with_capacity(databases.len());
    let mut now = selected;
    for &database in databases {
        if now != database {
            let number = database.to_string();
            if let refusal @ Value::Error(_) =
                connection.call(&[b"SELECT", number.as_bytes()]).await?
            {
                answers.push((database, refusal));
                continue;
            }
            now = database;
        }
        answers.push((database, connection.call(command).await?));
    }
    if now != selected {
        connection.call(&[b"SELECT", selected.to_string().as_bytes()]).await?;
    }
    Ok(answers)
}

/// Refuses the same database on both sides, and one that would be read and written at once.
///
/// # Errors
/// [`crate::error::Kind::Refused`].
pub(super) fn refuse_same(run: &Run, routes: &[Route], sameness: &Sameness) -> Result<()> {
    let text = match sameness {
        Sameness::Two | Sameness::Unknown(_) => return Ok(()),
        Sameness::Mixed(database) => format!(
            "source and target are the same server: database {database} of the source is one that \
             would be written"
        ),
        Sameness::One => {
            let read: BTreeSet<u32> = routes.iter().map(|route| route.source).collect();
            let same = || "source and target are the same server".to_owned();
            match routes.iter().find(|route| read.contains(&route.target)) {
                Some(route) if route.source == route.target => {
                    format!("{} and the same database {}", same(), route.source)
                }
                Some(route) => {
                    format!("{}, and database {} would be read and written", same(), route.target)
                }
                // Empty now, and each database would go to itself.
                None if routes.is_empty() && run.plan.mapping == Mapping::All => same(),
                None => return Ok(()),
            }
        }
    };
    Err(Error::refused(text).advise("name another target, or another database by --db N:M"))
}

/// Refuses to delete where it is not shown that the sides are two servers, or different databases of
/// one.
///
/// # Errors
/// [`crate::error::Kind::Refused`].
pub(super) fn refuse_unshown(sameness: &Sameness) -> Result<()> {
    let Sameness::Unknown(why) = sameness else { return Ok(()) };
    let text = format!(
        "it is not known whether source and target are two servers, so nothing may be deleted: {why}"
    );
    Err(Error::refused(text).advise(
        "name both servers directly, without a proxy that hides run_id, or let the target's user \
         write and delete a key of the name keyferry:probe:* (+set +del)",
    ))
}

/// Refuses a target that follows the source, or a source that follows the target, over any number of
/// steps: what is deleted on a server goes from its replicas.
///
/// # Errors
/// [`crate::error::Kind::Refused`]. Or the connection broke.
pub(super) async fn refuse_replication(
    run: &Run,
    source: &ServerInfo,
    (at_target, target): (&mut Connection, &ServerInfo),
) -> Result<()> {
    let refusal = |at: &Connection, text: &str, advice: &'static str| {
        Err(at.place(Error::refused(text)).advise(advice))
    };
    let other = "name a target that has the keys for itself";
    let replica = match target.tells_role {
        true => target.replica,
        false => match at_target.call(&[b"ROLE"]).await?.elements().and_then(|role| role.first()) {
            Some(role) => role.bytes() != Some(b"master"),
            None => {
                let text = "it does not tell whether it is a replica (INFO replication, ROLE): what is \
                            deleted on the source may go here, too";
                return refusal(at_target, text, other);
            }
        },
    };
    let of = |server: &ServerInfo| -> BTreeSet<String> {
        let both = [server.history.as_ref(), server.history_before.as_ref()];
        both.into_iter().filter_map(told).map(str::to_owned).collect()
    };
    let (histories, theirs) = (of(source), of(target));
    let related = !histories.is_disjoint(&theirs);
    if !replica {
        if source.replica && related && source.history == target.history {
            let text = "the source is a replica of it, and read-only unless configured otherwise: the \
                        two are not independent";
            return refusal(at_target, text, "name its primary, or another server, as the source");
        }
        return Ok(());
    }
    let follows = match (&run.plan.source.endpoint.address, &target.primary) {
        (Address::Tcp { host, port }, Some((of, at))) => host == of && port == at,
        _ => false,
    };
    if related || follows {
        let text = "it is a replica of the source: what is deleted there would go here, too";
        return refusal(at_target, text, other);
    }
    if histories.is_empty() || theirs.is_empty() || !target.linked {
        let text = "it is a replica, and it cannot be shown that it does not follow the source \
                    (master_replid, master_link_status): what is deleted there may go here, too";
        return refusal(at_target, text, other);
    }
    Ok(())
}

/// Refuses to delete for a target that may throw away what it holds, unless that was allowed.
///
/// # Errors
/// [`crate::error::Kind::Refused`]. Or the connection broke.
pub(super) async fn refuse_eviction(
    run: &Run,
    (at_target, target): (&mut Connection, &ServerInfo),
) -> Result<()> {
    if run.plan.allow_evicting {
        return Ok(());
    }
    let eviction = match target.memory.eviction() {
        Eviction::Untold => configured(at_target).await?,
        told => told,
    };
    let text = match eviction {
        Eviction::Never => return Ok(()),
        Eviction::At(limit, policy) => format!(
            "it evicts keys once it uses {} (maxmemory-policy {policy}): a key deleted from the source \
             could then be on neither side",
            units::bytes(limit)
        ),
        Eviction::Untold => {
            "it does not tell whether it evicts keys (maxmemory, maxmemory_policy): a \
                             key deleted from the source could then be on neither side"
                .to_owned()
        }
    };
    Err(at_target.place(Error::refused(text)).advise(
        "set maxmemory-policy noeviction there (CONFIG SET), or allow it by --allow-evicting-target",
    ))
}

/// Refuses to delete for a target that does not tell what the watch over it needs.
///
/// # Errors
/// [`crate::error::Kind::Refused`].
pub(super) fn refuse_unwatchable(at_target: &Connection, target: &ServerInfo) -> Result<()> {
    let needed = Look::of(target).untold();
    let needed = needed.or_else(|| {
        (!target.tells_keyspace).then(|| "it does not report its keyspace (INFO)".to_owned())
    });
    let Some(missing) = needed else { return Ok(()) };
    let text = format!(
        "{missing}: whether it keeps its keys while they are deleted from the source cannot be seen"
    );
    Err(at_target.place(Error::refused(text)).advise(
        "name it directly, without a proxy that hides parts of INFO, and let its user call INFO; or copy \
         without --delete-source and remove the source's keys by hand",
    ))
}

/// By its configuration, where INFO does not tell.
async fn configured(connection: &mut Connection) -> Result<Eviction> {
    let commands: [&[&[u8]]; 2] =
        [&[b"CONFIG", b"GET", b"maxmemory"], &[b"CONFIG", b"GET", b"maxmemory-policy"]];
    let replies = connection.call_all(&commands).await?;
    let value = |place: usize| -> Option<&str> { replies.get(place)?.elements()?.get(1)?.text() };
    Ok(match (value(0).and_then(|limit| limit.parse::<u64>().ok()), value(1)) {
        (Some(0), _) | (_, Some("noeviction")) => Eviction::Never,
        (Some(limit), Some(policy)) => Eviction::At(limit, policy.to_owned()),
        _ => Eviction::Untold,
    })
}

/// Decides by a probe key what is not known yet, and refuses what the answer forbids; in a dry run what
/// is not known stays so.
///
/// # Errors
/// As [`refuse_same`] and [`by_probe_key`].
pub(super) async fn decide(run: &Run, routes: &[Route], known: Sameness) -> Result<Sameness> {
    let sameness = match known {
        Sameness::Unknown(_) if !run.plan.dry_run => by_probe_key(run, routes).await?,
        known => known,
    };
    refuse_same(run, routes, &sameness)?;
    Ok(sameness)
}

/// Refuses to delete keys of the source for this target; answers as [`decide`].
///
/// # Errors
/// What refuses it. Or a connection broke.
pub(super) async fn refuse_deletion(
    run: &Run,
    routes: &[Route],
    known: Sameness,
    source: &ServerInfo,
    (at_target, target): (&mut Connection, &ServerInfo),
) -> Result<Sameness> {
    refuse_replication(run, source, (&mut *at_target, target)).await?;
    refuse_unwatchable(at_target, target)?;
    refuse_eviction(run, (at_target, target)).await?;
    let sameness = decide(run, routes, known).await?;
    match (refuse_unshown(&sameness), run.plan.dry_run) {
        (Err(_), true) => {
            tracing::warn!(
                "it is not known whether source and target are two servers: without --dry-run, a key \
                 that is written to the target for a moment shows it, or the run is refused"
            );
            Ok(sameness)
        }
        (shown, _) => shown.map(|()| sameness),
    }
}
