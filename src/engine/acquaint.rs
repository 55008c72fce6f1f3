//! What both servers are, for a comparison: no writing command is even tried on either.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Run;
use super::census::{self, Holdings};
use super::clocks::clock_offset;
use super::independent::{self, Sameness};
use super::knowledge;
use super::probe::{
    Readable, expiry_clock, meet, readable, refuse_if_pointless, refused_before_work, select,
};
use crate::command::ServerInfo;
use crate::command::keyspace::ExpiryCommand;
use crate::config::{Mapping, Route};
use crate::error::{Error, Result};
use crate::net::{Connection, Link, Process, probe_key};
use crate::report::json::Peer;
use crate::source::ExpiryClock;
use crate::verify::Judge;

/// Which databases are meant.
#[derive(Clone, Copy)]
pub(super) enum Meant<'a> {
    /// Those that the plan names, else all that either server holds.
    OfBoth,
    /// Those that the plan names, else all that the source holds: keys of it will be deleted.
    OfSource,
    /// These.
    These(&'a [Route]),
}

/// What was learned of both servers.
pub(super) struct Met {
    /// Which database is held against which.
    pub(super) routes: Vec<Route>,
    /// When expiries are the same.
    pub(super) judge: Judge,
    /// What the source holds.
    pub(super) source: Holdings,
    /// What the target holds.
    pub(super) target: Holdings,
    source_process: Process,
    target_process: Process,
    /// What both said of themselves.
    pub(super) infos: [ServerInfo; 2],
    /// Whether they are one server.
    pub(super) sameness: Sameness,
    /// Whether both users may read strings by value.
    pub(super) by_value: bool,
    /// How long source and target take to answer a PING.
    pub(super) round_trips: [Duration; 2],
}

impl Met {
    /// The way to a database of the source.
    pub(super) fn source_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.source.clone(), database, self.source_process.clone(), run.stop.clone())
    }

    /// The way to the target, which only the operator ends.
    pub(super) fn lasting_target_link(&self, run: &Run) -> Link {
        self.target_link(run, 0).until(run.wish.clone())
    }

    /// The way to a database of the target.
    pub(super) fn target_link(&self, run: &Run, database: u32) -> Link {
        Link::new(run.target.clone(), database, self.target_process.clone(), run.stop.clone())
    }
}

/// Asks both servers what they are and whether their users may read what a comparison needs.
pub(super) async fn acquaint(
    run: &Run,
    meant: Meant<'_>,
    source: &mut Peer,
    target: &mut Peer,
) -> Result<Met> {
    let [(mut at_source, source_info), (mut at_target, target_info)] =
        meet(run, source, target).await?;
    let mapping = &run.plan.mapping;
    let mut source_holds =
        census::of_mapping(&mut at_source, &run.source, &source_info, mapping).await?;
    let mut target_holds = Holdings::new();
    let routes = match meant {
        Meant::These(routes) => routes.to_vec(),
        Meant::OfBoth => {
            if *mapping == Mapping::All {
                target_holds =
                    census::of_mapping(&mut at_target, &run.target, &target_info, mapping).await?;
            }
            every_route(mapping, &source_holds, &target_holds)?
        }
        Meant::OfSource => mapping.routes(source_holds.keys().copied())?,
    };
    let sameness = {
        let source = (&mut at_source, &source_info);
        independent::without_a_write(run, source, (&mut at_target, &target_info)).await?
    };
    refuse_same(run, meant, &routes, &sameness)?;
    let unknown = |held: &Holdings, database: &u32| !held.contains_key(database);
    let sources: Vec<u32> =
        routes.iter().map(|r| r.source).filter(|db| unknown(&source_holds, db)).collect();
    let targets: Vec<u32> =
        routes.iter().map(|r| r.target).filter(|db| unknown(&target_holds, db)).collect();
    source_holds.extend(census::look(&mut at_source, &source_info, sources.into_iter()).await?);
    target_holds.extend(census::look(&mut at_target, &target_info, targets.into_iter()).await?);
    let (from, into) = (&mut at_source, &mut at_target);
    let clocks = tokio::join!(clock_offset(from), clock_offset(into));
    let readable = tokio::join!(permissions(from), permissions(into));
    let (source_time, target_time) = (clocks.0?, clocks.1?);
    let (from, into) = (readable.0?, readable.1?);
    if into.expiry == ExpiryCommand::Remaining && target_time.offset.is_none() {
        let text = "without PEXPIRETIME the target's TIME is needed, and it is refused";
        let error = Error::refused(text).advise("grant it there: ACL SETUSER <user> +time");
        return Err(at_target.place(error));
    }
    let source_ahead_ms = source_time.offset.as_ref().map_or(0, |offset| offset.ahead_ms);
    let by_source = expiry_clock(&at_source, &from, source_time.offset, target_time.offset)?;
    let by_target = ExpiryClock { command: into.expiry, ahead_ms: 0, together: into.together };
    // Last, since it leaves these connections on other databases.
    let selected = tokio::join!(
        select(&mut at_source, routes.iter().map(|route| route.source)),
        select(&mut at_target, routes.iter().map(|route| route.target)),
    );
    selected.0.and(selected.1)?;
    let tolerance = run.plan.comparing.ttl_tolerance.as_millis();
    let keeps_none = knowledge::of_version(&target_info).latest_field_expiry().is_none();
    Ok(Met {
        routes,
        judge: Judge {
            source: by_source,
            target: by_target,
            tolerance_ms: i64::try_from(tolerance).unwrap_or(i64::MAX),
            source_ahead_ms,
            // What is deleted from the source is to be on the target with all that it had.
            fields_last: run.plan.lossy && !run.plan.delete_source && keeps_none,
        },
        source: source_holds,
        target: target_holds,
        source_process: source_info.run_id.clone().into(),
        target_process: target_info.run_id.clone().into(),
        infos: [source_info, target_info],
        sameness,
        by_value: from.by_value && into.by_value,
        round_trips: [source_time.round_trip, target_time.round_trip],
    })
}

/// What is compared with itself shows nothing, and what is deleted there is gone.
fn refuse_same(run: &Run, meant: Meant<'_>, routes: &[Route], sameness: &Sameness) -> Result<()> {
    if matches!(meant, Meant::OfSource) {
        independent::refuse_same(run, routes, sameness)?;
    }
    let same = routes.iter().find(|route| route.source == route.target);
    match same.filter(|_| *sameness == Sameness::One) {
        Some(route) => {
            let text = format!(
                "source and target are the same server and the same database {}",
                route.source
            );
            Err(Error::refused(text).advise("name another target, or other databases by --db N:M"))
        }
        None => Ok(()),
    }
}

/// As a copy's; but where it takes every database of the source, those of the target count, too: a
/// key in a database that the source does not use is one too many.
fn every_route(mapping: &Mapping, source: &Holdings, target: &Holdings) -> Result<Vec<Route>> {
    let on_source = source.keys().copied();
    match mapping {
        Mapping::All => {
            let either: BTreeSet<u32> = on_source.chain(target.keys().copied()).collect();
            mapping.routes(either.into_iter())
        }
        // An empty source is held against the one database, too.
        Mapping::AllInto(into) if source.is_empty() => Ok(vec![Route { source: 0, target: *into }]),
        _ => mapping.routes(on_source),
    }
}

/// Tries what every key may need, on a key that does not exist.
async fn permissions(connection: &mut Connection) -> Result<Readable> {
    let found = readable(connection).await?;
    let commands: [&[&[u8]]; 2] = [&[b"EXISTS", probe_key()], &[b"MGET", probe_key()]];
    let replies = connection.call_all(&commands).await.map_err(refused_before_work)?;
    for (command, reply) in commands.into_iter().zip(&replies) {
        refuse_if_pointless(connection, command, reply)?;
    }
    Ok(found)
}
