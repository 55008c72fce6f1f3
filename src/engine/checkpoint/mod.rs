//! `--state FILE`: how far a run has come, so that the same command goes on from there.
//!
//! The file is there before the first key is written and as long as there is something to go on
//! with: a run that came to its end removes it. It is always whole: written under another name,
//! brought to the disk, renamed. A lock beside it keeps a second process away.

mod keeping;
mod lock;
mod record;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Run;
use super::census::Holdings;
use super::part_file::{MODE, shown};
use super::probe::Probed;
use super::target_watch::Look;
use super::upheaval::Before;
use crate::command::ServerInfo;
use crate::config::fingerprint::Fingerprint;
use crate::config::{Plan, Route};
use crate::error::{Error, Kind, Result};
use crate::files::{Known, resolved, sync_directory};
use crate::report::{FAILED, Failure, KEPT_ON_SOURCE, Kept, Stats};
use crate::source::marks::Mark;
pub(super) use keeping::Keeping;
use lock::Lock;
pub(super) use record::GoingOn;
use record::{Database, Foreign, Record};

/// The longest checkpoint that is read, in bytes: every database a server can have, and then some.
const LONGEST: u64 = 16 << 20;

/// The checkpoint of a run.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    record: Mutex<Record>,
    _lock: Lock,
}

/// Where a database goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// At a cursor, or at its beginning.
    At(Option<Vec<u8>>),
    /// It is done.
    End,
}

impl Checkpoint {
    /// Opens the checkpoint of a plan, if it is to have one; begins it if there is none.
    ///
    /// # Errors
    /// [`Kind::State`]: it is damaged, of another plan, or in use by another process.
    /// [`Kind::Config`]: nothing can be written there.
    pub(super) fn open(plan: &Plan) -> Result<Option<Arc<Self>>> {
        let Some(path) = &plan.state else { return Ok(None) };
        // A symbolic link stays one: the file behind it is replaced.
        let path = &resolved(path);
        let lock = Lock::take(path)?;
        let fingerprint = plan.fingerprint();
        let record = match read(path)? {
            Some(record) => {
                refuse_other_plan(path, &record, &fingerprint)?;
                record
            }
            None => Record::new(fingerprint),
        };
        Ok(Some(Arc::new(Self { path: path.clone(), record: Mutex::new(record), _lock: lock })))
    }

    /// Compares with the servers that are there, and with what the target says of itself now. Answers
    /// how it goes on.
    ///
    /// # Errors
    /// [`Kind::State`]: it was made with another server, or with other data of this source.
    /// [`Kind::Server`]: keys were deleted from the source already, and the target may have lost them.
    pub(super) fn meet(
        &self,
        source: (&ServerInfo, &Holdings),
        target: &ServerInfo,
        look: &Look,
    ) -> Result<GoingOn> {
        if let Some(why) = self.held().doubt(look) {
            let text = format!(
                "an earlier run was deleting keys from the source, and since then keys may have been \
                 lost there: {why}"
            );
            return Err(Error::new(Kind::Server, text).advise(format!(
                "nothing is deleted or copied; see that the target holds what was moved before. To \
                 move what the source still holds, remove {} and give --if-exists",
                shown(&self.path)
            )));
        }
        let met = self.held().meet(source, target, look);
        let going_on = met.map_err(|Foreign { whose, what }| foreign(&self.path, whose, &what))?;
        if let Some(why) = going_on.anew {
            tracing::warn!("{why}: all keys are copied anew");
        }
        Ok(going_on)
    }

    /// Whether an earlier run began to write to a database.
    pub(super) fn has_begun(&self, route: Route) -> bool {
        self.of(route, |_| ()).is_some()
    }

    /// Whether any database was begun.
    pub(super) fn is_begun(&self) -> bool {
        !self.held().databases.is_empty()
    }

    /// Whether a target database held nothing when an earlier run began.
    pub(super) fn was_empty(&self, target: u32) -> bool {
        let record = self.held();
        let mut of_target = record.databases.iter().filter(|database| database.target == target);
        of_target.next().is_some_and(|database| database.was_empty)
    }

    /// What the temporary names of an earlier run begin with, and the target's databases that it wrote to.
    pub(super) fn temporary(&self) -> Option<(String, BTreeSet<u32>)> {
        let record = self.held();
        let databases = record.databases.iter().map(|database| database.target).collect();
        record.temporary.clone().map(|begin| (begin, databases))
    }

    /// Keys that had expired on the source when the first run began.
    pub(super) fn expired_keys(&self) -> Option<u64> {
        self.held().expired_keys
    }

    /// What the source said of itself when the run began that this one goes on with; `None`: its keys are
    /// being deleted by now.
    pub(super) fn source_before(&self) -> Option<Before> {
        let record = self.held();
        (!record.deleting).then(|| record.source_before.clone())
    }

    /// Where a database goes on.
    pub(super) fn reached(&self, route: Route) -> Reached {
        let reached = self.of(route, |database| match (database.done, &database.cursor) {
            (true, _) => Reached::End,
            (false, cursor) => Reached::At(cursor.clone().map(String::into_bytes)),
        });
        reached.unwrap_or(Reached::At(None))
    }

    /// The counters of a database, as far as it is settled.
    pub(super) fn counters(&self, route: Route) -> Kept {
        self.of(route, |database| database.counters.clone()).unwrap_or_default()
    }

    /// The failed keys that an earlier run named.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let record = self.held();
        record.databases.iter().flat_map(|database| database.failures.clone()).collect()
    }

    /// The file that failed keys were written to so far, if there was one; from now on it is this one.
    fn letters(&self, now: Option<&Path>) -> Option<PathBuf> {
        std::mem::replace(&mut self.held().letters, now.map(Path::to_owned))
    }

    /// Databases that were begun and are none of these routes: the source holds them no more.
    pub(super) fn others(&self, routes: &[Route]) -> Vec<(Route, Kept)> {
        let record = self.held();
        let others = record.databases.iter().filter(|database| !routes.contains(&database.route()));
        others.map(|database| (database.route(), database.counters.clone())).collect()
    }

    /// Whether the target has the functions already.
    pub(super) fn has_functions(&self) -> bool {
        self.held().functions
    }

    /// The target has the functions.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn keep_functions(&self) -> Result<()> {
        self.held().functions = true;
        self.save()
    }

    /// Whether an earlier run, which was killed, turned the source's compression off.
    pub(super) fn turned_compression_off(&self) -> bool {
        self.held().compression_off
    }

    /// The source's compression is turned off, or put back.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn keep_compression(&self, off: bool) -> Result<()> {
        if std::mem::replace(&mut self.held().compression_off, off) == off {
            return Ok(());
        }
        self.save()
    }

    /// All keys are copied, and deleting them from the source begins, or goes on; the target was intact
    /// at this `look`.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn keep_deleting(&self, look: Look, counts: &[(Route, Kept)]) -> Result<()> {
        {
            let mut record = self.held();
            (record.deleting, record.look) = (true, Some(look));
            for (route, counters) in counts {
                let of = |database: &&mut Database| database.route() == *route;
                if let Some(database) = record.databases.iter_mut().find(of) {
                    database.counters.clone_from(counters);
                    // Those are looked at again.
                    database.counters.remove(KEPT_ON_SOURCE);
                }
            }
        }
        self.save()
    }

    /// Notes what is about to be written, before it is.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(super) fn begin(&self, run: &Run, probed: &Probed) -> Result<()> {
        {
            let mut record = self.held();
            record.temporary = Some(run.temporary.beginning().to_owned());
            if record.databases.is_empty() {
                record.expired_keys = probed.expired_keys;
            }
            for &route in &probed.routes {
                if !record.databases.iter().any(|database| database.route() == route) {
                    let was_empty = !probed.target.contains_key(&route.target);
                    record.databases.push(Database::new(route, was_empty));
                }
            }
        }
        self.save()
    }

    fn mark(&self, mark: Mark, stats: &Stats) {
        let failed = mark.counters.get(FAILED).copied().unwrap_or_default();
        let failed = usize::try_from(failed).unwrap_or(usize::MAX);
        let mut record = self.held();
        let of = |database: &&mut Database| database.route() == mark.route;
        if let Some(database) = record.databases.iter_mut().find(of) {
            database.done = mark.cursor.is_none();
            database.cursor = mark.cursor.and_then(|cursor| String::from_utf8(cursor).ok());
            database.counters = mark.counters;
            // In the order in which they were counted.
            let all = if failed > 0 { stats.failures() } else { Vec::new() };
            let own = all.into_iter().filter(|failure| failure.db == mark.route.source);
            database.failures = own.take(failed).collect();
        }
    }

    /// Brings it to the disk.
    ///
    /// # Errors
    /// [`Kind::Local`]: the file cannot be written.
    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&*self.held()).unwrap_or_default();
        let part = with_suffix(&self.path, ".part");
        let write = || {
            let mut options = File::options();
            let mut file =
                options.write(true).create(true).truncate(true).mode(MODE).open(&part)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&part, &self.path)?;
            sync_directory(&self.path)
        };
        write().map_err(|error| {
            // A disk that is full is not to keep it either.
            let _ = fs::remove_file(&part);
            let text = format!("the checkpoint {} cannot be written: {error}", shown(&self.path));
            Error::new(Kind::Local, text)
        })
    }

    /// The run is over. One that has `ended` by itself leaves nothing to go on with; else tells where
    /// the file is, as it may be shown, if anything was begun.
    pub(super) fn close(&self, ended: bool) -> Option<String> {
        if !self.is_begun() {
            return None;
        }
        if !ended {
            return Some(shown(&self.path));
        }
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!("the checkpoint {} is left behind: {error}", shown(&self.path));
        }
        None
    }

    fn of<T>(&self, route: Route, tell: impl FnOnce(&Database) -> T) -> Option<T> {
        self.held().databases.iter().find(|database| database.route() == route).map(tell)
    }

    fn held(&self) -> MutexGuard<'_, Record> {
        // Only ever replaced part by part, each whole.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Option<Record>> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("the checkpoint {} cannot be read: {error}", shown(path));
            return Err(Error::config(text));
        }
        Ok(_) => {}
    }
    Record::parse(&text).map(Some).map_err(|why| match Known::of(path) {
        None | Some(Known::Checkpoint) => {
            let text = format!("the checkpoint {} {why}", shown(path));
            Error::new(Kind::State, text).advise(
                "if it is of an earlier run, remove it to begin anew (with --if-exists, since the target holds \
                 keys then); else name another file",
            )
        }
        Some(known) => {
            let text = format!("{} is {known}, and no checkpoint", shown(path));
            Error::new(Kind::State, text).advise("name another file by --state")
        }
    })
}

fn refuse_other_plan(path: &Path, record: &Record, plan: &Fingerprint) -> Result<()> {
    match record.differences(plan) {
        differing if differing.is_empty() => Ok(()),
        differing => Err(foreign(path, "another plan", &differing.join("; "))),
    }
}

fn foreign(path: &Path, whose: &str, what: &str) -> Error {
    let text = format!("the checkpoint {} is of {whose}: {what}", shown(path));
    Error::new(Kind::State, text)
        .advise("give the command that made it, or another file; remove it to begin anew")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
