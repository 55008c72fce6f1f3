//! Which commands both users may use: each is tried where it cannot do anything.
//!
//! Reading commands name a key that is never made. Writing commands are wrong on purpose, or stand in
//! a transaction that the server has to refuse.

use super::probe::refused_before_work;
use crate::command::{Cause, ServerError};
use crate::config::{FetchMode, IfExists, Plan, Verify};
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, probe_key};
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
    /// Fields of hashes may expire, where the server knows such expiries.
    Fields,
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
    /// With [`KEY`] in the place of the key.
    command: &'static [&'static [u8]],
    pub(super) need: Need,
}

impl Trial {
    /// The command, about this key.
    pub(super) fn on<'a>(&self, key: &'a [u8]) -> Vec<&'a [u8]> {
        self.command.iter().map(|&word| if word == KEY { key } else { word }).collect()
    }

    /// Whether the command is about a key.
    pub(super) fn has_key(&self) -> bool {
        self.command.contains(&KEY)
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        self.right.replace('|', " ").to_uppercase()
    }
}

pub(super) const fn trial(
    right: &'static str,
    command: &'static [&'static [u8]],
    need: Need,
) -> Trial {
    Trial { right, command, need }
}

/// Stands for the key in commands.
pub(super) const KEY: &[u8] = b"<key>";

const SCAN: &[&[u8]] = &[b"SCAN", b"0", b"COUNT", b"1"];
const DUMP: &[&[u8]] = &[b"DUMP", KEY];
const TYPE: &[&[u8]] = &[b"TYPE", KEY];
const EXISTS: &[&[u8]] = &[b"EXISTS", KEY];
const MGET: &[&[u8]] = &[b"MGET", KEY];
const MSET: &[&[u8]] = &[b"MSET", KEY, b"", KEY];
const MSETNX: &[&[u8]] = &[b"MSETNX", KEY, b"", KEY];
const PTTL: &[&[u8]] = &[b"PTTL", KEY];
const PEXPIRETIME: &[&[u8]] = &[b"PEXPIRETIME", KEY];
/// As [`crate::command::keyspace::refused_restore`].
const RESTORE: &[&[u8]] = &[b"RESTORE", KEY, b"0", b"", b"no-such-option"];
const HMGET: &[&[u8]] = &[b"HMGET", KEY, b""];
const HPEXPIRETIME: &[&[u8]] = &[b"HPEXPIRETIME", KEY, b"FIELDS", b"1", b""];
const HPEXPIREAT: &[&[u8]] = &[b"HPEXPIREAT", KEY, b"x", b"FIELDS", b"1", b""];

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
        trial("memory|usage", &[b"MEMORY", b"USAGE", KEY], Need::Look),
    ];
    if full || plan.fetch == FetchMode::Auto {
        trials.push(trial("mget", MGET, if full { Need::Must } else { Need::Speed }));
    }
    proof(plan, &mut trials);
    if plan.if_exists == IfExists::Merge {
        trials.extend([
            trial("type", TYPE, Need::Must),
            trial("sscan", &[b"SSCAN", KEY, b"0"], Need::Must),
            trial("hscan", &[b"HSCAN", KEY, b"0"], Need::Must),
            trial("zscan", &[b"ZSCAN", KEY, b"0"], Need::Must),
            trial("hmget", HMGET, Need::Fields),
            trial("hpexpiretime", HPEXPIRETIME, Need::Fields),
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
    let restore = trial("restore", RESTORE, Need::Must);
    let mut trials = vec![restore, scan];
    if plan.fetch == FetchMode::Auto {
        trials.extend([trial("set", &[b"SET", KEY, b"", b"no-such-option"], Need::Speed)]);
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
            trial("type", TYPE, Need::Must),
            trial("pttl", PTTL, Need::Must),
            trial("hexists", &[b"HEXISTS", KEY, b""], Need::Must),
            trial("zadd", &[b"ZADD", KEY, b"x", b""], Need::Must),
            trial("hpexpireat", HPEXPIREAT, Need::Fields),
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
pub(super) async fn try_all(connection: &mut Connection, trials: Vec<Trial>) -> Result<Tried> {
    let commands: Vec<_> = trials.iter().map(|trial| trial.on(probe_key())).collect();
    let replies = try_commands(connection, &commands).await?;
    Ok(trials.into_iter().zip(replies.iter().map(Answer::of)).collect())
}

/// Sends commands whatever the answers are, in one round trip.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_commands(
    connection: &mut Connection,
    commands: &[Vec<&[u8]>],
) -> Result<Vec<Value>> {
    let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
    connection.try_all(&commands).await.map_err(refused_before_work)
}

/// Trials, and what was said to them.
pub(super) type Tried = Vec<(Trial, Answer)>;

/// Refuses a copy whose users lack what it cannot do without: `plan` says the same. `timed`: whether they may
/// ask for the time.
///
/// # Errors
/// [`Kind::Refused`], naming what is missing. Or a connection broke.
pub(super) async fn refuse_missing(
    plan: &Plan,
    [source, target]: [&mut Connection; 2],
    timed: [bool; 2],
) -> Result<()> {
    let trials = [of_source(plan), of_target(plan)];
    for ((at, mut trials), timed) in [source, target].into_iter().zip(trials).zip(timed) {
        trials.retain(|trial| matches!(trial.need, Need::Must | Need::Expiry));
        let tried = try_all(at, trials).await?;
        if let Some((_, refusal)) = missing(at, &tried, timed).into_iter().next() {
            return Err(refusal);
        }
    }
    Ok(())
}

/// The refusals that a user's answers mean, each with a word for it.
pub(super) fn missing(at: &Connection, tried: &Tried, timed: bool) -> Vec<(&'static str, Error)> {
    let (missing, unknown): (Vec<_>, Vec<_>) = denied(tried, Need::Must)
        .into_iter()
        .partition(|(_, error)| error.cause == Cause::CommandDenied);
    let mut refusals = Vec::new();
    if !missing.is_empty() {
        refusals.push(("no-permission", refusal(at, &missing)));
    }
    for one in &unknown {
        refusals.push(("unknown-command", refusal(at, std::slice::from_ref(one))));
    }
    let expiries = denied(tried, Need::Expiry);
    let lacks = |right: &str| expiries.iter().any(|(name, _)| *name == right);
    let (text, rights): (_, &[&str]) = match (lacks("pexpiretime"), lacks("pttl"), timed) {
        (true, true, _) => {
            let text = "PEXPIRETIME and PTTL were refused: no expiry can be read".to_owned();
            (text, &["pttl", "pexpiretime"])
        }
        (true, false, false) => {
            let side = at.server().side;
            let text =
                format!("without PEXPIRETIME the {side}'s TIME is needed, and it is refused");
            (text, &["time"])
        }
        _ => return refusals,
    };
    refusals.push(("no-permission", at.place(Error::refused(text).advise(grant(rights)))));
    refusals
}

/// What is denied of what there is this need for.
pub(super) fn denied(tried: &Tried, need: Need) -> DeniedRights {
    let of_need = tried.iter().filter(|(trial, _)| trial.need == need);
    of_need
        .filter_map(|(trial, answer)| match answer {
            Answer::Denied(error) => Some((trial.right, error.clone())),
            _ => None,
        })
        .collect()
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
    pub(super) fn of(reply: &Value) -> Self {
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

/// Refuses what needs these rights.
///
/// # Errors
/// [`Kind::Refused`]: something is not permitted.
pub(super) fn refuse_denied(at: &Connection, denied: &DeniedRights) -> Result<()> {
    if denied.is_empty() { Ok(()) } else { Err(refusal(at, denied)) }
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
