//! One pair of connections that compares groups of keys and deletes those that are equal.
//!
//! The keys of a group are watched on the source before either side is read, so that a write to one
//! of them refuses the deletion. Then only what differs is left: it is looked at once more a little
//! later, since a key may have expired, or been written on both sides, between two answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::deletion::{Accounts, Deletion};
use crate::config::Route;
use crate::error::{Error, Kind, Result, Side};
use crate::flow::{KeyQueue, Pace, name_of};
use crate::net::{Connection, Line, Link, given_up};
use crate::report::{Count, Difference, DifferenceKind, Ledger, Stats};
use crate::source::cuts::WHERE_TO_LOOK;
use crate::source::unlink::{Removed, delete_watched, unwatch, watch};
use crate::source::window::{Seen, Window};
use crate::verify::{Eyes, Finding, Judge};

/// Keys in one transaction, attempt by attempt: a single one that is written to spoils it for all.
const TOGETHER: [usize; 5] = [usize::MAX, 16, 1, 1, 1];
/// So often a connection is cut while some keys are compared before fewer of them are.
const CUTS: u32 = 3;
/// No server closes a connection for a value that takes so much of its memory, in bytes.
const SHORT: i64 = 16 << 10;
/// How long after the first look a key is looked at again, at the earliest.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a worker works with.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) source: Link,
    pub(super) target: Link,
    pub(super) route: Route,
    pub(super) judge: Judge,
    pub(super) deletion: Deletion,
    /// What may be asked of the source at once, all workers together.
    pub(super) window: Arc<Window>,
    /// Held by the one task that has a long value in memory whole.
    pub(super) whole: Arc<Semaphore>,
    pub(super) pace: Option<Arc<Pace>>,
    /// Keys in a group, at most.
    pub(super) group: usize,
    /// How many keys may wait for their second look, and the bytes of their names.
    pub(super) again: (usize, usize),
    pub(super) stats: Arc<Stats>,
    pub(super) ledger: Ledger,
    pub(super) stop: CancellationToken,
}

/// What became of a key.
#[derive(Clone, Debug)]
enum End {
    /// Equal, and deleted (or, in a dry run, it would be).
    Deleted,
    /// Not equal.
    Kept(DifferenceKind, String),
    /// The source does not hold it any more.
    Gone,
    Failed(String),
}

/// What the names of a group may come to, in bytes.
const NAMES: usize = 256 << 10;

/// A group at work: keys in wire form, and what became of each.
struct Group<'a> {
    keys: &'a [&'a [u8]],
    ends: Vec<Option<End>>,
    /// Places of keys whose deletion was asked for and not answered: the connection broke. One that
    /// is gone afterwards was deleted by us.
    unsure: HashSet<usize>,
}

/// Connections to both sides.
struct Open {
    source: Connection,
    target: Connection,
}

/// One of the workers of a database.
pub(super) struct Worker {
    tools: Tools,
    keys: KeyQueue,
    open: Option<Open>,
    seen: Seen,
    /// Keys that differed at first sight, in wire form; the bytes of their names; when the last came.
    again: Vec<Vec<u8>>,
    again_bytes: usize,
    again_since: Instant,
    /// Since when every key failed since a server closed the connection.
    cut_since: Option<Instant>,
}

impl Worker {
    pub(super) fn new(tools: Tools, keys: KeyQueue) -> Self {
        Self {
            tools,
            keys,
            open: None,
            seen: Seen::default(),
            again: Vec::new(),
            again_bytes: 0,
            again_since: Instant::now(),
            cut_since: None,
        }
    }

    /// Works until there are no more keys, or, when stopped, until the group at hand is done.
    ///
    /// # Errors
    /// A connection broke for good, or a server refuses what every key needs. Keys that were taken
    /// up and came to no end are counted as failed.
    pub(super) async fn run(mut self) -> Result<()> {
        let result = self.work().await;
        if let Err(error) = &result {
            self.tools.stop.cancel();
            for key in std::mem::take(&mut self.again) {
                self.count(&key, End::Failed(error.message().to_owned()));
            }
        }
        result
    }

    async fn work(&mut self) -> Result<()> {
        while let Some(chunk) = self.keys.next().await {
            let mut wires = &chunk.wires[..];
            // Each name is in several commands of one group.
            let fitting = (NAMES / (chunk.bytes() / wires.len().max(1)).max(1)).max(1);
            while let Some(claimed) = self.claim(wires.len().min(fitting)).await {
                let (group, rest) = wires.split_at(claimed);
                wires = rest;
                let keys: Vec<&[u8]> = group.iter().map(|wire| wire.of(&chunk.slab)).collect();
                self.settle(&keys, false).await?;
            }
            let (most, most_bytes) = self.tools.again;
            if self.again.len() >= most || self.again_bytes >= most_bytes {
                self.look_again().await?;
            }
        }
        self.look_again().await
    }

    /// Takes room for some of `left` keys; `None`: there are none, or the run is stopped.
    async fn claim(&self, left: usize) -> Option<usize> {
        let most = self.tools.group.min(left);
        let most = self.tools.pace.as_ref().map_or(most, |pace| pace.scaled(most));
        match left {
            0 => None,
            _ => self.tools.window.claim_some(most, &self.tools.stop).await,
        }
    }

    /// Looks for the last time at what differed.
    async fn look_again(&mut self) -> Result<()> {
        let again = std::mem::take(&mut self.again);
        self.again_bytes = 0;
        if again.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.tools.stop.cancelled() => {}
            () = sleep_until(self.again_since + AGAIN_AFTER) => {}
        }
        let mut rest = &again[..];
        while !rest.is_empty() {
            // These were taken up already: a stop does not end this.
            let longest = rest.iter().map(Vec::len).max().unwrap_or(0);
            let fitting = rest.len().min((NAMES / longest.max(1)).max(1));
            let claimed = match self.claim(fitting).await {
                Some(claimed) => claimed,
                None => self.tools.group.min(fitting),
            };
            let (group, behind) = rest.split_at(claimed);
            rest = behind;
            let keys: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
            if let Err(error) = self.settle(&keys, true).await {
                self.again.extend_from_slice(rest);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Brings a group to its end and counts it; what differs only if this is its `last` look.
    async fn settle(&mut self, keys: &[&[u8]], last: bool) -> Result<()> {
        let mut group = Group { keys, ends: vec![None; keys.len()], unsure: HashSet::new() };
        let result = self.work_on(&mut group).await;
        let seen = std::mem::take(&mut self.seen);
        self.tools.window.release(keys.len(), seen);
        if self.tools.deletion.accounts == Accounts::Cleanup {
            self.tools.ledger.add_bytes(seen.bytes());
        }
        for (at, (end, key)) in group.ends.into_iter().zip(keys).enumerate() {
            match (end, &result) {
                (Some(End::Kept(..)), Ok(())) if !last => {
                    self.again.push(key.to_vec());
                    self.again_bytes += key.len();
                    self.again_since = Instant::now();
                    continue;
                }
                (Some(end), _) => self.count(key, end),
                (None, Ok(())) => {
                    let what = "it was written to while it was compared".to_owned();
                    self.count(key, End::Kept(DifferenceKind::Different, what));
                }
                (None, Err(error))
                    if group.unsure.contains(&at) && error.kind() != Kind::Server =>
                {
                    let why = format!("whether it was deleted is not known: {}", error.message());
                    self.note(key);
                    self.count(key, End::Failed(why));
                }
                (None, Err(error)) => self.count(key, End::Failed(error.message().to_owned())),
            }
        }
        if let Some(pace) = &self.tools.pace {
            // Afterwards: nothing is watched while this waits.
            pace.pass(keys.len() as u64, seen.bytes()).await;
        }
        result
    }

    /// Counts a key, and names it where it stays. After a copy, which has counted it as scanned, only
    /// whether it was deleted.
    fn count(&self, key: &[u8], end: End) {
        let Tools { ledger, deletion, .. } = &self.tools;
        let compares = u64::from(deletion.accounts == Accounts::Cleanup);
        ledger.add(Count::Scanned, compares);
        match end {
            End::Deleted => {
                self.note(key);
                ledger.add(Count::Compared, compares);
                ledger.add(Count::DeletedFromSource, u64::from(deletion.removal.is_some()));
            }
            End::Gone => ledger.add(Count::Expired, compares),
            End::Failed(why) => match deletion.accounts {
                Accounts::Cleanup => ledger.fail(name_of(key), &why),
                Accounts::Move => self.keep(key, DifferenceKind::Kept, why),
            },
            End::Kept(kind, what) => {
                ledger.add(Count::Compared, compares);
                self.keep(key, kind, what);
            }
        }
    }

    /// It may be nowhere else now.
    fn note(&self, key: &[u8]) {
        if let Some(watch) = &self.tools.deletion.watch {
            watch.deleted(self.tools.route, name_of(key));
        }
    }

    fn keep(&self, key: &[u8], kind: DifferenceKind, what: String) {
        let Tools { ledger, route, stats, .. } = &self.tools;
        ledger.add(Count::KeptOnSource, 1);
        stats.differences().tell(Difference {
            db: route.source,
            target_db: route.target,
            key: name_of(key).escape_ascii().to_string(),
            kind,
            what,
        });
    }

    /// All keys in one transaction; then, if one of them was touched, in smaller ones.
    async fn work_on(&mut self, group: &mut Group<'_>) -> Result<()> {
        for together in TOGETHER {
            let open: Vec<usize> = (0..group.keys.len())
                .filter(|&at| matches!(group.ends.get(at), Some(None)))
                .collect();
            for places in open.chunks(together.min(open.len().max(1))) {
                let (began, mut cuts) = (Instant::now(), 0);
                while let Err(error) = self.attempt(group, places).await {
                    cuts += u32::from(error.kind() == Kind::Transport);
                    self.recover(error.clone(), began).await?;
                    let sure = places.iter().all(|at| !group.unsure.contains(at));
                    if cuts >= CUTS && sure {
                        if self.gives_up_cut(group, places, error, began).await? {
                            break;
                        }
                        cuts = 0;
                    }
                }
                if cuts < CUTS {
                    self.cut_since = None;
                }
            }
        }
        Ok(())
    }

    /// A server closed the connection each time that these were compared: perhaps for the length of its replies. Of
    /// several keys each is tried by itself; a single one stays, with the reason, unless it is known to be short:
    /// then the length is not what connections are closed for, and it is tried again.
    ///
    /// # Errors
    /// It does so whatever it is asked, for as long as `--retry-budget` allows.
    async fn gives_up_cut(
        &mut self,
        group: &mut Group<'_>,
        places: &[usize],
        error: Error,
        began: Instant,
    ) -> Result<bool> {
        let [at] = places else { return Ok(true) };
        let link = match error.side() {
            Some(Side::Target) => &self.tools.target,
            _ => &self.tools.source,
        };
        let name = group.keys.get(*at).copied().map(name_of).unwrap_or_default();
        let bytes = Line::new(link.clone()).ask(&[b"MEMORY", b"USAGE", name]).await?.integer();
        if bytes.is_some_and(|bytes| bytes <= SHORT) {
            return Ok(false);
        }
        let patience = self.tools.source.patience();
        if self.cut_since.get_or_insert(began).elapsed() >= patience {
            return Err(given_up(error, patience));
        }
        let side = error.side().map_or("a server", Side::word);
        let text = format!(
            "it could not be compared: the {side} closes the connection when it is asked for this value \
             ({WHERE_TO_LOOK})"
        );
        group.end(*at, End::Failed(text));
        Ok(true)
    }

    /// Compares the keys at these places, and deletes those that are equal, if nobody touched one.
    async fn attempt(&mut self, group: &mut Group<'_>, places: &[usize]) -> Result<()> {
        if let Some(watch) = &self.tools.deletion.watch {
            watch.permit().await?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open {
                source: self.tools.source.connect().await?,
                target: self.tools.target.connect().await?,
            }),
        };
        let keys: Vec<&[u8]> =
            places.iter().filter_map(|&at| group.keys.get(at).copied()).collect();
        let names: Vec<&[u8]> = keys.iter().map(|key| name_of(key)).collect();
        if self.tools.deletion.removal.is_some()
            && let Some(denied) = watch(&mut open.source, &names).await?
        {
            group.deny(places, || format!("the source refused WATCH: {denied}"));
            return Ok(());
        }
        let mut eyes = Eyes {
            source: &mut open.source,
            watched: self.tools.deletion.removal.is_some(),
            target: &mut open.target,
            judge: self.tools.judge,
            whole: &self.tools.whole,
            stop: &self.tools.stop,
            seen: &mut self.seen,
        };
        let findings = eyes.look(&keys).await?;
        let equal = group.take(places, findings);
        let Some(removal) = self.tools.deletion.removal else {
            equal.into_iter().for_each(|at| group.end(at, End::Deleted));
            return Ok(());
        };
        if equal.is_empty() {
            return unwatch(&mut open.source).await;
        }
        let names: Vec<&[u8]> =
            equal.iter().filter_map(|&at| group.keys.get(at).map(|key| name_of(key))).collect();
        if let Some(watch) = &self.tools.deletion.watch {
            watch.refuse_doubt()?;
        }
        // Until the answer is there.
        let unsure = group.unsure.clone();
        group.unsure.extend(&equal);
        match delete_watched(&mut open.source, removal, &names).await? {
            Removed::Keys(count) => {
                let deleted = usize::try_from(count).unwrap_or(usize::MAX);
                for (number, at) in equal.into_iter().enumerate() {
                    group.end(at, if number < deleted { End::Deleted } else { End::Gone });
                }
            }
            Removed::Touched => group.unsure = unsure,
            Removed::Denied(denied) => {
                group.unsure = unsure;
                group.deny(&equal, || format!("the source refused to delete it: {denied}"));
            }
        }
        Ok(())
    }

    /// Makes both connections again. A target that was restarted may have lost what was compared.
    async fn recover(&mut self, error: Error, began: Instant) -> Result<()> {
        self.open = None;
        if !error.passes() {
            return Err(error);
        }
        let source = self.tools.source.reconnect(error.clone(), began).await?;
        let target = self.tools.target.reconnect(error, began).await?;
        if !target.same_process {
            let text = "the target was restarted, or another server took its place: what was \
                        compared before may be lost there";
            let error = target.connection.place(Error::new(Kind::Server, text));
            return Err(error.advise("nothing more is deleted; see to the target first"));
        }
        self.open = Some(Open { source: source.connection, target: target.connection });
        Ok(())
    }
}

impl Group<'_> {
    fn end(&mut self, at: usize, end: End) {
        if let Some(place) = self.ends.get_mut(at) {
            *place = Some(end);
        }
    }

    /// A single key may not be deleted; of several the others may, so each is tried by itself.
    fn deny(&mut self, places: &[usize], why: impl FnOnce() -> String) {
        if let [at] = places {
            self.end(*at, End::Failed(why()));
        }
    }

    /// Takes what was found at these places; answers the places of the keys that are equal.
    fn take(&mut self, places: &[usize], findings: Vec<Finding>) -> Vec<usize> {
        let mut equal = Vec::with_capacity(places.len());
        for (&at, finding) in places.iter().zip(findings) {
            let end = match finding {
                Finding::Same => {
                    equal.push(at);
                    continue;
                }
                Finding::Gone | Finding::Differs(DifferenceKind::Extra, _) => {
                    if self.unsure.contains(&at) { End::Deleted } else { End::Gone }
                }
                Finding::Differs(kind, what) => End::Kept(kind, what),
                Finding::Refused(why) => End::Failed(why),
            };
            self.end(at, end);
        }
        equal
    }
}
