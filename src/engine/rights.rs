//! Which commands both users may use: each is tried where it cannot do anything.
//!
//! Reading commands name a key that is never made. Writing commands are wrong on purpose, or stand in
//! a transaction that the server has to refuse.

use super::probe::refused_before_work;
use crate::command::keyspace::PROBE_KEY;
use crate::command::{Cause, ServerError};
use crate::config::{FetchMode, IfExists, Plan, Verify};
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Connector, connect};
use crate::resp::Value;

/// What a right is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Without it there is no copy.
    Must,
    /// One of several ways to read expiries.
    Expiry,
    /// The proof at the end may need it.
    Proof,
    /// To know our own keys again after a connection broke.
    Recovery,
    /// Strings go by value, which is faster.
    Speed,
    /// Strings go several at once, which is faster than one by one.
    Several,
    /// Only to look ahead.
    Look,
}

/// A command to be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    /// What grants it: `+right`.
    pub(super) right: &'static str,
    command: &'static [&'static [u8]],
    pub(super) need: Need,
}

impl Trial {
    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        self.right.replace('|', " ").to_uppercase()
    }
}

const fn trial(right: &'static str, command: &'static [&'static [u8]], need: Need) -> Trial {
    Trial { right, command, need }
}

const SCAN: &[&[u8]] = &[b"SCAN", b"0", b"COUNT", b"1"];
const DUMP: &[&[u8]] = &[b"DUMP", PROBE_KEY];
const TYPE: &[&[u8]] = &[b"TYPE", PROBE_KEY];
const EXISTS: &[&[u8]] = &[b"EXISTS", PROBE_KEY];
const MGET: &[&[u8]] = &[b"MGET", PROBE_KEY];
const MSET: &[&[u8]] = &[b"MSET", PROBE_KEY, b"", PROBE_KEY];
const MSETNX: &[&[u8]] = &[b"MSETNX", PROBE_KEY, b"", PROBE_KEY];
const PTTL: &[&[u8]] = &[b"PTTL", PROBE_KEY];
const PEXPIRETIME: &[&[u8]] = &[b"PEXPIRETIME", PROBE_KEY];

/// What a copy may need of the source.
pub(super) fn of_source(plan: &Plan) -> Vec<Trial> {
    let full = compares(plan);
    let typed = !plan.filter.types.is_empty();
    let mut trials = vec![
        trial("scan", SCAN, Need::Must),
        trial("dump", DUMP, Need::Must),
        trial("pexpiretime", PEXPIRETIME, Need::Expiry),
        trial("pttl", PTTL, Need::Expiry),
        trial("type", TYPE, if typed { Need::Must } else { Need::Look }),
        trial("memory|usage", &[b"MEMORY", b"USAGE", PROBE_KEY], Need::Look),
    ];
    if full || plan.fetch == FetchMode::Auto {
        trials.push(trial("mget", MGET, if full { Need::Must } else { Need::Speed }));
    }
    proof(plan, &mut trials);
    if plan.if_exists == IfExists::Merge {
        trials.extend([
            trial("sscan", &[b"SSCAN", PROBE_KEY, b"0"], Need::Must),
            trial("hscan", &[b"HSCAN", PROBE_KEY, b"0"], Need::Must),
            trial("zscan", &[b"ZSCAN", PROBE_KEY, b"0"], Need::Must),
        ]);
    }
    trials
}

/// What it may need of the target.
pub(super) fn of_target(plan: &Plan) -> Vec<Trial> {
    // Whether its databases are empty is looked at in any case.
    let scan = trial("scan", SCAN, Need::Must);
    if plan.dry_run {
        return vec![scan, trial("type", TYPE, Need::Must)];
    }
    // First: what hits every write is told by it.
    let restore = trial("restore", &[b"RESTORE", PROBE_KEY, b"0", b""], Need::Must);
    let mut trials = vec![restore, scan];
    if plan.fetch == FetchMode::Auto {
        trials.extend([trial("set", &[b"SET", PROBE_KEY, b"", b"no-such-option"], Need::Speed)]);
    }
    match plan.if_exists {
        _ if plan.fetch != FetchMode::Auto => {}
        IfExists::Replace => trials.push(trial("mset", MSET, Need::Several)),
        IfExists::Refuse => trials.push(trial("msetnx", MSETNX, Need::Several)),
        IfExists::Skip | IfExists::Fail | IfExists::Merge => {}
    }
    proof(plan, &mut trials);
    if compares(plan) {
        trials.extend([
            trial("pexpiretime", PEXPIRETIME, Need::Expiry),
            trial("pttl", PTTL, Need::Expiry),
            trial("mget", MGET, Need::Must),
        ]);
    }
    match plan.if_exists {
        _ if compares(plan) => trials.push(trial("dump", DUMP, Need::Must)),
        IfExists::Merge => trials.push(trial("dump", DUMP, Need::Must)),
        IfExists::Refuse | IfExists::Skip | IfExists::Fail => trials.extend([
            trial("dump", DUMP, Need::Recovery),
            trial("mget", MGET, Need::Recovery),
            trial("type", TYPE, Need::Recovery),
        ]),
        IfExists::Replace => {}
    }
    if plan.if_exists == IfExists::Merge {
        trials.extend([
            trial("pttl", PTTL, Need::Must),
            trial("zadd", &[b"ZADD", PROBE_KEY, b"x", b""], Need::Must),
        ]);
    }
    trials
}

fn proof(plan: &Plan, trials: &mut Vec<Trial>) {
    match plan.verify {
        _ if compares(plan) => trials.push(trial("exists", EXISTS, Need::Must)),
        Verify::Count => trials.push(trial("exists", EXISTS, Need::Proof)),
        Verify::None | Verify::Full => {}
    }
}

/// Whether values are compared after the copy.
fn compares(plan: &Plan) -> bool {
    plan.verify == Verify::Full || plan.delete_source
}

/// Tries them in one round trip.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_all(
    connection: &mut Connection,
    trials: Vec<Trial>,
) -> Result<Vec<(Trial, Answer)>> {
    let commands: Vec<&[&[u8]]> = trials.iter().map(|trial| trial.command).collect();
    let replies = connection.try_all(&commands).await.map_err(refused_before_work)?;
    Ok(trials.into_iter().zip(replies.iter().map(Answer::of)).collect())
}

/// What a server said to a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It would do it.
    May,
    /// The user may not, or the server does not know it.
    Denied(ServerError),
    /// It takes no such command now, from nobody.
    NotNow(ServerError),
    /// The user may not touch this key.
    OtherKeys(ServerError),
}

impl Answer {
    fn of(reply: &Value) -> Self {
        let Value::Error(line) = reply else { return Self::May };
        let error = ServerError::parse(line.as_bytes());
        match error.cause {
            Cause::CommandDenied | Cause::UnknownCommand | Cause::NotAuthenticated => {
                Self::Denied(error)
            }
            Cause::OutOfMemory
            | Cause::ReadOnly
            | Cause::Misconfigured
            | Cause::Cluster
            | Cause::Transient => Self::NotNow(error),
            Cause::KeyDenied => Self::OtherKeys(error),
            // Wrong on purpose.
            _ => Self::May,
        }
    }
}

/// Rights that were tried and refused.
pub(super) type DeniedRights = Vec<(&'static str, ServerError)>;

/// Tries what `--delete-source` needs of the source, on a connection of its own.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_deletion(source: &Connector) -> Result<DeniedRights> {
    let mut connection = connect(source, 0).await?;
    let watching: [&[&[u8]]; 2] = [&[b"WATCH", PROBE_KEY], &[b"UNWATCH"]];
    let replies = connection.call_all(&watching).await.map_err(refused_before_work)?;
    let mut denied = DeniedRights::new();
    for (right, reply) in ["watch", "unwatch"].into_iter().zip(&replies) {
        judge(&mut denied, right, reply);
    }
    denied.extend(try_queued(&mut connection, &[("unlink", &[b"UNLINK", PROBE_KEY])]).await?);
    Ok(denied)
}

/// Tries what `--if-exists merge` writes, likewise. MULTI and EXEC are not needed for a merge: without
/// them nothing is tried, and `None` returned.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_merge(target: &Connector) -> Result<Option<DeniedRights>> {
    let commands: [(&str, &[&[u8]]); 3] = [
        ("sadd", &[b"SADD", PROBE_KEY, b""]),
        ("hsetnx", &[b"HSETNX", PROBE_KEY, b"", b""]),
        ("unlink", &[b"UNLINK", PROBE_KEY]),
    ];
    let mut connection = connect(target, 0).await?;
    let denied = try_queued(&mut connection, &commands).await?;
    let tried = !denied.iter().any(|(right, _)| matches!(*right, "multi" | "exec"));
    Ok(tried.then_some(denied))
}

/// Tries commands that are never carried out: they are queued in a transaction that holds a mistake
/// already, which the server refuses as a whole. The connection is not to be used any further.
async fn try_queued(
    connection: &mut Connection,
    commands: &[(&'static str, &[&[u8]])],
) -> Result<DeniedRights> {
    let begin: [&[&[u8]]; 2] = [&[b"MULTI"], &[b"EXISTS"]];
    let replies = connection.call_all(&begin).await.map_err(refused_before_work)?;
    let mut denied = DeniedRights::new();
    let [begun, mistake] = replies.as_slice() else { return Ok(denied) };
    judge(&mut denied, "multi", begun);
    if !matches!((begun, mistake), (Value::Simple(_), Value::Error(_))) {
        return Ok(denied);
    }
    for (_, command) in commands {
        connection.output().command(command);
    }
    connection.output().command(&[b"EXEC"]);
    let replies = connection.receive(commands.len() + 1).await.map_err(refused_before_work)?;
    for ((right, _), reply) in commands.iter().zip(&replies) {
        judge(&mut denied, right, reply);
    }
    if let Some(reply) = replies.last() {
        judge(&mut denied, "exec", &cause_of_abort(reply));
    }
    Ok(denied)
}

fn judge(denied: &mut DeniedRights, right: &'static str, reply: &Value) {
    if let Answer::Denied(error) | Answer::NotNow(error) = Answer::of(reply) {
        denied.push((right, error));
    }
}

/// EXEC that is refused itself says why behind what every broken transaction is told.
fn cause_of_abort(reply: &Value) -> Value {
    match reply {
        Value::Error(line) => {
            let cause = line.split_once("because of: ").map_or(line.as_str(), |(_, cause)| cause);
            Value::Error(cause.to_owned())
        }
        other => other.clone(),
    }
}

/// Refuses a move whose source keeps its keys.
///
/// # Errors
/// [`Kind::Refused`]: something is not permitted. Or the connection broke.
pub(super) async fn refuse_without_deletion(source: &Connector, at: &Connection) -> Result<()> {
    let denied = try_deletion(source).await?;
    if denied.is_empty() { Ok(()) } else { Err(refusal(at, &denied)) }
}

/// The refusal that these denials mean: one of all of them, with what grants them.
pub(super) fn refusal(at: &Connection, denied: &[(&str, ServerError)]) -> Error {
    let Some((first, error)) = denied.first() else {
        return Error::refused("nothing was refused");
    };
    let name = |right: &str| right.replace('|', " ").to_uppercase();
    let missing = |(_, error): &&(&str, ServerError)| error.cause == Cause::CommandDenied;
    if denied.len() == 1 || !denied.iter().all(|denial| missing(&denial)) {
        let refused = at.refused(name(first).as_bytes(), error).as_kind(Kind::Refused);
        return match error.cause {
            // Of a subcommand the right has another form than its name.
            Cause::CommandDenied if first.contains('|') => {
                at.place(Error::refused(refused.message())).advise(grant(&[first]))
            }
            _ => refused,
        };
    }
    let rights: Vec<&str> = denied.iter().map(|(right, _)| *right).collect();
    let names: Vec<String> = rights.iter().map(|right| name(right)).collect();
    let text = format!("{} were refused: {error}", names.join(", "));
    at.place(Error::refused(text)).advise(grant(&rights))
}

/// How rights are granted.
pub(super) fn grant(rights: &[&str]) -> String {
    format!("grant it there: ACL SETUSER <user> +{}", rights.join(" +"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_wrong_on_purpose_is_permitted_if_nothing_else_is_said() {
        let answer = |line: &str| Answer::of(&Value::Error(line.into()));
        assert_eq!(answer("ERR DUMP payload version or checksum are wrong"), Answer::May);
        assert_eq!(answer("ERR syntax error"), Answer::May);
        assert!(matches!(
            answer("NOPERM User a has no permissions to run the 'x' command"),
            Answer::Denied(_)
        ));
        assert!(matches!(answer("ERR unknown command 'x'"), Answer::Denied(_)));
        assert!(matches!(answer("NOPERM No permissions to access a key"), Answer::OtherKeys(_)));
        for line in ["OOM command not allowed", "READONLY You", "MISCONF Redis", "NOREPLICAS Not"] {
            assert!(matches!(answer(line), Answer::NotNow(_)), "{line}");
        }
    }
}
