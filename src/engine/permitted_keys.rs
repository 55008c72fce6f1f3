//! Whether both users may touch the keys that are meant: patterns of names may permit only some.
//!
//! Commands are tried on names that the source has. None is carried out: they are queued in a transaction that
//! the server has to refuse, or, where it permits no transactions, cannot touch any key.

use super::rights::{self, Answer, Need, Trial};
use super::{Run, queued};
use crate::command::ServerError;
use crate::config::{IfExists, Plan, Route};
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Connector, connect};
use crate::resp::Value;

/// Pages of names that are looked at: of each database until one may be touched. The first, of few keys, are enough
/// for most.
const PAGES: usize = 12;
const COUNTS: [&[u8]; 4] = [b"4", b"20", b"100", b"1000"];
/// A page of names that come to more, in bytes, is followed by none of more keys.
const PAGE_BYTES: usize = 64 << 10;
/// Keys of longer names are not tried: each is in many commands at once.
const LONGEST_NAME: usize = 4 << 10;

/// Names that are tried at once.
const AT_ONCE: usize = 200;

/// Rights whose trials touch no key, whichever it is.
const HARMLESS: [&str; 5] = ["restore", "exists", "type", "pttl", "pexpiretime"];

/// What a copy does with each key of the source; a dry run tries no writes.
pub(super) fn of_source(plan: &Plan) -> Vec<Trial> {
    let deletes = plan.delete_source && !plan.dry_run;
    let deletion = queued::OF_DELETION.iter().filter(|_| deletes);
    about_keys(rights::of_source(plan).iter().chain(deletion))
}

/// Likewise of the target.
pub(super) fn of_target(plan: &Plan) -> Vec<Trial> {
    let merge = plan.if_exists == IfExists::Merge && !plan.dry_run;
    let merge = queued::OF_MERGE.iter().filter(|_| merge);
    about_keys(rights::of_target(plan).iter().chain(merge))
}

fn about_keys<'a>(trials: impl Iterator<Item = &'a Trial>) -> Vec<Trial> {
    let needed = |trial: &&Trial| matches!(trial.need, Need::Must | Need::Expiry);
    // WATCH is carried out at once, also in a transaction.
    let queued = |trial: &&Trial| trial.has_key() && trial.right != "watch";
    trials.filter(queued).filter(needed).copied().collect()
}

/// One side's user, and commands that are tried on keys.
pub(super) struct KeyTrials<'a> {
    connector: &'a Connector,
    /// Any of those that are meant: patterns of keys hold for all.
    database: u32,
    connection: Connection,
    trials: Vec<Trial>,
    /// Whether transactions are permitted, as far as is known.
    queued: bool,
}

/// What was found out about some keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    /// Keys that were tried.
    pub(super) keys: usize,
    /// Those of them that the user may do with all that a copy needs.
    pub(super) permitted: usize,
    /// The first command that was refused for its key, and in which words.
    pub(super) refused: Option<(String, ServerError)>,
}

impl<'a> KeyTrials<'a> {
    /// Connects.
    ///
    /// # Errors
    /// The server is not reached.
    pub(super) async fn new(
        (connector, database): (&'a Connector, u32),
        trials: Vec<Trial>,
    ) -> Result<Self> {
        let connection = connect(connector, database).await?;
        Ok(Self { connector, database, connection, trials, queued: true })
    }

    /// Tries these keys, too.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn look(&mut self, names: &[Vec<u8>], looked: &mut Looked) -> Result<()> {
        for names in names.chunks(AT_ONCE) {
            let answers = self.answers(names).await?;
            for answers in answers.chunks(self.trials.len().max(1)) {
                looked.keys += 1;
                match self.refused(answers) {
                    Some(refused) => looked.refused = looked.refused.take().or(Some(refused)),
                    None => looked.permitted += 1,
                }
            }
        }
        Ok(())
    }

    /// What was said to each trial on each key, in this order.
    async fn answers(&mut self, names: &[Vec<u8>]) -> Result<Vec<Answer>> {
        let commands = |trials: &[Trial]| -> Vec<Vec<&[u8]>> {
            names.iter().flat_map(|name| trials.iter().map(|trial| trial.on(name))).collect()
        };
        if self.queued {
            let commands = commands(&self.trials);
            let (answers, denied) = queued::queue(&mut self.connection, &commands).await?;
            if denied.is_empty() && answers.len() == commands.len() {
                return Ok(answers);
            }
            self.queued = false;
            self.trials.retain(|trial| HARMLESS.contains(&trial.right));
            self.connection = connect(self.connector, self.database).await?;
        }
        let replies = rights::try_commands(&mut self.connection, &commands(&self.trials)).await?;
        Ok(replies.iter().map(Answer::of).collect())
    }

    /// What is refused of that which a copy cannot do without, for the key that these answers are about.
    fn refused(&self, answers: &[Answer]) -> Option<(String, ServerError)> {
        let refused = |(trial, answer): (&Trial, &Answer)| match answer {
            Answer::OtherKeys(error) => Some((trial.name(), error.clone())),
            _ => None,
        };
        let of =
            |need| self.trials.iter().zip(answers).filter(move |(trial, _)| trial.need == need);
        let must = of(Need::Must).find_map(refused);
        // One of several ways is enough.
        let one_may = of(Need::Expiry).any(|(_, answer)| *answer == Answer::May);
        must.or_else(|| of(Need::Expiry).find_map(refused).filter(|_| !one_may))
    }
}

/// Refuses a copy of which not one key may be read, or written, of some that SCAN names first.
///
/// # Errors
/// [`Kind::Refused`]. Or a connection broke.
pub(super) async fn refuse_untouchable(run: &Run, routes: &[Route]) -> Result<()> {
    let plan = &run.plan;
    // Keys that are named in a file are few, and not the first that SCAN names.
    let Some(first) = routes.first().filter(|_| plan.letters.is_none()) else { return Ok(()) };
    let (mut source, mut target) = tokio::try_join!(
        KeyTrials::new((&run.source, first.source), of_source(plan)),
        KeyTrials::new((&run.target, first.target), of_target(plan)),
    )?;
    let (mut at_source, mut at_target) = (Looked::default(), Looked::default());
    for route in routes {
        let mut names = connect(&run.source, route.source).await?;
        names.hold_at_most(Some(LONGEST_NAME));
        let mut cursor = b"0".to_vec();
        let mut counts = COUNTS.iter();
        let mut count: &[u8] = b"1";
        for _ in 0..PAGES {
            let reply = names.call(&[b"SCAN", &cursor, b"COUNT", count]).await?;
            let Some([next, found]) = reply.elements() else { break };
            let found = found.elements().unwrap_or_default().iter().filter_map(Value::bytes);
            let meant = found.filter(|name| plan.filter.admits_name(name)).map(<[u8]>::to_vec);
            let meant: Vec<Vec<u8>> = meant.collect();
            if meant.iter().map(Vec::len).sum::<usize>() < PAGE_BYTES {
                count = counts.next().copied().unwrap_or(count);
            }
            tokio::try_join!(
                source.look(&meant, &mut at_source),
                target.look(&meant, &mut at_target)
            )?;
            if at_source.permitted > 0 && at_target.permitted > 0 {
                return Ok(());
            }
            match next.bytes() {
                Some(next) if next != b"0" => cursor = next.to_vec(),
                _ => break,
            }
        }
    }
    refuse_all(&source.connection, &at_source)?;
    refuse_all(&target.connection, &at_target)
}

/// Refuses a user who may do none of these keys.
fn refuse_all(at: &Connection, looked: &Looked) -> Result<()> {
    let Some((name, error)) = looked.refused.as_ref().filter(|_| looked.permitted == 0) else {
        return Ok(());
    };
    let text = match looked.keys {
        1 => format!(
            "the user may not touch the one key that was looked at: {name} was refused: {error}"
        ),
        keys => format!(
            "the user may touch none of the {keys} keys that were looked at: {name} was refused: {error}"
        ),
    };
    Err(at.place(Error::new(Kind::Refused, text)).advise(GRANT_ALL))
}

/// How keys are granted.
const GRANT_ALL: &str = "grant the key pattern there: ACL SETUSER <user> ~<pattern>; where it may touch few keys, \
                         name them by --match";
