//! Looks again at keys that seemed to differ, so that only what really differs is told.
//!
//! A key may have been written, or have expired, between the two sides' answers. So doubts are kept
//! until everything was compared once, and are looked at in rounds with growing waits: what agrees
//! in one of them is settled. The list is bounded; where it is full, its older half is looked at
//! once, and settled by that.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::doubt::Doubt;
use super::equal::Judge;
use super::late::Late;
use super::look::{Eyes, Finding, GROUP, extra, held};
use crate::command::keyspace;
use crate::config::Filter;
use crate::error::{Error, Kind, Result};
use crate::flow::name_of;
use crate::net::{Connection, Link};
use crate::report::{Count, DatabaseStats, Difference, DifferenceKind, Ledger, Stats};
use crate::source::window::Seen;

/// The waits before the rounds.
const WAITS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// A source database that belongs to the target database.
pub struct Origin {
    /// Its number.
    pub db: u32,
    /// The way to it.
    pub link: Link,
    /// Where its keys are counted.
    pub ledger: Ledger,
    /// The copy's own counters: they know which keys kept the target's value.
    pub copied: Option<Arc<DatabaseStats>>,
}

/// What the settling works with.
pub struct Settle {
    /// The source databases that go into the target database.
    pub origins: Vec<Origin>,
    /// The number of the target database.
    pub target_db: u32,
    /// The way to it.
    pub target: Link,
    /// When expiries are the same.
    pub judge: Judge,
    /// Which keys are compared.
    pub filter: Filter,
    /// What is to be looked at.
    pub doubts: mpsc::Receiver<Doubt>,
    /// How many doubts may wait, and how many bytes their keys may have.
    pub most: (usize, usize),
    /// Takes what differs.
    pub stats: Arc<Stats>,
    /// Takes keys that are missing, as far as it can, in place of `stats`.
    pub late: Option<Late>,
    /// Held by the one task that has a long value in memory whole.
    pub whole: Arc<Semaphore>,
    /// Ends the waiting, not the looking.
    pub stop: CancellationToken,
}

/// Connections of the looks; most runs need none.
struct Connections {
    sources: Vec<Connection>,
    target: Connection,
}

/// Settles every doubt.
///
/// # Errors
/// A connection broke for good, or a server refuses what every key needs; the keys that wait are
/// counted as failed.
pub async fn settle(mut settle: Settle) -> Result<()> {
    let mut waiting: VecDeque<(Instant, Doubt)> = VecDeque::new();
    let mut connections = None;
    let result = settle.settle_all(&mut waiting, &mut connections).await;
    if let Err(error) = &result {
        settle.stop.cancel();
        settle.doubts.close();
        while let Some(doubt) = settle.doubts.recv().await {
            waiting.push_back((Instant::now(), doubt));
        }
        for (_, doubt) in &waiting {
            if let Some(origin) = settle.origin(doubt) {
                origin.ledger.fail(name_of(&doubt.key), error.message());
            }
        }
    }
    result
}

impl Settle {
    async fn settle_all(
        &mut self,
        waiting: &mut VecDeque<(Instant, Doubt)>,
        connections: &mut Option<Connections>,
    ) -> Result<()> {
        let (most, most_bytes) = self.most;
        let mut bytes = 0;
        while let Some(doubt) = self.doubts.recv().await {
            bytes += doubt.key.len();
            waiting.push_back((Instant::now(), doubt));
            if waiting.len() < most && bytes < most_bytes {
                continue;
            }
            let mut older: VecDeque<_> = waiting.drain(..waiting.len().div_ceil(2)).collect();
            if let Some((since, _)) = older.back() {
                self.wait_until(*since + WAITS[0]).await;
            }
            let found = self.look_at_all(&mut older, connections).await;
            waiting.extend(older);
            self.tell(found?);
            bytes = waiting.iter().map(|(_, doubt)| doubt.key.len()).sum();
        }
        let mut rounds = WAITS.iter();
        while !waiting.is_empty() {
            let wait = rounds.next().filter(|_| !self.stop.is_cancelled());
            self.wait_until(Instant::now() + wait.copied().unwrap_or_default()).await;
            let found = self.look_at_all(waiting, connections).await?;
            if rounds.len() == 0 || self.stop.is_cancelled() {
                self.tell(found);
                break;
            }
            let now = Instant::now();
            waiting.extend(found.into_iter().map(|(doubt, _)| (now, doubt)));
        }
        Ok(())
    }

    fn origin(&self, doubt: &Doubt) -> Option<&Origin> {
        doubt.source.and_then(|at| self.origins.get(at))
    }

    async fn wait_until(&self, at: Instant) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = sleep_until(at) => {}
        }
    }

    /// Looks at all doubts of a list, which leave it; answers those that still differ, the others are
    /// settled. After a failure the list holds what is not settled.
    async fn look_at_all(
        &self,
        waiting: &mut VecDeque<(Instant, Doubt)>,
        connections: &mut Option<Connections>,
    ) -> Result<Vec<(Doubt, Finding)>> {
        let mut differing: Vec<(Doubt, Finding)> = Vec::new();
        waiting.make_contiguous().sort_by_key(|(_, doubt)| doubt.source);
        while let Some((_, first)) = waiting.front() {
            let source = first.source;
            let group: Vec<Doubt> = waiting
                .iter()
                .take(GROUP)
                .take_while(|(_, doubt)| doubt.source == source)
                .map(|(_, doubt)| doubt.clone())
                .collect();
            let findings = match self.look_until_answered(source, &group, connections).await {
                Ok(findings) => findings,
                Err(error) => {
                    let now = Instant::now();
                    waiting.extend(differing.into_iter().map(|(doubt, _)| (now, doubt)));
                    return Err(error);
                }
            };
            drop(waiting.drain(..group.len()));
            for (doubt, finding) in group.into_iter().zip(findings) {
                match (finding, self.origin(&doubt)) {
                    (finding @ Finding::Differs(..), _) => differing.push((doubt, finding)),
                    (Finding::Same, Some(origin)) => origin.ledger.add(Count::Compared, 1),
                    (Finding::Gone, Some(origin)) => origin.ledger.add(Count::Expired, 1),
                    (Finding::Refused(why), Some(origin)) => {
                        origin.ledger.fail(name_of(&doubt.key), &why);
                    }
                    (Finding::Refused(why), None) => {
                        let finding = Finding::Differs(DifferenceKind::Extra, why);
                        differing.push((doubt, finding));
                    }
                    (Finding::Same | Finding::Gone, None) => {}
                }
            }
        }
        Ok(differing)
    }

    /// Looks at a group; connections that break are made again.
    async fn look_until_answered(
        &self,
        source: Option<usize>,
        group: &[Doubt],
        connections: &mut Option<Connections>,
    ) -> Result<Vec<Finding>> {
        let began = Instant::now();
        let keys: Vec<&[u8]> = group.iter().map(|doubt| doubt.key.as_slice()).collect();
        loop {
            let open = match connections.take() {
                Some(open) => open,
                None => self.connect().await?,
            };
            let open = connections.insert(open);
            let looked = match source {
                Some(at) => self.look(open, at, &keys).await,
                None => self.look_for_extras(open, &keys).await,
            };
            let error = match looked {
                Ok(findings) => return Ok(findings),
                Err(error) if !error.passes() => return Err(error),
                Err(error) => error,
            };
            *connections = None;
            let link = self.origins.first().map_or(&self.target, |origin| &origin.link);
            link.reconnect(error, began).await?;
        }
    }

    async fn connect(&self) -> Result<Connections> {
        let mut sources = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            sources.push(origin.link.connect().await?);
        }
        Ok(Connections { sources, target: self.target.connect().await? })
    }

    async fn look(
        &self,
        open: &mut Connections,
        at: usize,
        keys: &[&[u8]],
    ) -> Result<Vec<Finding>> {
        let Some(source) = open.sources.get_mut(at) else {
            return Err(Error::new(Kind::State, "a doubt of a database that is not compared"));
        };
        let target = &mut open.target;
        let (judge, whole, stop) = (self.judge, &*self.whole, &self.stop);
        let mut seen = Seen::default();
        Eyes { source, watched: false, target, judge, whole, stop, seen: &mut seen }
            .look(keys)
            .await
    }

    /// A key of the target is not an extra one if any of the sources holds it, whatever it holds; but of
    /// a type that is not compared, only this look finds it.
    async fn look_for_extras(
        &self,
        open: &mut Connections,
        keys: &[&[u8]],
    ) -> Result<Vec<Finding>> {
        let mut findings = vec![extra(); keys.len()];
        let mut lacking: Vec<usize> = (0..keys.len()).collect();
        for source in &mut open.sources {
            let told = held(source, &chosen(keys, &lacking)).await?;
            for (&at, told) in lacking.iter().zip(told) {
                let Some(finding) = findings.get_mut(at) else { continue };
                match told {
                    Ok(true) => *finding = Finding::Same,
                    Ok(false) => {}
                    Err(why) => {
                        *finding = Finding::Refused(format!("the source does not tell: {why}"));
                    }
                }
            }
            lacking.retain(|&at| findings.get(at) != Some(&Finding::Same));
        }
        let told = held(&mut open.target, &chosen(keys, &lacking)).await?;
        for (at, told) in lacking.into_iter().zip(told) {
            if let Some(finding) = findings.get_mut(at).filter(|_| told == Ok(false)) {
                *finding = Finding::Gone;
            }
        }
        self.leave_expired_out(open, keys, &mut findings).await?;
        if !self.filter.types.is_empty() {
            self.compare_types(open, keys, &mut findings).await?;
        }
        Ok(findings)
    }

    /// A hash all of whose fields have expired is not there, though the target stores it.
    async fn leave_expired_out(
        &self,
        open: &mut Connections,
        keys: &[&[u8]],
        findings: &mut [Finding],
    ) -> Result<()> {
        let only_there: Vec<usize> =
            (0..keys.len()).filter(|&at| findings.get(at) == Some(&extra())).collect();
        if only_there.is_empty() {
            return Ok(());
        }
        let looked = self.look(open, 0, &chosen(keys, &only_there)).await?;
        for (at, looked) in only_there.into_iter().zip(looked) {
            if let Some(finding) = findings.get_mut(at).filter(|_| looked == Finding::Gone) {
                *finding = Finding::Gone;
            }
        }
        Ok(())
    }

    /// Finds the keys that the target holds as a type that is compared, and no source does.
    async fn compare_types(
        &self,
        open: &mut Connections,
        keys: &[&[u8]],
        findings: &mut [Finding],
    ) -> Result<()> {
        let held: Vec<usize> =
            (0..keys.len()).filter(|&at| findings.get(at) == Some(&Finding::Same)).collect();
        let chosen = chosen(keys, &held);
        let at_target = types(&mut open.target, &chosen).await?;
        let mut at_sources = Vec::new();
        for source in &mut open.sources {
            at_sources.push(types(source, &chosen).await?);
        }
        for (place, (at, on_target)) in held.into_iter().zip(at_target).enumerate() {
            let of_sources: Vec<&str> =
                at_sources.iter().filter_map(|of| of.get(place)?.as_deref()).collect();
            let admitted = |name: &str| self.filter.admits_type(name.as_bytes());
            let other = of_sources.iter().find(|name| **name != "none");
            if let (Some(on_target), Some(other), Some(finding)) =
                (on_target.filter(|name| admitted(name)), other, findings.get_mut(at))
                && !of_sources.iter().any(|name| admitted(name))
            {
                let what = format!("a {other} on the source, a {on_target} on the target");
                *finding = Finding::Differs(DifferenceKind::Different, what);
            }
        }
        Ok(())
    }

    /// Whether a key kept the target's own value, as it was to, or will be copied late.
    fn is_no_difference(&self, origin: &Origin, kind: DifferenceKind, key: &[u8]) -> bool {
        match kind {
            DifferenceKind::Different | DifferenceKind::Expiry => {
                origin.copied.as_ref().is_some_and(|copied| copied.is_own(name_of(key)))
            }
            DifferenceKind::Missing => {
                let place = (origin.db, self.target_db);
                self.late.as_ref().is_some_and(|late| late.hold(place, key))
            }
            DifferenceKind::Extra | DifferenceKind::Kept | DifferenceKind::Uncompared => false,
        }
    }

    /// Tells what differs, each key once.
    fn tell(&self, found: Vec<(Doubt, Finding)>) {
        let extras: HashSet<Vec<u8>> = found
            .iter()
            .filter(|(doubt, _)| doubt.source.is_none())
            .map(|(doubt, _)| doubt.key.clone())
            .collect();
        for (doubt, finding) in found {
            let Finding::Differs(kind, what) = finding else { continue };
            if let Some(origin) = self.origin(&doubt) {
                let gone = kind == DifferenceKind::Extra;
                origin.ledger.add(if gone { Count::Expired } else { Count::Compared }, 1);
                if gone && extras.contains(&doubt.key) {
                    // Seen from the target's side as well.
                    continue;
                }
            }
            let origin = self.origin(&doubt).or_else(|| self.origins.first());
            if origin.is_some_and(|origin| self.is_no_difference(origin, kind, &doubt.key)) {
                continue;
            }
            self.stats.differences().tell(Difference {
                db: origin.map_or(self.target_db, |origin| origin.db),
                target_db: self.target_db,
                key: name_of(&doubt.key).escape_ascii().to_string(),
                kind,
                what,
            });
        }
    }
}

/// The types of keys, as TYPE names them (`none`: it is not there); `None`: the server does not tell.
async fn types(connection: &mut Connection, keys: &[&[u8]]) -> Result<Vec<Option<String>>> {
    keys.iter().for_each(|key| keyspace::key_type(connection.output(), key));
    let told = connection.receive(keys.len()).await?;
    Ok(told.iter().map(|told| told.text().map(str::to_owned)).collect())
}

/// The keys at these places.
fn chosen<'a>(keys: &[&'a [u8]], places: &[usize]) -> Vec<&'a [u8]> {
    places.iter().filter_map(|&at| keys.get(at).copied()).collect()
}
