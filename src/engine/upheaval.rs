//! Was a database emptied, or exchanged for another, while its keys were read, written or deleted?
//!
//! Neither SCAN nor a look at names can tell: after SWAPDB both go on in the other database, and keys that
//! nobody touched are read twice or not at all, or lie under a number that is not theirs. The server's
//! count of commands shows it (`INFO commandstats`); where that is hidden, only a count of changes
//! that stood still does.

use serde::{Deserialize, Serialize};

use crate::command::ServerInfo;
use crate::command::calls::Calls;
use crate::command::changes::Changes;
use crate::command::lineage::Lineage;
use crate::error::{Error, Kind, Result};
use crate::net::{Line, Link};

/// What exchanges or empties databases, without naming a key.
const COMMANDS: [&str; 3] = ["swapdb", "flushall", "flushdb"];
/// What every reading is made by, so that the next one counts it.
const READING: &str = "info";

/// What a server said of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    run_id: Option<String>,
    calls: Option<Calls>,
    changes: Option<Changes>,
    #[serde(default)]
    lineage: Lineage,
}

/// What happened between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upheaval {
    /// None of these commands was called.
    None,
    /// This one was.
    Called(&'static str),
    /// This one was, of another process, which may have run for long.
    OfAnother(&'static str),
    /// It took over the data of another server, as a replica does.
    Replaced,
    /// The server counted commands at first, and no more, or less than before: nobody knows.
    Reset,
    /// The server never told, or what it tells is not of these moments.
    Untold,
}

/// What the counts of two moments tell.
pub(super) fn between(was: Option<&Calls>, is: Option<&Calls>) -> Upheaval {
    let Some(was) = was else { return Upheaval::Untold };
    match is.and_then(|is| is.since(was)) {
        None => Upheaval::Reset,
        // Kept by somebody in between, and handed out again.
        Some(called) if !called.contains(&READING) => Upheaval::Untold,
        Some(called) => COMMANDS
            .into_iter()
            .find(|command| called.contains(command))
            .map_or(Upheaval::None, Upheaval::Called),
    }
}

/// Source and target of a comparison, as they were at one moment.
pub(super) struct Sides(pub(super) [(Link, Before); 2]);

impl Sides {
    /// The present moment, and that another process answers for a side than before.
    ///
    /// # Errors
    /// What was seen of one side until then may not be what it holds, since its databases were exchanged, emptied or
    /// replaced. Or one of them does not answer.
    pub(super) async fn until_now(self) -> Result<(Self, Option<Error>)> {
        let [source, target] = self.0;
        let (source, of_source) = of_side(source).await?;
        let (target, of_target) = of_side(target).await?;
        Ok((Self([source, target]), of_source.or(of_target)))
    }
}

/// Likewise, of one side.
async fn of_side((link, before): (Link, Before)) -> Result<((Link, Before), Option<Error>)> {
    let mut line = Line::new(link.clone());
    let now = Before::now(&mut line).await?;
    let other = before.is_of_another_process(&now);
    let found = if other { Some(restarted()) } else { before.until(&now).while_read() };
    let Some(error) = found else { return Ok(((link, now), None)) };
    let error = line.open().await?.place(error);
    if other { Ok(((link, now), Some(error))) } else { Err(error) }
}

/// Another process answers.
fn restarted() -> Error {
    let text = "it was restarted, or another server took its place, while it was compared: what was compared \
                before may be lost there";
    Error::new(Kind::Server, text).advise("compare both sides again by `keyferry verify`")
}

impl Before {
    /// Asks a server.
    ///
    /// # Errors
    /// The connection broke for good.
    pub(super) async fn now(line: &mut Line) -> Result<Self> {
        Ok(Self::of(&line.info().await?))
    }

    /// Asks a server that may be gone by now, and is not waited for.
    pub(super) async fn if_there(line: &mut Line) -> Option<Self> {
        Some(Self::of(&line.open().await.ok()?.info().await.ok()?))
    }

    /// What a server has told.
    pub(super) fn of(info: &ServerInfo) -> Self {
        Self {
            run_id: info.run_id.clone(),
            calls: info.calls.clone(),
            changes: info.changes,
            lineage: Lineage::of(info),
        }
    }

    /// How many changes it counted, and which commands.
    pub(super) fn counts(self) -> (Option<Changes>, Option<Calls>) {
        (self.changes, self.calls)
    }

    /// Whether a later moment is of another process.
    pub(super) fn is_of_another_process(&self, now: &Self) -> bool {
        self.run_id.is_some() && self.run_id != now.run_id
    }

    /// Compares with a later moment.
    pub(super) fn until(&self, now: &Self) -> Upheaval {
        if let (Some(was), Some(is)) = (self.changes, now.changes)
            && is.certainly_unchanged_since(was)
        {
            return Upheaval::None;
        }
        let restarted = self.is_of_another_process(now);
        if !restarted && now.lineage.is_other_since(&self.lineage) {
            return Upheaval::Replaced;
        }
        // Another process has counted from 0; what its start lost is looked for elsewhere.
        let zero = Calls::default();
        let was = if restarted { Some(&zero) } else { self.calls.as_ref() };
        match between(was, now.calls.as_ref()) {
            Upheaval::Called(command) if restarted => Upheaval::OfAnother(command),
            upheaval => upheaval,
        }
    }
}

impl Upheaval {
    /// Why what was read of a server is not whole; `None`: as far as is known, it is.
    pub(super) fn while_read(&self) -> Option<Error> {
        match self {
            Self::Untold => None,
            _ => self.while_saved(),
        }
    }

    /// Likewise, of what was saved: also where the server never told, and nobody can compare it later.
    pub(super) fn while_saved(&self) -> Option<Error> {
        let text = match self {
            Self::None => return None,
            Self::Untold => "whether its databases were exchanged or emptied while they were read is \
                             not known: it does not report which commands were called (INFO \
                             commandstats)"
                .to_owned(),
            Self::Called("swapdb") => {
                "databases of it were exchanged (SWAPDB) while they were read: keys that nobody wrote \
                 may have been read twice or not at all"
                    .to_owned()
            }
            Self::Called(command) => format!(
                "{} was called on it while its keys were read: what it removed is not there, or only \
                 in part",
                command.to_uppercase()
            ),
            Self::OfAnother(command) => format!(
                "it was restarted, or another server took its place, and on that {} was called at some time: \
                 what was read may not be what it holds",
                command.to_uppercase()
            ),
            Self::Replaced => "it took over the data of another server while it was read, or its own \
                               again (a full synchronisation of a replica): what was read may be a \
                               mixture"
                .to_owned(),
            Self::Reset => "whether its databases were exchanged or emptied while they were read is \
                            not known: its counters were reset (CONFIG RESETSTAT)"
                .to_owned(),
        };
        Some(Error::new(Kind::Server, text).advise("run it again while nobody does that"))
    }

    /// Why what was written to a target may not be where it belongs, although it is there by name; what
    /// FLUSHALL and FLUSHDB took away is missed by name.
    pub(super) fn while_written(&self) -> Option<Error> {
        let text = match self {
            Self::None
            | Self::Untold
            | Self::Called("flushall" | "flushdb")
            | Self::OfAnother("flushall" | "flushdb") => return None,
            Self::Called(_) | Self::OfAnother(_) => {
                "databases of it were exchanged (SWAPDB) while they were written: keys may be in the \
                 database that they do not belong to, and others in their place"
                    .to_owned()
            }
            Self::Replaced => "it took over the data of another server while it was written, or its \
                               own again (a full synchronisation of a replica): what was written \
                               before may be lost"
                .to_owned(),
            Self::Reset => "whether its databases were exchanged while they were written is not known: \
                            its counters were reset (CONFIG RESETSTAT)"
                .to_owned(),
        };
        Some(Error::new(Kind::Server, text).advise(
            "compare both sides by `keyferry verify`, or copy again with --if-exists replace \
             while nobody does that",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_is_not_taken_for_nothing() {
        let calls = |told: &str| Calls::parse(&told.replace(' ', "\n"));
        let first = calls("cmdstat_info:calls=3 cmdstat_swapdb:calls=1");
        for (later, expected) in [
            ("cmdstat_info:calls=5 cmdstat_swapdb:calls=1 cmdstat_set:calls=9", Upheaval::None),
            ("cmdstat_info:calls=5 cmdstat_swapdb:calls=2", Upheaval::Called("swapdb")),
            (
                "cmdstat_info:calls=5 cmdstat_swapdb:calls=1 cmdstat_flushall:calls=1",
                Upheaval::Called("flushall"),
            ),
            ("cmdstat_info:calls=1", Upheaval::Reset),
            ("", Upheaval::Reset),
            // Nobody asked, and it was answered.
            ("cmdstat_info:calls=3 cmdstat_swapdb:calls=1", Upheaval::Untold),
        ] {
            assert_eq!(between(first.as_ref(), calls(later).as_ref()), expected, "{later}");
        }
        assert_eq!(between(None, first.as_ref()), Upheaval::Untold);
        let of = |run_id: &str, told: &str| {
            Before::of(&ServerInfo {
                run_id: Some(run_id.to_owned()),
                calls: calls(told),
                ..ServerInfo::default()
            })
        };
        let before = of("a", "cmdstat_info:calls=3 cmdstat_swapdb:calls=1");
        assert_eq!(before.until(&of("a", "cmdstat_info:calls=1")), Upheaval::Reset);
        assert_eq!(before.until(&of("b", "cmdstat_info:calls=1")), Upheaval::None);
        let swapped = of("b", "cmdstat_info:calls=1 cmdstat_swapdb:calls=1");
        assert_eq!(before.until(&swapped), Upheaval::OfAnother("swapdb"));
    }
}
