//! Trials of commands in which no mistake can be made, such as `UNLINK`: they are queued in a transaction that
//! holds a mistake already, so that the server has to refuse it whole. Nothing of it is carried out.

use super::probe::{may_end, refused_before_work};
use super::rights::{self, Answer, DeniedRights, KEY, Need, Trial, Tried, trial, try_commands};
use crate::error::Result;
use crate::net::{Connection, Connector, connect, probe_key};
use crate::resp::Value;
use crate::source::unlink::Removal;

const WATCH: &[&[u8]] = &[b"WATCH", KEY];

/// What deletes from the source: by one of the last two.
pub(super) const OF_DELETION: [Trial; 4] = [
    trial("watch", WATCH, Need::Must),
    trial("unwatch", &[b"UNWATCH"], Need::Must),
    trial("unlink", &[b"UNLINK", KEY], Need::Must),
    trial("del", &[b"DEL", KEY], Need::Must),
];

/// What `--if-exists merge` writes and cannot be tried but in a transaction.
pub(super) const OF_MERGE: [Trial; 3] = [
    trial("watch", WATCH, Need::Must),
    trial("sadd", &[b"SADD", KEY, b""], Need::Must),
    trial("hsetnx", &[b"HSETNX", KEY, b"", b""], Need::Must),
];

/// As [`rights::try_all`], but commands that write are only queued, for a plan: where transactions are permitted.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_all_apart(
    connection: &mut Connection,
    trials: Vec<Trial>,
) -> Result<Tried> {
    let (writes, reads): (Vec<_>, Vec<_>) =
        trials.into_iter().partition(|trial| WRITES.contains(&trial.right));
    let commands: Vec<_> = writes.iter().map(|trial| trial.on(probe_key())).collect();
    // Where it may not be ended, no transaction is begun.
    let answers = match may_end(connection).await? {
        true => queue(connection, &commands).await?.0,
        false => Vec::new(),
    };
    let mut tried: Tried = match answers.len() == writes.len() {
        true => writes.into_iter().zip(answers).collect(),
        false => rights::try_all(connection, writes).await?,
    };
    tried.extend(rights::try_all(connection, reads).await?);
    Ok(tried)
}

/// Rights to write, of those that are tried on a target.
const WRITES: [&str; 6] = ["restore", "set", "mset", "msetnx", "zadd", "hpexpireat"];

/// How keys may be deleted from the source, and what is denied of that. The connection is not to be used any
/// further.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_deletion(source: &mut Connection) -> Result<(Removal, DeniedRights)> {
    let mut denied = try_watching(source, &OF_DELETION[..2]).await?;
    let queued = try_queued(source, &OF_DELETION[2..]).await?;
    let lacks = |right: &str| queued.iter().any(|(denied, _)| *denied == right);
    let removal = match (lacks("unlink"), lacks("del")) {
        (true, false) => Removal::Del,
        _ => Removal::Unlink,
    };
    let other = if removal == Removal::Del { "unlink" } else { "del" };
    denied.extend(queued.into_iter().filter(|(right, _)| *right != other));
    Ok((removal, denied))
}

/// Refuses a move or a clean-up whose source keeps its keys. What keeps it does not pass soon.
///
/// # Errors
/// [`Kind::Refused`].
pub(super) fn refuse_undeletable(source: &Connection, denied: &DeniedRights) -> Result<()> {
    let replicas = denied.iter().any(|(_, error)| error.line.starts_with("NOREPLICAS"));
    rights::refuse_denied(source, denied).map_err(|error| match replicas {
        true => error.lasting().advise("attach its replicas, or lower min-replicas-to-write there"),
        false => error.lasting(),
    })
}

/// How keys may be deleted from the source.
///
/// # Errors
/// [`Kind::Refused`]: they may not be, by this user or now by nobody. Or the connection broke.
pub(super) async fn may_delete(mut source: Connection) -> Result<Removal> {
    let (removal, denied) = try_deletion(&mut source).await?;
    refuse_undeletable(&source, &denied).map(|()| removal)
}

/// Tries what `--if-exists merge` writes, likewise.
///
/// # Errors
/// The connection broke.
pub(super) async fn try_merge(target: &Connector, database: u32) -> Result<DeniedRights> {
    let mut connection = connect(target, database).await?;
    let mut denied = try_watching(&mut connection, &[OF_MERGE[0]]).await?;
    denied.extend(try_queued(&mut connection, &OF_MERGE[1..]).await?);
    Ok(denied)
}

async fn try_watching(connection: &mut Connection, trials: &[Trial]) -> Result<DeniedRights> {
    let commands: Vec<_> = trials.iter().map(|trial| trial.on(probe_key())).collect();
    let replies = try_commands(connection, &commands).await?;
    let mut denied = DeniedRights::new();
    for (trial, reply) in trials.iter().zip(&replies) {
        judge(&mut denied, trial.right, &Answer::of(reply));
    }
    Ok(denied)
}

/// Tries commands that are never carried out. The connection is not to be used any further.
async fn try_queued(connection: &mut Connection, trials: &[Trial]) -> Result<DeniedRights> {
    let commands: Vec<_> = trials.iter().map(|trial| trial.on(probe_key())).collect();
    let (answers, mut denied) = queue(connection, &commands).await?;
    for (trial, answer) in trials.iter().zip(&answers) {
        judge(&mut denied, trial.right, answer);
    }
    Ok(denied)
}

/// What a server says to commands that it never carries out: they are queued in a transaction that holds a
/// mistake already, which it refuses as a whole. Beside it what is denied of transactions: then the connection
/// is not to be used any further.
///
/// # Errors
/// The connection broke.
pub(super) async fn queue(
    connection: &mut Connection,
    commands: &[Vec<&[u8]>],
) -> Result<(Vec<Answer>, DeniedRights)> {
    // First one with nothing but the mistake: a server that does not refuse it would carry out all that follows.
    let proof: [&[&[u8]]; 3] = [&[b"MULTI"], &[b"EXISTS"], &[b"EXEC"]];
    let proof = connection.try_all(&proof).await.map_err(refused_before_work)?;
    let mut denied = DeniedRights::new();
    if !matches!(proof.last(), Some(Value::Error(_))) {
        return Ok((Vec::new(), denied));
    }
    let begin: [&[&[u8]]; 3] = [&[b"MULTI"], &[b"EXISTS"], &[b"MULTI"]];
    let replies = connection.try_all(&begin).await.map_err(refused_before_work)?;
    let [begun, mistake, nested] = replies.as_slice() else { return Ok((Vec::new(), denied)) };
    judge(&mut denied, "multi", &Answer::of(begun));
    if denied.is_empty() {
        judge(&mut denied, "multi", &Answer::of(nested));
    }
    // What says that it began one and is in none carries commands out: it is sent none.
    let words = ["nested", "inside a transaction"];
    let within = |line: &String| words.iter().any(|words| line.contains(words));
    let within = matches!(nested, Value::Error(line) if within(line));
    if !within || !matches!(mistake, Value::Error(_)) {
        if matches!(begun, Value::Simple(_)) {
            connection.try_all(&[&[b"EXEC"]]).await.map_err(refused_before_work)?;
        }
        return Ok((Vec::new(), denied));
    }
    let mut words = commands.to_vec();
    words.push(vec![b"EXEC"]);
    let replies = try_commands(connection, &words).await?;
    if let Some(reply) = replies.last() {
        judge(&mut denied, "exec", &Answer::of(&cause_of_abort(reply)));
    }
    Ok((replies.iter().take(commands.len()).map(Answer::of).collect(), denied))
}

fn judge(denied: &mut DeniedRights, right: &'static str, answer: &Answer) {
    if let Answer::Denied(error) | Answer::NotNow(error) = answer {
        denied.push((right, error.clone()));
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
