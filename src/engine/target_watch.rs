//! Whether the target still holds what it held: looked at while keys are deleted from the source.
//!
//! ```text
//! look ──> prove, delete ──> prove, delete ──> … ──> look: nothing moved? forget the names : doubt
//! ```
//!
//! A look is one reading of INFO. Two looks between which nothing doubtful moved vouch for the time
//! between them: the target had each key when it was deleted on the source. What was deleted since the
//! last such look is kept by name; at the first doubt nothing more is deleted, and these names are told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use crate::command::ServerInfo;
use crate::config::Route;
use crate::error::{Error, Kind, Result, Side};
use crate::net::{Connection, Line, Link};
use crate::report::Stats;
use crate::resp::Value;
use crate::units;

/// The longest that keys are deleted without a look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After so many deleted keys there is a look, while others go on.
const LOOK_AFTER: usize = 512;
/// So many deleted keys are named, and the bytes of their names, at most: then a look is waited for.
const NAMED: usize = 4_096;
const NAMED_BYTES: usize = 4 << 20;
/// Commands that take away keys without naming them.
const FLUSHES: [&str; 3] = ["cmdstat_flushall", "cmdstat_flushdb", "cmdstat_swapdb"];
/// The questions of a look.
const QUESTIONS: [&[&[u8]]; 2] = [&[b"INFO"], &[b"INFO", b"commandstats"]];

/// What a target said of itself at one moment. What it does not tell is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Look {
    run_id: Option<String>,
    uptime: Option<u64>,
    replica: bool,
    history: Option<String>,
    evicted: Option<u64>,
    expired: Option<u64>,
    flushes: Option<u64>,
    /// Keys of each database, and how many of them have an expiry.
    keys: BTreeMap<u32, (u64, u64)>,
}

impl Look {
    /// Looks now.
    pub(super) async fn now(connection: &mut Connection) -> Result<Self> {
        let replies = connection.call_all(&QUESTIONS).await?;
        Self::read(connection, replies)
    }

    fn read(connection: &Connection, replies: Vec<Value>) -> Result<Self> {
        let mut texts = replies.into_iter();
        let (info, commands) = (texts.next(), texts.next());
        let Some(info) = info.as_ref().and_then(Value::bytes) else {
            let text = "unexpected reply to INFO: whether it still holds its keys is not known";
            return Err(connection.place(Error::new(Kind::Server, text)));
        };
        let commands = commands.as_ref().and_then(Value::bytes).unwrap_or_default();
        Ok(Self::of(
            &ServerInfo::parse(&String::from_utf8_lossy(info)),
            &String::from_utf8_lossy(commands),
        ))
    }

    fn of(info: &ServerInfo, commands: &str) -> Self {
        let keys = info.keyspace.iter().map(|(db, held)| (*db, (held.keys, held.expires)));
        Self {
            run_id: info.run_id.clone(),
            uptime: info.uptime,
            replica: info.replica,
            history: info.history.clone(),
            evicted: info.evicted_keys,
            expired: info.expired_keys,
            flushes: flushes(commands),
            keys: keys.collect(),
        }
    }

    /// Why keys may have been lost since an `earlier` look; the number of keys apart.
    pub(super) fn doubt_since(&self, earlier: &Self) -> Option<String> {
        let changed = |was: &Option<String>, is: &Option<String>| was.is_some() && was != is;
        let fell = |was: Option<u64>, is: Option<u64>| was.is_some_and(|was| is < Some(was));
        let restarted = self.run_id.is_none() && fell(earlier.uptime, self.uptime);
        if changed(&earlier.run_id, &self.run_id) || restarted {
            return Some("it was restarted, or another server took its place".to_owned());
        }
        if earlier.replica != self.replica || changed(&earlier.history, &self.history) {
            return Some("it became a replica, was promoted, or follows another server".to_owned());
        }
        if fell(earlier.evicted, self.evicted)
            || fell(earlier.expired, self.expired)
            || fell(earlier.flushes, self.flushes)
        {
            return Some("its counters were reset (CONFIG RESETSTAT)".to_owned());
        }
        self.taken_since(earlier, true)
    }

    /// How a process took keys away without being asked for each, as far as its counters tell; an
    /// eviction only where that counts.
    pub(super) fn taken_since(&self, earlier: &Self, evictions: bool) -> Option<String> {
        let grew = |was: Option<u64>, is: Option<u64>| match (was, is) {
            (Some(was), Some(is)) => is.saturating_sub(was),
            _ => 0,
        };
        if grew(earlier.flushes, self.flushes) > 0 {
            return Some("FLUSHALL, FLUSHDB or SWAPDB was called on it".to_owned());
        }
        let evicted = grew(earlier.evicted, self.evicted);
        (evictions && evicted > 0).then(|| {
            let keys = units::count(evicted);
            format!("its memory was full, and it evicted keys (evicted_keys: {keys})")
        })
    }

    /// Likewise, by the number of keys in these databases: they may only have expired.
    pub(super) fn fewer_since(&self, earlier: &Self, databases: &[u32]) -> Option<String> {
        let (mut fewer, mut expiring) = (0, 0);
        for database in databases {
            let of = |look: &Self| look.keys.get(database).copied().unwrap_or_default();
            let ((had, could), (has, can)) = (of(earlier), of(self));
            fewer += had.saturating_sub(has);
            expiring += could.saturating_sub(can);
        }
        // A replica does not count what its primary lets expire.
        let expired = match (self.expired, earlier.expired) {
            (Some(is), Some(was)) if !self.replica => is.saturating_sub(was),
            _ => expiring,
        };
        (fewer > expired).then(|| {
            let (fewer, expired) = (units::count(fewer), units::count(expired));
            format!("it lost {fewer} keys, and at most {expired} of them expired")
        })
    }
}

/// How often keys were taken away without being named; `None`: it does not tell.
fn flushes(commands: &str) -> Option<u64> {
    let mut told = false;
    let mut calls = 0;
    for line in commands.lines() {
        let Some((name, figures)) = line.trim_end().split_once(':') else { continue };
        told |= name.starts_with("cmdstat_");
        if FLUSHES.contains(&name) {
            let of = |part: &str| part.strip_prefix("calls=")?.parse::<u64>().ok();
            calls += figures.split(',').find_map(of).unwrap_or(0);
        }
    }
    told.then_some(calls)
}

/// The watch over a target, shared by all who delete.
pub(super) struct TargetWatch {
    endpoint: String,
    databases: Vec<u32>,
    known: Mutex<Known>,
    /// Held by whoever looks.
    turn: Turn<Line>,
}

struct Known {
    /// The last look without a doubt.
    last: Look,
    at: Instant,
    /// What was deleted since.
    since: Vec<(Route, Vec<u8>)>,
    bytes: usize,
    doubt: Option<Error>,
}

impl TargetWatch {
    /// Begins; the `link` must not end with what ends the run, or there is no last look. `before` is what was known of the target when it was given its keys.
    ///
    /// # Errors
    /// The target cannot be looked at, or may have lost keys since `before`.
    pub(super) async fn begin(link: Link, routes: &[Route], before: Option<&Look>) -> Result<Self> {
        let mut databases: Vec<u32> = routes.iter().map(|route| route.target).collect();
        databases.sort_unstable();
        databases.dedup();
        let mut line = Line::new(link);
        let last = look(&mut line).await?;
        if let Some(why) = before.and_then(|before| last.taken_since(before, true)) {
            let text = format!("keys may have been lost during the copy: {why}");
            let error = line.open().await?.place(Error::new(Kind::Server, text));
            return Err(error.advise(
                "nothing was deleted from the source; copy again with --if-exists replace once the \
                 target keeps its keys",
            ));
        }
        let endpoint = line.open().await?.server().endpoint.to_string();
        let known = Known { last, at: Instant::now(), since: Vec::new(), bytes: 0, doubt: None };
        Ok(Self { endpoint, databases, known: Mutex::new(known), turn: Turn::new(line) })
    }

    /// The last look without a doubt.
    pub(super) fn last(&self) -> Look {
        self.known().last.clone()
    }

    /// Whether keys may be compared and deleted: looks at the target first where that is due.
    ///
    /// # Errors
    /// There is a doubt, or the target cannot be looked at.
    pub(super) async fn permit(&self) -> Result<()> {
        loop {
            self.refuse_doubt()?;
            let (due, full) = self.due();
            let mut line = match (due, full) {
                (false, _) => return Ok(()),
                (true, true) => self.turn.lock().await,
                (true, false) => match self.turn.try_lock() {
                    Ok(line) => line,
                    Err(_) => return Ok(()),
                },
            };
            // Somebody may have looked meanwhile.
            if self.due().0 {
                self.look(&mut line).await?;
            }
        }
    }

    /// Refuses where there is a doubt already.
    ///
    /// # Errors
    /// The doubt.
    pub(super) fn refuse_doubt(&self) -> Result<()> {
        self.known().doubt.clone().map_or(Ok(()), Err)
    }

    /// A key was deleted from the source, or nobody knows whether it was.
    pub(super) fn deleted(&self, route: Route, name: &[u8]) {
        let mut known = self.known();
        known.bytes += name.len();
        known.since.push((route, name.to_vec()));
    }

    /// Nothing more is deleted: looks for the last time, and names what is in doubt.
    ///
    /// # Errors
    /// There is a doubt, or the target cannot be looked at.
    pub(super) async fn end(&self, stats: &Stats) -> Result<()> {
        let mut line = self.turn.lock().await;
        let looked = match self.refuse_doubt() {
            Ok(()) => self.look(&mut line).await,
            doubt => doubt,
        };
        if let Err(error) = &looked {
            let why = format!(
                "deleted from the source, and perhaps lost on the target: {}",
                error.message()
            );
            for (route, name) in std::mem::take(&mut self.known().since) {
                stats.doubt((route.source, route.target), &name, &why);
            }
        }
        looked
    }

    fn due(&self) -> (bool, bool) {
        let known = self.known();
        let full = known.since.len() >= NAMED || known.bytes >= NAMED_BYTES;
        let late = known.at.elapsed() >= LOOK_EVERY;
        (full || late || known.since.len() >= LOOK_AFTER, full)
    }

    async fn look(&self, line: &mut Line) -> Result<()> {
        let (before, vouched) = {
            let known = self.known();
            (known.last.clone(), known.since.len())
        };
        let looked = look(line).await;
        let doubt = match &looked {
            Ok(now) => now
                .doubt_since(&before)
                .or_else(|| now.fewer_since(&before, &self.databases))
                .map(|why| format!("keys may have been lost there: {why}")),
            Err(error) => {
                let why = error.message();
                Some(format!("whether it still holds its keys cannot be seen any more: {why}"))
            }
        };
        let mut known = self.known();
        if let Some(why) = doubt {
            let advice = "nothing more is deleted; look on the target for the keys that are listed \
                          (deleted_in_doubt in the report)";
            let error =
                Error::new(Kind::Server, why).at(Side::Target, &self.endpoint).advise(advice);
            known.doubt = Some(error.clone());
            return Err(error);
        }
        if let Ok(now) = looked {
            known.last = now;
        }
        known.at = Instant::now();
        let vouched: usize = known.since.drain(..vouched).map(|(_, name)| name.len()).sum();
        known.bytes -= vouched;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(line: &mut Line) -> Result<Look> {
    let replies = line.ask_all(&QUESTIONS).await?;
    Look::read(line.open().await?, replies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, commands: &str) -> Look {
        Look::of(&ServerInfo::parse(&text.replace(' ', "\n")), commands)
    }

    #[test]
    fn what_takes_keys_away_is_a_doubt_and_work_is_none() {
        let text = "run_id:a uptime_in_seconds:9 role:master master_replid:x evicted_keys:3 \
                    expired_keys:5 db0:keys=9,expires=2";
        let flushed = "cmdstat_info:calls=1\ncmdstat_flushdb:calls=2,usec=1\n";
        let first = at(text, flushed);
        assert_eq!(first.flushes, Some(2));
        let later =
            at(&text.replace("seconds:9", "seconds:10").replace("keys=9", "keys=12"), flushed);
        assert_eq!(later.doubt_since(&first), None);
        assert_eq!(later.fewer_since(&first, &[0]), None);
        for (was, is, word) in [
            ("run_id:a", "run_id:b", "restarted"),
            ("run_id:a", "", "restarted"),
            ("role:master", "role:slave", "replica"),
            ("replid:x", "replid:y", "replica"),
            ("evicted_keys:3", "evicted_keys:4", "evicted_keys: 1"),
            ("evicted_keys:3", "evicted_keys:0", "RESETSTAT"),
            ("expired_keys:5", "expired_keys:1", "RESETSTAT"),
        ] {
            let doubt = at(&text.replace(was, is), flushed).doubt_since(&first);
            assert!(doubt.as_ref().is_some_and(|why| why.contains(word)), "{is}: {doubt:?}");
        }
        let nameless = |seconds| at(&format!("uptime_in_seconds:{seconds}"), "");
        assert!(nameless(8).doubt_since(&nameless(9)).is_some());
        assert_eq!(nameless(9).doubt_since(&nameless(9)), None);
        for commands in ["cmdstat_info:calls=2\ncmdstat_swapdb:calls=1,usec=1", ""] {
            assert!(at(text, commands).doubt_since(&first).is_some(), "{commands}");
        }
    }

    #[test]
    fn keys_may_expire_and_not_vanish() {
        let look = |keys: u64, expires: u64, expired: u64, role: &str| {
            let db = format!("db1:keys={keys},expires={expires}");
            at(&format!("role:{role} expired_keys:{expired} {db} db2:keys=7"), "")
        };
        let first = look(9, 4, 0, "master");
        assert_eq!(look(7, 2, 2, "master").fewer_since(&first, &[1]), None);
        assert!(look(6, 2, 2, "master").fewer_since(&first, &[1]).is_some());
        assert!(at("role:master expired_keys:0", "").fewer_since(&first, &[1]).is_some());
        // Of another database.
        assert_eq!(look(6, 2, 2, "master").fewer_since(&first, &[2]), None);
        let replica = look(9, 4, 0, "slave");
        assert_eq!(look(7, 2, 0, "slave").fewer_since(&replica, &[1]), None);
        assert!(look(7, 3, 0, "slave").fewer_since(&replica, &[1]).is_some());
    }
}
