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

use super::upheaval::{Upheaval, between};
use crate::command::ServerInfo;
use crate::command::calls::Calls;
use crate::command::lineage::Lineage;
use crate::config::Route;
use crate::error::{Error, Kind, Result, Side};
use crate::net::{Connection, Line, Link};
use crate::report::Stats;
use crate::units;

/// The longest that keys are deleted without a look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After so many deleted keys there is a look, while others go on.
const LOOK_AFTER: usize = 512;
/// So many deleted keys are named, and the bytes of their names, at most: then a look is waited for.
const NAMED: usize = 4_096;
const NAMED_BYTES: usize = 4 << 20;

/// Nobody knows what happened before that.
const RESET: &str = "its counters were reset (CONFIG RESETSTAT)";

/// What a target said of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Look {
    run_id: Option<String>,
    uptime: Option<u64>,
    replica: bool,
    #[serde(default)]
    lineage: Lineage,
    evicted: Option<u64>,
    expired: Option<u64>,
    #[serde(default)]
    calls: Option<Calls>,
    /// Keys of each database, and how many of them have an expiry.
    keys: BTreeMap<u32, (u64, u64)>,
}

impl Look {
    /// Looks now.
    pub(super) async fn now(connection: &mut Connection) -> Result<Self> {
        Ok(Self::of(&connection.info().await?))
    }

    /// What a server has told.
    pub(super) fn of(info: &ServerInfo) -> Self {
        let keys = info.keyspace.iter().map(|(db, held)| (*db, (held.keys, held.expires)));
        Self {
            run_id: info.run_id.clone(),
            uptime: info.uptime,
            replica: info.replica,
            lineage: Lineage::of(info),
            evicted: info.evicted_keys,
            expired: info.expired_keys,
            calls: info.calls.clone(),
            keys: keys.collect(),
        }
    }

    /// What a watch needs and this does not tell.
    pub(super) fn untold(&self) -> Option<String> {
        let needed = [
            ("evicted_keys", self.evicted.is_some()),
            ("expired_keys", self.expired.is_some()),
            ("commandstats", self.calls.is_some()),
        ];
        let (missing, _) = needed.into_iter().find(|(_, told)| !told)?;
        Some(format!("it does not report {missing} (INFO)"))
    }

    /// Why keys may have been lost since an `earlier` look; the number of keys apart.
    pub(super) fn doubt_since(&self, earlier: &Self) -> Option<String> {
        let changed = |was: &Option<String>, is: &Option<String>| was.is_some() && was != is;
        let fell = |was: Option<u64>, is: Option<u64>| was.is_some_and(|was| is < Some(was));
        let restarted = self.run_id.is_none() && fell(earlier.uptime, self.uptime);
        if changed(&earlier.run_id, &self.run_id) || restarted {
            return Some("it was restarted, or another server took its place".to_owned());
        }
        if earlier.replica != self.replica || self.lineage.is_other_since(&earlier.lineage) {
            return Some("it became a replica, was promoted, or follows another server".to_owned());
        }
        if fell(earlier.evicted, self.evicted)
            || fell(earlier.expired, self.expired)
            || self.upheaval_since(earlier) == Upheaval::Reset
        {
            return Some(RESET.to_owned());
        }
        if self.upheaval_since(earlier) == Upheaval::Untold {
            return Some(
                "it does not report which commands were called (INFO commandstats), or only what it \
                 reported before"
                    .to_owned(),
            );
        }
        self.taken_since(earlier, true)
    }

    /// Whether databases were exchanged or emptied since an `earlier` look.
    pub(super) fn upheaval_since(&self, earlier: &Self) -> Upheaval {
        between(earlier.calls.as_ref(), self.calls.as_ref())
    }

    /// How a process took keys away without being asked for each, as far as its counters tell; an
    /// eviction only where that counts.
    pub(super) fn taken_since(&self, earlier: &Self, evictions: bool) -> Option<String> {
        let grew = |was: Option<u64>, is: Option<u64>| match (was, is) {
            (Some(was), Some(is)) => is.saturating_sub(was),
            _ => 0,
        };
        match self.upheaval_since(earlier) {
            // What is not known is looked for.
            Upheaval::None | Upheaval::Replaced | Upheaval::Untold | Upheaval::Reset => {}
            Upheaval::Called(command) | Upheaval::OfAnother(command) => {
                return Some(format!("{} was called on it", command.to_uppercase()));
            }
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
        let lost = before.and_then(|before| last.taken_since(before, true));
        if let Some(why) = lost.or_else(|| last.untold()) {
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
                .or_else(|| self.holds_nothing(&before, now))
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

    /// Why what it tells of its databases is not true: one holds nothing that held the keys which were
    /// deleted from the source since.
    fn holds_nothing(&self, before: &Look, now: &Look) -> Option<String> {
        let known = self.known();
        let empty =
            |route: &Route| [before, now].iter().all(|look| !look.keys.contains_key(&route.target));
        let (route, _) = known.since.iter().find(|(route, _)| empty(route))?;
        (before.expired == now.expired).then(|| {
            format!(
                "it reports no keys in database {}, which held some (INFO keyspace)",
                route.target
            )
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(line: &mut Line) -> Result<Look> {
    Ok(Look::of(&line.info().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, commands: &str) -> Look {
        Look::of(&ServerInfo::parse(&format!("{text} {commands}").replace(' ', "\n")))
    }

    #[test]
    fn what_takes_keys_away_is_a_doubt_and_work_is_none() {
        let text = "run_id:a uptime_in_seconds:9 role:master master_replid:x evicted_keys:3 \
                    expired_keys:5 db0:keys=9,expires=2";
        let first = at(text, "cmdstat_info:calls=1 cmdstat_flushdb:calls=2,usec=1");
        let next = "cmdstat_info:calls=3 cmdstat_flushdb:calls=2,usec=1";
        let later = at(&text.replace("seconds:9", "seconds:10").replace("keys=9", "keys=12"), next);
        assert_eq!((later.doubt_since(&first), later.untold()), (None, None));
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
            let doubt = at(&text.replace(was, is), next).doubt_since(&first);
            assert!(doubt.as_ref().is_some_and(|why| why.contains(word)), "{is}: {doubt:?}");
        }
        let nameless = |seconds, commands| at(&format!("uptime_in_seconds:{seconds}"), commands);
        let (one, two) = ("cmdstat_info:calls=1", "cmdstat_info:calls=2");
        assert!(nameless(8, two).doubt_since(&nameless(9, one)).is_some());
        assert_eq!(nameless(9, two).doubt_since(&nameless(9, one)), None);
        for commands in [
            "cmdstat_info:calls=3 cmdstat_flushdb:calls=2 cmdstat_swapdb:calls=1,usec=1",
            // Reset, and called again as often as before.
            "cmdstat_info:calls=1 cmdstat_flushdb:calls=2",
            "",
        ] {
            assert!(at(text, commands).doubt_since(&first).is_some(), "{commands}");
        }
    }

    #[test]
    fn what_the_watch_needs_is_missed() {
        let told = "evicted_keys:0 expired_keys:0";
        assert_eq!(at(told, "cmdstat_info:calls=1").untold(), None);
        for (missing, text, commands) in [
            ("evicted_keys", "expired_keys:0", "cmdstat_info:calls=1"),
            ("expired_keys", "evicted_keys:0", "cmdstat_info:calls=1"),
            ("commandstats", told, ""),
        ] {
            assert!(at(text, commands).untold().is_some_and(|why| why.contains(missing)));
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
