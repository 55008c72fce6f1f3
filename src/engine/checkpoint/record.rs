//! What a checkpoint says, and whether a run may go on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::census::Holdings;
use super::super::target_watch::Look;
use super::super::upheaval::{Before, Upheaval};
use crate::command::ServerInfo;
use crate::command::info::Keyspace;
use crate::config::Route;
use crate::config::fingerprint::{DELETE_SOURCE, Fingerprint};
use crate::report::{DELETED_FROM_SOURCE, Failure, Kept};

/// The version of the format; another one is not read.
const FORMAT: u32 = 1;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    keyferry_checkpoint: u32,
    /// What was asked for.
    pub(super) plan: Fingerprint,
    /// Both servers; nothing before they were reached.
    pub(super) source: Process,
    pub(super) target: Process,
    /// Keys that had expired on the source when it began.
    pub(super) expired_keys: Option<u64>,
    /// The target has the functions.
    pub(super) functions: bool,
    /// The source does not compress because we told it so.
    #[serde(default)]
    pub(super) compression_off: bool,
    /// The file that failed keys are written to.
    #[serde(default)]
    pub(super) letters: Option<PathBuf>,
    /// What the temporary names of the last run begin with.
    #[serde(default)]
    pub(super) temporary: Option<String>,
    /// All was copied, and keys were being deleted from the source.
    #[serde(default)]
    pub(super) deleting: bool,
    /// The last that is known of the target, when it was certainly intact.
    #[serde(default)]
    pub(super) look: Option<Look>,
    /// What the source said of itself when its keys were begun.
    #[serde(default)]
    pub(super) source_before: Before,
    /// And what its databases held: keys, and how many of them last.
    #[serde(default)]
    source_keys: BTreeMap<u32, (u64, u64)>,
    /// Whether the counters of source and target were reset between two runs.
    #[serde(default)]
    uncertain: [bool; 2],
    /// In the order they were begun.
    pub(super) databases: Vec<Database>,
}

/// What every version's checkpoint begins with.
#[derive(Deserialize)]
struct Header {
    keyferry_checkpoint: u32,
}

/// A server, and the process that it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) server: String,
    pub(super) run_id: Option<String>,
}

/// How a run goes on from a checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct GoingOn {
    /// Why all keys are begun anew.
    pub(in super::super) anew: Option<&'static str>,
    /// Whether the counters of source and target were reset since: if so, it is not known whether its
    /// databases were exchanged.
    pub(in super::super) uncertain: [bool; 2],
}

/// Why a run cannot go on from a checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// What it was made with.
    pub(super) whose: &'static str,
    pub(super) what: String,
}

/// How far one database has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Database {
    pub(super) source: u32,
    pub(super) target: u32,
    /// Every key that SCAN names before it is settled; `None`: it is to be begun.
    pub(super) cursor: Option<String>,
    /// Every key is settled.
    pub(super) done: bool,
    /// The target held nothing when it began.
    pub(super) was_empty: bool,
    pub(super) counters: Kept,
    /// Failed keys, as far as a report names them.
    #[serde(default)]
    pub(super) failures: Vec<Failure>,
}

impl Database {
    /// One that is to be begun.
    pub(super) fn new(route: Route, was_empty: bool) -> Self {
        Self {
            source: route.source,
            target: route.target,
            cursor: None,
            done: false,
            was_empty,
            counters: Kept::new(),
            failures: Vec::new(),
        }
    }

    pub(super) fn route(&self) -> Route {
        Route { source: self.source, target: self.target }
    }

    /// Forgets what was reached; not what the target held before.
    fn begin_anew(&mut self) {
        (self.cursor, self.done) = (None, false);
        self.counters.clear();
        self.failures.clear();
    }
}

impl Process {
    fn of(info: &ServerInfo) -> Self {
        Self { server: info.server(), run_id: info.run_id.clone() }
    }

    /// Whether it is surely the same process.
    fn is_same(&self, other: &Self) -> bool {
        self.run_id.is_some() && self == other
    }
}

impl Record {
    /// A run that is to begin.
    pub(super) fn new(plan: Fingerprint) -> Self {
        Self { keyferry_checkpoint: FORMAT, plan, ..Self::default() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let damaged = |why: &dyn std::fmt::Display| format!("is damaged: {why}");
        // First: what another version wrote need not have the fields of this one.
        let header: Header = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
        if header.keyferry_checkpoint != FORMAT {
            return Err(format!(
                "was written by another version of keyferry: its format is {}, this one knows {FORMAT}",
                header.keyferry_checkpoint
            ));
        }
        let record: Self = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
        let wrong =
            |cursor: &String| cursor.is_empty() || !cursor.bytes().all(|b| b.is_ascii_digit());
        if record.databases.iter().any(|database| database.cursor.as_ref().is_some_and(wrong)) {
            return Err(damaged(&"a cursor is not a number"));
        }
        Ok(record)
    }

    /// What differs between its plan and another, if anything does.
    pub(super) fn differences(&self, plan: &Fingerprint) -> Vec<String> {
        let names: BTreeSet<&String> = self.plan.keys().chain(plan.keys()).collect();
        let of = |plan: &Fingerprint, name: &String| match plan.get(name) {
            Some(text) if !text.is_empty() => text.clone(),
            _ => "nothing".to_owned(),
        };
        let pairs = names.into_iter().map(|name| (name, of(&self.plan, name), of(plan, name)));
        let differing = pairs.filter(|(_, was, is)| was != is);
        differing.map(|(name, was, is)| format!("{name} was {was} and is {is}")).collect()
    }

    /// Compares with the servers that are there now. A restarted one is begun anew: cursors mean
    /// nothing to another process, and a target may have lost what it acknowledged. Tells what has
    /// to be begun anew for that reason.
    ///
    /// # Errors
    /// It is another server, or one with other data: what differs.
    pub(super) fn meet(
        &mut self,
        (at_source, held): (&ServerInfo, &Holdings),
        target: &ServerInfo,
        look: &Look,
    ) -> Result<GoingOn, Foreign> {
        let (source, target) = (Process::of(at_source), Process::of(target));
        let first = self.databases.is_empty();
        for (side, was, is) in
            [("source", &self.source, &source), ("target", &self.target, &target)]
        {
            if !first && was.server != is.server {
                let what = format!("the {side} was {} and is {}", was.server, is.server);
                return Err(Foreign { whose: "another server", what });
            }
        }
        let now = Before::of(at_source);
        let upheaval = self.source_before.until(&now);
        let same_source = self.source.is_same(&source);
        let reset = |was: &Look| look.upheaval_since(was) == Upheaval::Reset;
        let unsure = [upheaval == Upheaval::Reset, self.look.as_ref().is_some_and(reset)];
        let lost = if same_source { self.exchanged(&upheaval) } else { self.missed(held) };
        if let Some(what) = lost.filter(|_| !first) {
            return Err(Foreign { whose: "other data", what });
        }
        let moves = self.plan.get(DELETE_SOURCE).is_some_and(|asked| asked == "true");
        let lost = self.look.as_ref().is_some_and(|was| look.taken_since(was, moves).is_some());
        let restarted = match (self.source.is_same(&source), self.target.is_same(&target)) {
            _ if first => None,
            (true, true) if lost => Some("the target lost keys that it had (it was flushed, say)"),
            (true, true) => None,
            (false, _) => Some("the source was restarted, so its cursors mean nothing any more"),
            (true, false) => Some("the target was restarted and may have lost what it had"),
        };
        if first || restarted.is_some() {
            self.source_before = now;
            let keys =
                |(&database, held): (&u32, &Keyspace)| (database, (held.keys, held.persistent()));
            self.source_keys = held.iter().map(keys).collect();
        }
        let begins = first || restarted.is_some();
        for (kept, now) in self.uncertain.iter_mut().zip(unsure) {
            *kept = !begins && (*kept || now);
        }
        if restarted.is_some() {
            self.databases.iter_mut().for_each(Database::begin_anew);
            self.deleting = false;
            self.functions &= self.target.is_same(&target);
            if !self.source.is_same(&source) {
                // Another process counts from 0.
                self.expired_keys = None;
            }
        }
        (self.source, self.target) = (source, target);
        self.look = Some(look.clone());
        Ok(GoingOn { anew: restarted, uncertain: self.uncertain })
    }

    /// What took the place of the databases whose keys were being copied.
    fn exchanged(&self, upheaval: &Upheaval) -> Option<String> {
        match upheaval {
            Upheaval::Called("swapdb") => {
                Some("databases of the source were exchanged since (SWAPDB)".to_owned())
            }
            Upheaval::Called(command) => {
                let command = command.to_uppercase();
                Some(format!("{command} was called on the source since"))
            }
            Upheaval::Replaced => Some(
                "the source took over the data of another server since (a full synchronisation)"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// What a source that was restarted has no more.
    fn missed(&self, held: &Holdings) -> Option<String> {
        self.databases.iter().find_map(|database| {
            let number = database.source;
            let &(had, lasting) = self.source_keys.get(&number)?;
            let has = held.get(&number).map_or(0, |held| held.keys);
            // Without what was deleted in the last second.
            let deleted = database.counters.get(DELETED_FROM_SOURCE).copied().unwrap_or_default();
            let fewer = match self.deleting {
                true => has == 0 && deleted < lasting,
                // Those that do not last may be gone by themselves, but hardly all of them.
                false => has < lasting || (has == 0 && had > 0),
            };
            fewer.then(|| {
                format!(
                    "the source was restarted since and holds {has} of {had} keys in database {number}"
                )
            })
        })
    }

    /// Why the target may have lost keys that were deleted from the source already.
    pub(super) fn doubt(&self, look: &Look) -> Option<String> {
        let was = self.look.as_ref().filter(|_| self.deleting)?;
        let targets: Vec<u32> = self.databases.iter().map(|database| database.target).collect();
        look.doubt_since(was).or_else(|| look.fewer_since(was, &targets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(run_id: &str) -> ServerInfo {
        ServerInfo {
            family: "redis".into(),
            version: "7.0.15".into(),
            run_id: Some(run_id.into()),
            ..ServerInfo::default()
        }
    }

    /// A source that holds so many keys in database 1, all of which last.
    fn held(info: &ServerInfo, keys: u64) -> (&ServerInfo, &'static Holdings) {
        let held = Holdings::from([(1, Keyspace { keys, expires: 0 })]);
        (info, Box::leak(Box::new(held)))
    }

    fn look() -> Look {
        Look::default()
    }

    fn begun() -> Record {
        let plan = Fingerprint::from([("--db".to_owned(), "all".to_owned())]);
        let mut record = Record::new(plan);
        assert_eq!(record.meet(held(&info("a"), 5), &info("b"), &look()), Ok(GoingOn::default()));
        let mut database = Database::new(Route { source: 1, target: 2 }, true);
        database.cursor = Some("17".into());
        database.counters.insert("copied".into(), 3);
        record.databases.push(database);
        record.functions = true;
        record
    }

    #[test]
    fn it_comes_back_from_its_text() {
        let record = begun();
        let text = serde_json::to_vec(&record).unwrap();
        assert_eq!(Record::parse(&text), Ok(record));
        for wrong in ["", "{}", "[1]", r#"{"keyferry_checkpoint":1}"#] {
            assert!(Record::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let text = String::from_utf8(text).unwrap();
        for (from, to) in [(r#""17""#, r#""x""#), (r#"checkpoint":1"#, r#"checkpoint":2"#)] {
            assert!(text.contains(from));
            assert!(Record::parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn another_plan_is_told_by_what_differs() {
        let record = begun();
        assert!(record.differences(&record.plan).is_empty());
        let other = Fingerprint::from([
            ("--db".to_owned(), "'1'".to_owned()),
            ("--match".to_owned(), "'a'".to_owned()),
        ]);
        let differing = record.differences(&other);
        assert_eq!(differing, ["--db was all and is '1'", "--match was nothing and is 'a'"]);
    }

    #[test]
    fn a_restarted_server_is_begun_anew_and_another_refused() {
        let kept = begun();
        let mut same = kept.clone();
        assert_eq!(same.meet(held(&info("a"), 5), &info("b"), &look()), Ok(GoingOn::default()));
        assert_eq!(same, kept);
        for (source, target, functions) in [("a", "x", false), ("x", "b", true)] {
            let mut record = kept.clone();
            assert!(
                record.meet(held(&info(source), 5), &info(target), &look()).unwrap().anew.is_some()
            );
            let database = &record.databases[0];
            assert_eq!((&database.cursor, database.counters.len()), (&None, 0));
            assert!(database.was_empty);
            assert_eq!(record.functions, functions);
        }
        let newer = ServerInfo { version: "8.0.0".into(), ..info("a") };
        let refused = begun().meet(held(&newer, 5), &info("b"), &look()).unwrap_err();
        assert!(refused.what.contains("the source was redis 7.0.15"), "{refused:?}");
    }

    #[test]
    fn a_source_with_other_data_is_refused() {
        let told = |told: &str| ServerInfo {
            calls: ServerInfo::parse(&told.replace(' ', "\n")).calls,
            ..info("a")
        };
        let mut kept = begun();
        kept.source_before = Before::of(&told("cmdstat_info:calls=2"));
        for (now, is, what) in [
            (told("cmdstat_info:calls=4 cmdstat_swapdb:calls=1"), 5, "SWAPDB"),
            (told("cmdstat_info:calls=4 cmdstat_flushdb:calls=1"), 5, "FLUSHDB"),
            (info("x"), 4, "4 of 5 keys in database 1"),
            (info("x"), 0, "0 of 5 keys in database 1"),
        ] {
            let refused = kept.clone().meet(held(&now, is), &info("b"), &look()).unwrap_err();
            assert_eq!(refused.whose, "other data");
            assert!(refused.what.contains(what), "{refused:?}");
        }
        let (reset, used) = (told("cmdstat_info:calls=1"), told("cmdstat_info:calls=9"));
        let unsure = kept.clone().meet(held(&reset, 5), &info("b"), &look()).unwrap();
        assert_eq!(unsure, GoingOn { anew: None, uncertain: [true, false] });
        assert_eq!(kept.clone().meet(held(&used, 1), &info("b"), &look()), Ok(GoingOn::default()));
        // We have deleted some of them.
        kept.deleting = true;
        let emptied = kept.clone().meet(held(&info("x"), 0), &info("b"), &look()).unwrap_err();
        assert!(emptied.what.contains("0 of 5 keys"), "{emptied:?}");
        assert!(kept.meet(held(&info("x"), 1), &info("b"), &look()).unwrap().anew.is_some());
    }

    #[test]
    fn a_process_without_a_name_is_never_the_same() {
        let nameless = ServerInfo { run_id: None, ..info("a") };
        let mut record = begun();
        assert!(record.meet(held(&nameless, 5), &info("b"), &look()).unwrap().anew.is_some());
        assert!(record.meet(held(&nameless, 5), &info("b"), &look()).unwrap().anew.is_some());
    }
}
