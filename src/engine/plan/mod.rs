//! `plan`: a look ahead. What would be copied, how, and what stands in the way; nothing is written.
//!
//! ```text
//! meet both ──> rights, clocks, databases ──> sample of the source ──> second look at INFO ──> findings
//! ```
//!
//! What a copy refuses comes from the same functions, so it has the same words here. `judge` makes
//! findings of what the servers tell of themselves, `permitted` of what they say to trials, `sample`
//! reads some keys, and `summary` makes shares and estimates of them.

mod findings;
mod judge;
mod long_values;
mod names;
mod patterns;
mod permitted;
mod reply_buffers;
mod sample;
mod summary;
mod there;

use std::sync::Arc;

use tokio::time::Instant;

use super::census::{self, Holdings};
use super::clocks::clock_offset;
use super::independent::{self, Sameness};
use super::probe;
use super::{
    Ended, Run, Stop, activity, again, compression, functions, knowledge, permitted_keys, prepare,
    unless_aborted, unsupported,
};
use crate::command::ServerInfo;
use crate::config::mapping::{Mapping, shared_targets};
use crate::config::{Plan, Route, SourceCompression};
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, connect};
use crate::report::json::{Outcome, Peer, Report};
use crate::report::{Finding, PlannedDatabase, Preflight, Severity, Stats};
use crate::target::crossing::Crossing;
use findings::{Findings, is_refusal};
use long_values::Bounds;
use sample::Sampling;

/// Looks at both servers as a copy would meet them, and writes nothing.
pub async fn plan(plan: Plan, stats: Arc<Stats>, stop: impl Into<Stop>) -> Ended {
    let Stop { drain: cancel, abort } = stop.into();
    let mut source = Peer { endpoint: plan.source.endpoint.to_string(), ..Peer::default() };
    let mut target = Peer { endpoint: plan.target.endpoint.to_string(), ..Peer::default() };
    let work = async {
        let run = prepare(plan, stats.clone(), &cancel)?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::new(Kind::Cancelled, "stopped")),
            found = Box::pin(look_ahead(&run, &mut source, &mut target)) => {
                found.map_err(|error| again::nothing_written(&run, error))
            }
        }
    };
    let result = unless_aborted(work, &cancel, &abort).await;
    let mut report = Report::new("plan", source, target, &stats);
    let error = match result {
        Ok(found) => {
            report.outcome = match found.count(Severity::Blocker) {
                0 => Outcome::Complete,
                _ => Outcome::Refused,
            };
            report.preflight = Some(Box::new(found));
            None
        }
        Err(error) => {
            report.outcome = match error.kind() {
                Kind::Refused => Outcome::Refused,
                Kind::Cancelled => Outcome::Interrupted,
                _ => Outcome::Incomplete,
            };
            Some(error)
        }
    };
    report.error = error.as_ref().map(Error::to_string);
    Ended { report, error }
}

/// Both servers, and what they told of themselves at first.
struct Met {
    source: Connection,
    target: Connection,
    source_info: ServerInfo,
    target_info: ServerInfo,
    /// The databases of the source that hold keys.
    held: Holdings,
    looked: Instant,
}

async fn look_ahead(run: &Run, source: &mut Peer, target: &mut Peer) -> Result<Preflight> {
    let mut findings = Findings::default();
    let met = meet(run, (&mut *source, &mut *target), &mut findings).await?;
    let Some(mut met) = met else {
        return Ok(Preflight { findings: findings.sorted(), ..Preflight::default() });
    };
    let routes = routes(run, &met, &mut findings)?;
    judge::servers(&mut findings, run, &met.source_info, &met.target_info);
    let targets = routes.iter().map(|route| route.target);
    let looked = census::look(&mut met.target, &met.target_info, targets).await;
    let holds = shown(looked, &met.target_info)?;
    let mut found =
        Preflight { databases: databases(&routes, &met.held, &holds), ..Preflight::default() };
    let one_server = safety(run, &mut met, &routes, &holds, &mut findings).await?;
    let (from, into) = tokio::join!(clock_offset(&mut met.source), clock_offset(&mut met.target));
    let clocks = [from?, into?];
    let first = routes.first().copied().unwrap_or(Route { source: 0, target: 0 });
    let counted = is_counted(run, &routes, &holds);
    let permitted =
        permitted::look(run, (&mut met, first), &clocks, counted, &mut findings).await?;
    let ahead_ms = judge::clocks(&mut findings, &clocks)?;
    extras(run, &mut met, &mut findings).await?;
    let longest_reply = reply_buffers::ask(&mut met.source).await?;
    let source_ahead_ms = clocks[0].offset.as_ref().map_or(0, |offset| offset.ahead_ms);
    let crossing = crossing(run, &mut met, [ahead_ms, source_ahead_ms]).await?;
    let longest_bulk = knowledge::configured_bulk(&mut met.target).await?;
    // Last of the target, since it leaves this connection on another database.
    let writable =
        permitted::databases(&mut met.target, routes.iter().map(|r| r.target), &mut findings)
            .await?;
    let reachable =
        permitted::databases(&mut met.source, routes.iter().map(|r| r.source), &mut findings)
            .await?;
    if permitted.may_sample {
        let there =
            |route: &&Route| reachable.contains(&route.source) && writable.contains(&route.target);
        let there: Vec<Route> = routes.iter().filter(there).copied().collect();
        let checked = permitted_keys::refuse_untouchable(run, &there).await;
        let hopeless = findings.take("keys-denied", checked)?.is_none();
        let sampling = Sampling {
            run,
            crossing,
            knows_target: judge::is_known(&met.target_info),
            one_by_one: longest_reply.is_some(),
            has_modules: judge::has_modules(&met.source_info, &met.target_info),
            by_value: permitted.by_value,
            may_type: permitted.may_type,
            may_measure: permitted.may_measure,
            round_trip: clocks.first().map(|look| look.round_trip).unwrap_or_default(),
        };
        let sample = sampling.take(&reachable, &met.held).await?;
        judge::sample(&mut findings, run, &sample);
        reply_buffers::judge(&mut findings, longest_reply, &sample);
        let longest_reply = longest_reply.map(|(bytes, _)| bytes);
        let bounds = Bounds { longest_bulk, longest_reply, crossing, source: &met.source_info };
        long_values::look(run, &there, &bounds, &sample, &mut findings).await?;
        there::look(run, &there, &holds, &sample, &mut findings).await?;
        let other_keys = (permitted.other_keys, hopeless);
        permitted::keys((run, &there), &mut met, &sample, other_keys, &mut findings).await?;
        summary::summarize(&mut found, &sample, run.plan.limits);
    }
    let infos = [&met.source_info, &met.target_info];
    let need = judge::need(run, &routes, &found, &met.source_info);
    // One number, wherever it is told.
    found.estimate.memory = found.estimate.memory.and(need);
    judge::room(&mut findings, run, &routes, need, infos);
    judge::clients(&mut findings, run, routes.len(), infos);
    if let Ok(activity) = activity::look_again(&mut met.source, &met.source_info, met.looked).await
    {
        judge::activity(&mut findings, &met.source_info, activity, one_server);
    }
    found.findings = findings.sorted();
    Ok(found)
}

/// Connects to both, which waits for servers that are loading, and asks what they are. `None`: one of them holds
/// no keyspace of its own, and nothing else would be true of it.
async fn meet(
    run: &Run,
    (from, into): (&mut Peer, &mut Peer),
    findings: &mut Findings,
) -> Result<Option<Met>> {
    let (source, target) = tokio::join!(connect(&run.source, 0), connect(&run.target, 0));
    let (mut source, mut target) = (source?, target?);
    judge::transport(findings, &source);
    judge::transport(findings, &target);
    let looked = Instant::now();
    let (of_source, of_target) = tokio::join!(probe::info(&mut source), probe::info(&mut target));
    let of_source = findings.take("no-permission", of_source)?.unwrap_or_default();
    let of_target = findings.take("no-permission", of_target)?.unwrap_or_default();
    from.server = of_source.server();
    into.server = of_target.server();
    let mut supported = true;
    for (connection, info) in [(&source, &of_source), (&target, &of_target)] {
        let code = if info.sentinel { "sentinel" } else { "cluster" };
        supported &=
            findings.take(code, unsupported::refuse_unsupported(connection, info))?.is_some();
    }
    if !supported {
        return Ok(None);
    }
    let mapping = &run.plan.mapping;
    let held = census::of_mapping(&mut source, &run.source, &of_source, mapping).await;
    let held = shown(held, &of_source)?;
    Ok(Some(Met { source, target, source_info: of_source, target_info: of_target, held, looked }))
}

/// What a look at the databases showed; where it is refused, which is told beside this, what INFO
/// reports.
fn shown(looked: Result<Holdings>, info: &ServerInfo) -> Result<Holdings> {
    match looked {
        Err(error) if is_refusal(&error) => Ok(info.keyspace.clone()),
        looked => looked,
    }
}

/// Which database goes where. Several into the one that the target URL names are a blocker; what else
/// there is to say about them is said.
fn routes(run: &Run, met: &Met, findings: &mut Findings) -> Result<Vec<Route>> {
    let mapping = &run.plan.mapping;
    let present = || met.held.keys().copied();
    match findings.take("several-into-one", mapping.routes(present()))? {
        Some(routes) => {
            let shared = probe::refuse_shared(run.plan.if_exists, &routes);
            findings.take("several-into-one", shared)?;
            Ok(routes)
        }
        None => Ok(match mapping {
            Mapping::AllInto(target) => {
                present().map(|source| Route { source, target: *target }).collect()
            }
            _ => Vec::new(),
        }),
    }
}

/// Whether the plan is safe on these two; answers whether they are one server.
async fn safety(
    run: &Run,
    met: &mut Met,
    routes: &[Route],
    holds: &Holdings,
    findings: &mut Findings,
) -> Result<bool> {
    let source = (&mut met.source, &met.source_info);
    let target = (&mut met.target, &met.target_info);
    let sameness = independent::without_a_write(run, source, target).await?;
    let one_server = sameness == Sameness::One;
    let same = independent::refuse_same(run, routes, &sameness);
    if findings.take("same-database", same)?.is_none() {
        // What the target holds is what would be read.
        return Ok(one_server);
    }
    if run.plan.delete_source {
        deletion(run, met, &sameness, findings).await?;
    }
    let fresh = probe::fresh(run, routes);
    let occupied = probe::refuse_occupied(run.plan.if_exists, &fresh, holds, &met.target);
    findings.take("target-not-empty", occupied)?;
    Ok(one_server)
}

/// What would keep a move from deleting.
async fn deletion(
    run: &Run,
    met: &mut Met,
    sameness: &Sameness,
    findings: &mut Findings,
) -> Result<()> {
    let target = (&mut met.target, &met.target_info);
    let follows = independent::refuse_replication(run, &met.source_info, target).await;
    findings.take("replication", follows)?;
    let target = (&mut met.target, &met.target_info);
    let evicts = independent::refuse_eviction(run, target).await;
    findings.take("target-evicts", evicts)?;
    let unwatchable = independent::refuse_unwatchable(&met.target, &met.target_info);
    findings.take("target-not-watchable", unwatchable)?;
    if let Sameness::Unknown(why) = sameness {
        let text = format!(
            "it is not known whether source and target are two servers ({why}): the copy writes a key \
             keyferry:probe:* to the target for a moment, and is refused if it is on the source then"
        );
        let remedy = "name both servers directly, without a proxy that hides run_id";
        findings.add(Finding::warning("same-server-unknown", text, remedy));
    }
    Ok(())
}

fn databases(routes: &[Route], source: &Holdings, target: &Holdings) -> Vec<PlannedDatabase> {
    let databases = routes.iter().map(|route| {
        let held = source.get(&route.source).copied().unwrap_or_default();
        let meets = target.get(&route.target).copied().unwrap_or_default();
        PlannedDatabase {
            source: route.source,
            target: route.target,
            keys: held.keys,
            expires: held.expires,
            held: meets.keys,
        }
    });
    databases.collect()
}

/// Whether the numbers of keys may prove a copy, if nobody else writes: else their names are looked for.
fn is_counted(run: &Run, routes: &[Route], holds: &Holdings) -> bool {
    let plan = &run.plan;
    let own = routes.iter().all(|route| !holds.contains_key(&route.target));
    plan.filter.is_all() && plan.letters.is_none() && own && shared_targets(routes).is_empty()
}

/// What only some copies need.
async fn extras(run: &Run, met: &mut Met, findings: &mut Findings) -> Result<()> {
    if run.plan.functions {
        let how = (run.plan.if_exists, run.plan.dry_run);
        let checked = functions::refuse_uncarriable(&mut met.source, &mut met.target, how).await;
        findings.take("functions", checked)?;
    }
    if run.plan.source_compression == SourceCompression::Off {
        let checked = compression::refuse_unchangeable(&mut met.source).await;
        findings.take("source-compression", checked)?;
    }
    Ok(())
}

async fn crossing(run: &Run, met: &mut Met, clocks: [i64; 2]) -> Result<Crossing> {
    let [ahead_ms, source_ahead_ms] = clocks;
    let target = match knowledge::without_a_write(&mut met.target, &met.target_info).await {
        // That it takes no writes now is a finding of its own.
        Err(error) if error.is_not_yet() => knowledge::of_version(&met.target_info),
        asked => asked?,
    };
    let source = knowledge::family(&met.source_info);
    Ok(Crossing { target, source, lossy: run.plan.lossy, ahead_ms, source_ahead_ms })
}
