//! What both users may do, and what the target does now: trials and what follows from them.

use super::super::clocks::Looks;
use super::super::permitted_keys::{self, KeyTrials, Looked};
use super::super::probe::{may_ask_together, needs_no_select, refused_before_work, to_select};
use super::super::rights::{self, Answer, DeniedRights, Need, Tried};
use super::super::{Run, queued};
use super::Met;
use super::findings::Findings;
use super::patterns;
use super::sample::Sample;
use crate::command::keyspace::ExpiryCommand;
use crate::command::{Cause, ServerError};
use crate::config::{FetchMode, IfExists, Route, Verify};
use crate::error::{Error, Kind, Result, Side};
use crate::net::{Connection, Connector, connect};
use crate::report::Finding;
use crate::resp::Value;
use crate::units;

/// What follows from the rights.
pub(super) struct Permitted {
    /// Strings would go by value.
    pub(super) by_value: bool,
    /// Some keys may be read.
    pub(super) may_sample: bool,
    /// Their types may be asked.
    pub(super) may_type: bool,
    /// What they take of memory may be asked.
    pub(super) may_measure: bool,
    /// Of source and target: what was refused only for the key that was named.
    pub(super) other_keys: [Option<(String, ServerError)>; 2],
}

/// Tries what both users need. `counted`: the numbers of keys may prove the copy.
pub(super) async fn look(
    run: &Run,
    (met, first): (&mut Met, Route),
    clocks: &[Looks; 2],
    counted: bool,
    findings: &mut Findings,
) -> Result<Permitted> {
    let plan = &run.plan;
    let (source, target) = tokio::join!(
        rights::try_all(&mut met.source, rights::of_source(plan)),
        queued::try_all_apart(&mut met.target, rights::of_target(plan)),
    );
    let (source, target) = (source?, target?);
    transactions(&mut met.source, &run.source, &source, findings).await?;
    if plan.verify == Verify::Full && !plan.dry_run {
        transactions(&mut met.target, &run.target, &target, findings).await?;
    }
    let timed = clocks.each_ref().map(|look| look.offset.is_some());
    let [source_time, target_time] = timed;
    side(findings, &met.source, &source, source_time, counted);
    side(findings, &met.target, &target, target_time, counted);
    now(findings, &met.target, &target);
    if plan.dry_run {
        let text = "with --dry-run the target's right to write was not tried";
        findings.add(Finding::note("not-tried", text).on("target"));
    }
    if plan.delete_source {
        let (_, denied) =
            queued::try_deletion(&mut connect(&run.source, first.source).await?).await?;
        deletion(findings, &met.source, &denied);
    }
    if plan.if_exists == IfExists::Merge && !plan.dry_run && now_fine(&target) {
        let denied = queued::try_merge(&run.target, first.target).await?;
        findings.take("no-permission", rights::refuse_denied(&met.target, &denied))?;
    }
    let may = |right: &str| {
        source.iter().any(|(trial, answer)| trial.right == right && *answer == Answer::May)
    };
    let slow = |tried: &Tried| tried.iter().any(|(t, a)| t.need == Need::Speed && is_denied(a));
    Ok(Permitted {
        by_value: plan.fetch == FetchMode::Auto
            && met.target_info.sets_with_expiry()
            && !slow(&source)
            && !slow(&target),
        may_sample: may("scan"),
        may_type: may("type"),
        may_measure: may("memory|usage"),
        other_keys: [for_its_key(&source), for_its_key(&target)],
    })
}

/// Whether a value and its expiry may be asked for in one transaction.
async fn transactions(
    at: &mut Connection,
    way: &Connector,
    tried: &Tried,
    findings: &mut Findings,
) -> Result<()> {
    let absolute = tried.iter().any(|(t, a)| t.right == "pexpiretime" && *a == Answer::May);
    let command = if absolute { ExpiryCommand::Absolute } else { ExpiryCommand::Remaining };
    if may_ask_together(at, command).await? {
        return Ok(());
    }
    // It may fail for the key of the trial alone. What may not be ended is not begun on this connection.
    let denied = of_transactions(&mut connect(way, 0).await?).await?;
    let rights: Vec<&str> = denied.iter().map(|(right, _)| *right).collect();
    if rights.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = rights.iter().map(|right| right.to_uppercase()).collect();
    let text = format!(
        "{} refused: the expiry of each key is asked for before and behind its value, which takes one command \
         more for each key",
        names.join(" and ")
    );
    let side = at.server().side.word();
    findings.add(Finding::note("two-questions", text).with_remedy(rights::grant(&rights)).on(side));
    Ok(())
}

/// What is denied of transactions. The connection is not to be used any further.
///
/// # Errors
/// The connection broke.
pub(super) async fn of_transactions(at: &mut Connection) -> Result<DeniedRights> {
    let (_, mut denied) = queued::queue(at, &[]).await?;
    if denied.iter().all(|(right, _)| *right != "exec") {
        let ended = rights::try_commands(at, &[vec![b"EXEC"]]).await?;
        if let Some(Answer::Denied(error)) = ended.first().map(Answer::of) {
            denied.push(("exec", error));
        }
    }
    Ok(denied)
}

/// Whether the target takes writes: else its state is told, once.
fn now_fine(tried: &Tried) -> bool {
    !tried.iter().any(|(_, answer)| matches!(answer, Answer::NotNow(_)))
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer, Answer::Denied(_))
}

/// What one user lacks.
fn side(findings: &mut Findings, at: &Connection, tried: &Tried, has_time: bool, counted: bool) {
    let side = at.server().side.word();
    for (code, refusal) in rights::missing(at, tried, has_time) {
        findings.refuse(code, &refusal);
    }
    let denied = |need: Need| rights::denied(tried, need);
    expiries(findings, at, &denied(Need::Expiry), has_time);
    let lacking = |need: Need| -> Option<(String, String)> {
        // What an old server does not know, nobody can grant.
        let rights: Vec<&str> = denied(need)
            .iter()
            .filter(|(_, error)| error.cause == Cause::CommandDenied)
            .map(|(right, _)| *right)
            .collect();
        let names: Vec<String> =
            rights.iter().map(|r| r.replace('|', " ").to_uppercase()).collect();
        (!rights.is_empty()).then(|| (names.join(", "), rights::grant(&rights)))
    };
    if let Some((right, error)) = denied(Need::Proof).first() {
        let then = match (at.server().side, counted) {
            (Side::Target, false) => {
                "names are looked for there at the end, so that the copy ends with exit code 1, nothing proven"
            }
            (_, true) => {
                "where anybody else writes, or a key expires, during the copy, it ends with exit code 1, \
                 nothing proven"
            }
            (Side::Source, false) => {
                "where the target lacks a name at the end, the copy ends with exit code 1, nothing proven"
            }
        };
        let text = format!("{} is refused ({error}): {then}", right.to_uppercase());
        let remedy = match error.cause {
            Cause::CommandDenied => rights::grant(&[right]),
            _ => "allow it there, or copy with --verify none".to_owned(),
        };
        findings.add(Finding::warning("no-permission", text, remedy).on(side));
    }
    if let Some((names, grant)) = lacking(Need::Recovery) {
        let text = format!(
            "{names} refused: after a broken connection, and in a resumed run, keys that keyferry wrote \
             itself count as keys of other clients"
        );
        findings.add(Finding::warning("no-permission", text, grant).on(side));
    }
    let knows_fields = denied(Need::Fields).iter().all(|(_, e)| e.cause == Cause::CommandDenied);
    if let Some((names, grant)) = lacking(Need::Fields).filter(|_| knows_fields) {
        let text =
            format!("{names} refused: hashes whose fields may expire are not merged, and fail");
        findings.add(Finding::warning("no-permission", text, grant).on(side));
    }
    if let Some((names, grant)) = lacking(Need::Speed) {
        let text = format!(
            "{names} refused: strings go by DUMP and RESTORE, which takes two to three times as long"
        );
        findings.add(Finding::note("slower", text).with_remedy(grant).on(side));
    }
    if let Some((names, grant)) = lacking(Need::Several) {
        let text = format!("{names} refused: strings are written one by one, which takes longer");
        findings.add(Finding::note("slower", text).with_remedy(grant).on(side));
    }
    if let Some((names, grant)) = lacking(Need::Look) {
        let text = format!("{names} refused: sizes or types of keys are not known beforehand");
        findings.add(Finding::note("not-measured", text).with_remedy(grant).on(side));
    }
}

/// What is refused for the key that trials name: then the user may not touch every key.
fn for_its_key(tried: &Tried) -> Option<(String, ServerError)> {
    tried.iter().find_map(|(trial, answer)| match answer {
        Answer::OtherKeys(error) => Some((trial.name(), error.clone())),
        _ => None,
    })
}

/// Keys that a user may not touch: of those that were looked at, or, where others may be meant, by the user's
/// patterns. `hopeless`: it was said already that some user may touch none.
pub(super) async fn keys(
    (run, routes): (&Run, &[Route]),
    met: &mut Met,
    sample: &Sample,
    (other_keys, hopeless): ([Option<(String, ServerError)>; 2], bool),
    findings: &mut Findings,
) -> Result<()> {
    let Some(first) = routes.first() else { return Ok(()) };
    let names: Vec<Vec<u8>> = sample.keys.iter().map(|key| key.name.clone()).collect();
    let (source, target) = (permitted_keys::of_source, permitted_keys::of_target);
    let sides = [
        (&mut met.source, (&run.source, first.source), source(&run.plan)),
        (&mut met.target, (&run.target, first.target), target(&run.plan)),
    ];
    for ((at, way, trials), other) in sides.into_iter().zip(other_keys) {
        let mut looked = Looked::default();
        let mut trials = KeyTrials::new(way, trials).await?;
        trials.look(&names, &mut looked).await?;
        if looked.refused.is_none() && may_touch_all_meant(run, &mut trials, sample).await? {
            continue;
        }
        let (permitted, keys) = (units::count(looked.permitted as u64), looked.keys as u64);
        let keys = units::count(keys);
        let text = match (looked.refused, other) {
            (Some(_), _) if hopeless && looked.permitted == 0 => continue,
            (Some((name, error)), _) => format!(
                "the user may touch {permitted} of the {keys} keys that were looked at ({name}: {error}); the \
                 others fail, and are named"
            ),
            (None, Some((name, error))) => format!(
                "the user may not touch every key ({name}: {error}); those that it may not fail, and are named"
            ),
            (None, None) => match patterns::of_user(at).await? {
                None => continue,
                Some(patterns) => format!(
                    "the user may touch keys of some patterns only ({patterns}): all {keys} keys that were \
                     looked at, but others fail, and are named"
                ),
            },
        };
        let remedy = "grant the key pattern there: ACL SETUSER <user> ~<pattern>";
        findings.add(Finding::warning("keys-denied", text, remedy).on(at.server().side.word()));
    }
    Ok(())
}

/// Whether a user who may touch all keys that were looked at may touch the others that are meant, too: there are
/// none, or `--match` means only names that its patterns fit. The server tells by names that are as unlike each
/// other as `--match` lets them be; nothing is done to keys of such names.
async fn may_touch_all_meant(
    run: &Run,
    trials: &mut KeyTrials<'_>,
    sample: &Sample,
) -> Result<bool> {
    let meant = &run.plan.filter.include;
    if sample.whole || meant.is_empty() {
        return Ok(sample.whole);
    }
    let tail = [b'~'; UNLIKELY];
    let mut runs = vec![Vec::new()];
    runs.extend((0..=u8::MAX).map(|byte| [&[byte], &tail[..]].concat()));
    let mut names = Vec::new();
    for pattern in meant {
        for run in &runs {
            let Some(name) = pattern.name_with(run) else { return Ok(false) };
            names.push(name);
        }
    }
    let mut looked = Looked::default();
    trials.look(&names, &mut looked).await?;
    Ok(looked.refused.is_none())
}

/// So many bytes that no pattern has by chance.
const UNLIKELY: usize = 100;

/// PEXPIRETIME, or PTTL and TIME.
fn expiries(
    findings: &mut Findings,
    at: &Connection,
    denied: &[(&'static str, ServerError)],
    has_time: bool,
) {
    let side = at.server().side.word();
    let lacks = |right: &str| denied.iter().find(|(name, _)| *name == right);
    let absolute = lacks("pexpiretime");
    if absolute.is_some() && lacks("pttl").is_some() {
        // Which stands in the way.
        return;
    }
    if !has_time && absolute.is_none() {
        let text = "TIME is refused; its clock is taken to be right";
        findings.add(Finding::warning("no-permission", text, rights::grant(&["time"])).on(side));
    }
    let may_be_granted = |(_, error): &&(&str, ServerError)| error.cause == Cause::CommandDenied;
    if absolute.filter(may_be_granted).is_some() {
        let text = "PEXPIRETIME is refused: expiries are read by PTTL, exact to some milliseconds";
        let remedy = rights::grant(&["pexpiretime"]);
        findings.add(Finding::note("inexact-expiries", text).with_remedy(remedy).on(side));
    }
    if lacks("pttl").filter(may_be_granted).is_some() {
        let text = "PTTL is refused: should PEXPIRETIME not be known there, no expiry can be read";
        let remedy = rights::grant(&["pttl"]);
        findings.add(Finding::note("no-permission", text).with_remedy(remedy).on(side));
    }
}

/// What keeps a move from deleting: the user's rights, or the state of the source.
fn deletion(findings: &mut Findings, at: &Connection, denied: &DeniedRights) {
    let Err(refusal) = queued::refuse_undeletable(at, denied) else { return };
    let may_not = denied.iter().all(|(_, error)| error.cause == Cause::CommandDenied);
    findings.refuse(if may_not { "no-permission" } else { "source-keeps-keys" }, &refusal);
}

/// What keeps the target from taking writes now, whoever sends them.
fn now(findings: &mut Findings, at: &Connection, tried: &Tried) {
    let refused = tried.iter().find_map(|(trial, answer)| match answer {
        Answer::NotNow(error) => Some((trial, error)),
        _ => None,
    });
    let Some((trial, error)) = refused else { return };
    let refusal = at.refused(trial.name().as_bytes(), error).as_kind(Kind::Refused);
    match error.cause {
        Cause::OutOfMemory => findings.refuse("target-out-of-memory", &refusal),
        Cause::ReadOnly => findings.refuse("target-read-only", &refusal),
        Cause::Misconfigured => findings.refuse("target-cannot-save", &refusal),
        Cause::Transient if error.line.starts_with("NOREPLICAS") => {
            let remedy = "attach its replicas, or lower min-replicas-to-write there; a copy waits for \
                          that as long as --retry-budget allows";
            findings.refuse("target-lacks-replicas", &refusal.advise(remedy));
        }
        _ => {
            let remedy = "wait until it has passed; a copy waits as long as --retry-budget allows";
            let text = refusal.message().to_owned();
            findings.add(Finding::warning("target-busy", text, remedy).on("target"));
        }
    }
}

/// Selects each database; those that could be selected are returned.
pub(super) async fn databases(
    connection: &mut Connection,
    databases: impl Iterator<Item = u32>,
    findings: &mut Findings,
) -> Result<Vec<u32>> {
    let all: Vec<u32> = databases.collect();
    let databases = to_select(all.iter().copied());
    if databases.is_empty() {
        return Ok(all);
    }
    for database in &databases {
        connection.output().command(&[b"SELECT", database.to_string().as_bytes()]);
    }
    let replies = connection.receive(databases.len()).await.map_err(refused_before_work)?;
    let (mut there, mut first) = (Vec::new(), None::<(Error, u64)>);
    for (database, reply) in databases.into_iter().zip(replies) {
        match (reply, &mut first) {
            (Value::Error(line), _) if needs_no_select(database, &line) => there.push(database),
            (Value::Error(line), None) => {
                first = Some((connection.no_database(database, &line), 0));
            }
            (Value::Error(_), Some((_, more))) => *more += 1,
            _ => there.push(database),
        }
    }
    if let Some((error, more)) = first {
        let code = if error.kind() == Kind::Refused { "no-database" } else { "no-permission" };
        let remedy = error.advice().unwrap_or_default().to_owned();
        let mut text = error.message().to_owned();
        if more > 0 {
            text.push_str(&format!(" (and {more} more of those that are meant)"));
        }
        let side = connection.server().side.word();
        findings.add(Finding::blocker(code, text, remedy).on(side));
    }
    Ok(there)
}
