//! What both servers are, for a comparison: it reads on both sides and writes on neither, so no
//! writing command is even tried.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Run;
use super::probe::{
    self, PROBE_KEY, expiry_clock, expiry_command, info, refuse_cluster, refuse_if_pointless,
    refused_before_work, select, source_permissions,
};
use crate::command::ServerInfo;
use crate::command::info::Keyspace;
use crate::command::keyspace::ExpiryCommand;
use crate::config::{Mapping, Route};
use crate::error::{Error, Result};
use crate::net::{Connection, Link, connect};
use crate::report::json::Peer;
use crate::source::{ExpiryClock, time_ms};
use crate::verify::Judge;

/// What was learned of both servers.
pub(super) struct Met {
    /// Which database is held against which.
    pub(super) routes: Vec<Route>,
    /// When expiries are the same.
    pub(super) judge: Judge,
    /// What the source holds.
    pub(super) source: BTreeMap<u32, Keyspace>,
    /// What the target holds.
    pub(super) target: BTreeMap<u32, Keyspace>,
    source_run_id: Option<String>,
    target_run_id: Option<String>,
    /// Whether both users may read strings by value.
    pub(super) by_value: bool,
    /// How long source and target take to answer a PING.
    pub(super) round_trips: [Duration; 2],
}

impl Met {
    /// The way to a database of the source.
    pub(super) fn source_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.source.clone(), database, self.source_run_id.clone(), run.stop.clone())
    }

    /// The way to a database of the target.
    pub(super) fn target_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.target.clone(), database, self.target_run_id.clone(), run.stop.clone())
    }
}

/// Asks both servers what they are and whether their users may read what a comparison needs. Without
/// `routes`, the plan and both servers tell which databases are meant.
pub(super) async fn acquaint(
    run: &Run,
    routes: Option<&[Route]>,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Met> {
    let (at_source, at_target) = tokio::join!(connect(&run.source, 0), connect(&run.target, 0));
    let (mut at_source, mut at_target) = (at_source?, at_target?);
    let source_info = info(&mut at_source).await?;
    source.server = source_info.server();
    let target_info = info(&mut at_target).await?;
    target.server = target_info.server();
    refuse_cluster(&at_source, &source_info)?;
    refuse_cluster(&at_target, &target_info)?;
    let routes = match routes {
        Some(routes) => routes.to_vec(),
        None => every_route(&run.plan.mapping, &source_info, &target_info)?,
    };
    if probe::is_same(run, &source_info, &target_info)
        && let Some(route) = routes.iter().find(|route| route.source == route.target)
    {
        let text =
            format!("source and target are the same server and the same database {}", route.source);
        return Err(
            Error::refused(text).advise("name another target, or other databases by --db N:M")
        );
    }
    let by_source = expiry_clock(&mut at_source, &mut at_target).await?;
    let by_target = ExpiryClock { command: expiry_command(&mut at_target).await?, ahead_ms: 0 };
    if by_target.command == ExpiryCommand::Remaining {
        let reply = at_target.call(&[b"TIME"]).await.map_err(refused_before_work)?;
        if time_ms(&reply).is_none() {
            let text = "without PEXPIRETIME the target's TIME is needed, and it is refused";
            let error = Error::refused(text).advise("grant it there: ACL SETUSER <user> +time");
            return Err(at_target.place(error));
        }
    }
    let mut by_value = true;
    for connection in [&mut at_source, &mut at_target] {
        permissions(connection).await?;
        let read = connection.call(&[b"MGET", PROBE_KEY]).await.map_err(refused_before_work)?;
        by_value &= !probe::is_denied(&read);
    }
    let (source_far, target_far) =
        tokio::join!(probe::round_trip(&mut at_source), probe::round_trip(&mut at_target));
    // Last, since it leaves these connections on other databases.
    for route in &routes {
        select(&mut at_source, route.source).await?;
        select(&mut at_target, route.target).await?;
    }
    let tolerance = run.plan.comparing.ttl_tolerance.as_millis();
    Ok(Met {
        routes,
        judge: Judge {
            source: by_source,
            target: by_target,
            tolerance_ms: i64::try_from(tolerance).unwrap_or(i64::MAX),
        },
        source: source_info.keyspace,
        target: target_info.keyspace,
        source_run_id: source_info.run_id,
        target_run_id: target_info.run_id,
        by_value,
        round_trips: [source_far?, target_far?],
    })
}

/// As a copy's; but where it takes every database of the source, those of the target count, too: a
/// key in a database that the source does not use is one too many.
fn every_route(mapping: &Mapping, source: &ServerInfo, target: &ServerInfo) -> Result<Vec<Route>> {
    let on_source = source.keyspace.keys().copied();
    match mapping {
        Mapping::All => {
            let either: BTreeSet<u32> = on_source.chain(target.keyspace.keys().copied()).collect();
            mapping.routes(either.into_iter())
        }
        // An empty source is held against the one database, too.
        Mapping::AllInto(into) if source.keyspace.is_empty() => {
            Ok(vec![Route { source: 0, target: *into }])
        }
        _ => mapping.routes(on_source),
    }
}

/// Tries what every key may need, on a key that does not exist.
async fn permissions(connection: &mut Connection) -> Result<()> {
    source_permissions(connection).await?;
    for command in [[b"EXISTS".as_slice(), PROBE_KEY], [b"TYPE", PROBE_KEY], [b"GET", PROBE_KEY]] {
        let reply = connection.call(&command).await.map_err(refused_before_work)?;
        refuse_if_pointless(connection, &command, &reply)?;
    }
    Ok(())
}
