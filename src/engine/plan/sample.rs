//! Some keys of the source: their types, sizes, and how their values would get across. Reads only, and
//! never much at once.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::super::Run;
use super::super::census::Holdings;
use super::super::probe::refused_before_work;
use crate::error::Result;
use crate::net::{Connection, connect};
use crate::report::PlannedWay;
use crate::resp::Value;
use crate::target::crossing::{Crossing, Made, explain};

/// Keys that are looked at, all databases together: enough to tell a share of one in a hundred, and
/// some 100 ms of the source's time.
const KEYS: u64 = 2_000;
/// Databases that are looked into; the largest.
const DATABASES: usize = 32;
/// Keys of a database that are looked at in any case.
const LEAST_KEYS: u64 = 20;
/// COUNT of a page at a random place of the cursor's space.
const PAGE: u64 = 20;
/// Pages that are asked for at once.
const PAGES: usize = 10;
/// Rounds of pages of one database: a table that is nearly empty has many empty pages.
const ROUNDS: u64 = 40;
/// A page of names that come to more, in bytes, is followed by none of more keys.
const PAGE_BYTES: usize = 32 << 10;
/// Keys of longer names are not looked at, in bytes.
const LONGEST_NAME: usize = 64 << 10;
/// Bytes of names that are held.
const NAMES: usize = 4 << 20;
/// Keys that are asked about at once.
const CHUNK: usize = 100;
/// Values that are read of each type.
const VALUES: usize = 100;
/// Of each type, where sizes are not known beforehand: then one at a time.
const UNKNOWN_VALUES: usize = 5;
/// Values that take more memory are not read.
const LARGEST_VALUE: u64 = 64 << 10;
/// Values that are read at once.
const VALUES_AT_ONCE: usize = 20;

/// The type of a key where TYPE may not be asked.
pub(super) const UNKNOWN: &str = "unknown";

/// A key that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Sampled {
    pub(super) database: u32,
    pub(super) name: Vec<u8>,
    pub(super) kind: String,
    /// What it takes of the source's memory.
    pub(super) memory: Option<u64>,
    /// The bytes that would be moved for it.
    pub(super) payload: Option<u64>,
    pub(super) way: Option<PlannedWay>,
    /// It is a module's value, and it is known whether the target has the module.
    pub(super) known: bool,
    /// What reading its value took.
    pub(super) took: Option<Duration>,
    /// For how many keys it stands.
    pub(super) weight: f64,
}

impl Sampled {
    /// Its size, as far as that is known.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.or(self.payload).unwrap_or(0)
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Keys that are meant.
    pub(super) keys: Vec<Sampled>,
    /// All keys that were looked at, meant or not.
    pub(super) looked_at: u64,
    /// Whether these are all keys of the databases that are meant.
    pub(super) whole: bool,
}

/// How keys are looked at.
pub(super) struct Sampling<'a> {
    pub(super) run: &'a Run,
    pub(super) crossing: Crossing,
    /// Whether the target has every module of the source; `None`: the source tells of none.
    pub(super) has_modules: Option<bool>,
    /// The source sends no long replies: values are read each for itself.
    pub(super) one_by_one: bool,
    /// Strings would go by value.
    pub(super) by_value: bool,
    pub(super) may_type: bool,
    pub(super) may_measure: bool,
    /// The network's own time.
    pub(super) round_trip: Duration,
}

impl Sampling<'_> {
    /// Looks into these databases of the source.
    ///
    /// # Errors
    /// A connection broke.
    pub(super) async fn take(&self, databases: &[u32], source: &Holdings) -> Result<Sample> {
        let held = |database: &u32| source.get(database).map_or(0, |held| held.keys);
        let mut by_size: Vec<u32> = databases.iter().copied().filter(|db| held(db) > 0).collect();
        by_size.sort_by_key(|database| std::cmp::Reverse(held(database)));
        let all: u64 = by_size.iter().map(held).sum();
        let mut sample = Sample { whole: by_size.len() <= DATABASES, ..Sample::default() };
        for database in by_size.into_iter().take(DATABASES) {
            let keys = held(&database);
            let part = u128::from(KEYS) * u128::from(keys) / u128::from(all.max(1));
            let wanted = u64::try_from(part).unwrap_or(KEYS).max(LEAST_KEYS);
            self.database(database, keys, wanted, &mut sample).await?;
        }
        Ok(sample)
    }

    async fn database(
        &self,
        database: u32,
        keys: u64,
        wanted: u64,
        sample: &mut Sample,
    ) -> Result<()> {
        let mut connection = connect(&self.run.source, database).await?;
        let whole = keys <= wanted;
        connection.hold_at_most(Some(LONGEST_NAME));
        let names = match whole {
            true => all_names(&mut connection, wanted).await?,
            false => some_names(&mut connection, wanted).await?,
        };
        connection.hold_at_most(None);
        sample.whole &= whole;
        sample.looked_at += names.len() as u64;
        let weight = keys as f64 / names.len().max(1) as f64;
        let filter = &self.run.plan.filter;
        let meant: Vec<Sampled> = names
            .into_iter()
            .filter(|name| filter.admits_name(name))
            .map(|name| Sampled {
                database,
                name,
                kind: UNKNOWN.into(),
                memory: None,
                payload: None,
                way: None,
                known: false,
                took: None,
                weight,
            })
            .collect();
        let mut meant = self.measured(&mut connection, meant).await?;
        self.values(&mut connection, &mut meant).await?;
        sample.keys.extend(meant);
        Ok(())
    }

    /// Asks for types and sizes; keys that are gone or of other types are left out.
    async fn measured(
        &self,
        connection: &mut Connection,
        mut keys: Vec<Sampled>,
    ) -> Result<Vec<Sampled>> {
        for chunk in keys.chunks_mut(CHUNK) {
            for key in chunk.iter() {
                connection.output().command(&[b"TYPE", &key.name]);
                connection.output().command(&[b"MEMORY", b"USAGE", &key.name]);
            }
            let replies = connection.receive(2 * chunk.len()).await.map_err(refused_before_work)?;
            for (key, reply) in chunk.iter_mut().zip(replies.chunks(2)) {
                if let Some(Value::Simple(kind)) = reply.first() {
                    key.kind.clone_from(kind);
                }
                if let Some(Value::Integer(bytes)) = reply.get(1) {
                    key.memory = u64::try_from(*bytes).ok();
                }
            }
        }
        let filter = &self.run.plan.filter;
        keys.retain(|key| {
            let known = !self.may_type || filter.admits_type(key.kind.as_bytes());
            known && key.kind != "none"
        });
        Ok(keys)
    }

    /// Reads some values of each type, and what would become of them.
    async fn values(&self, connection: &mut Connection, keys: &mut [Sampled]) -> Result<()> {
        let most = if self.may_measure { VALUES } else { UNKNOWN_VALUES };
        let mut of_type: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let places = of_type.entry(key.kind.clone()).or_default();
            let small = key.memory.is_none_or(|bytes| bytes <= LARGEST_VALUE);
            if small && places.len() < most {
                places.push(place);
            }
        }
        let at_once = if self.may_measure && !self.one_by_one { VALUES_AT_ONCE } else { 1 };
        for (kind, places) in of_type {
            let by_value = self.by_value && kind == "string";
            for places in places.chunks(at_once) {
                let names: Vec<&[u8]> =
                    places.iter().filter_map(|at| keys.get(*at)).map(|key| &*key.name).collect();
                let began = Instant::now();
                let values = match self.may_measure {
                    true => read(connection, &names, by_value).await?,
                    false => self.read_unknown(connection, &names, keys, places).await?,
                };
                let took = began.elapsed().saturating_sub(self.round_trip);
                let each = took / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
                for (at, value) in places.iter().zip(values) {
                    if let (Some(key), Some(value)) = (keys.get_mut(*at), value) {
                        key.payload = Some(value.len() as u64);
                        key.way =
                            Some(if by_value { PlannedWay::ByValue } else { self.way(&value) });
                        key.took = Some(each);
                        if !by_value && let Some(of_module) = self.of_module(&value) {
                            key.known = self.has_modules.is_some();
                            if self.has_modules == Some(false) {
                                key.way = Some(PlannedWay::Refused(of_module));
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// One value whose size nobody told: a long one is not taken, its connection is given up.
    async fn read_unknown(
        &self,
        connection: &mut Connection,
        names: &[&[u8]],
        keys: &[Sampled],
        places: &[usize],
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let (Some(name), Some(key)) = (names.first(), places.first().and_then(|at| keys.get(*at)))
        else {
            return Ok(Vec::new());
        };
        connection.output().command(&[b"DUMP", name]);
        connection.expect_replies();
        loop {
            if let Some(reply) = connection.next_reply()? {
                let value = Value::of(&reply);
                connection.take_slab();
                return Ok(vec![bulk(value)]);
            }
            if connection.announced().is_some_and(|bytes| bytes as u64 > LARGEST_VALUE) {
                *connection = connect(&self.run.source, key.database).await?;
                return Ok(vec![None]);
            }
            connection.turn_within(&self.run.stop).await?;
        }
    }

    /// Why a payload is one that only its module can read, and that is sent as it is.
    fn of_module(&self, payload: &[u8]) -> Option<String> {
        match self.crossing.make(payload) {
            Ok(Made::Verbatim | Made::Footer(_)) => {
                let reason = explain(&self.crossing.encode(payload).err()?);
                Some(reason).filter(|reason| reason.contains("module type"))
            }
            _ => None,
        }
    }

    /// What would become of a payload.
    fn way(&self, payload: &[u8]) -> PlannedWay {
        match self.crossing.make(payload) {
            Ok(Made::Verbatim) => PlannedWay::Verbatim,
            Ok(Made::Footer(_)) => PlannedWay::Footer,
            Ok(Made::Reencoded(made)) => PlannedWay::Reencoded(!made.lost.is_none()),
            Ok(Made::Elements) => PlannedWay::Elements,
            Err(reason) => PlannedWay::Refused(explain(&reason)),
        }
    }
}

fn bulk(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::Bulk(bytes) => Some(bytes),
        _ => None,
    }
}

/// Reads values that are known to be small, as a copy would.
async fn read(
    connection: &mut Connection,
    names: &[&[u8]],
    by_value: bool,
) -> Result<Vec<Option<Vec<u8>>>> {
    if by_value {
        let command: Vec<&[u8]> = [&b"MGET"[..]].into_iter().chain(names.iter().copied()).collect();
        let values = connection.call(&command).await.map_err(refused_before_work)?;
        return Ok(match values {
            Value::Array(values) => values.into_iter().map(bulk).collect(),
            _ => Vec::new(),
        });
    }
    for name in names {
        connection.output().command(&[b"DUMP", name]);
    }
    let values = connection.receive(names.len()).await.map_err(refused_before_work)?;
    Ok(values.into_iter().map(bulk).collect())
}

/// Pages of a small database, at most: those of a SCAN that never ends are enough for a sample, too.
const MOST_PAGES: usize = 10_000;

/// All names of a small database, or the first `wanted` of one that has grown.
async fn all_names(connection: &mut Connection, wanted: u64) -> Result<Vec<Vec<u8>>> {
    let mut names = Names::new(wanted);
    let mut cursor = b"0".to_vec();
    let mut count = 10_u32;
    for _ in 0..MOST_PAGES {
        let number = count.to_string();
        let page = connection.call(&[b"SCAN", &cursor, b"COUNT", number.as_bytes()]).await;
        let before = names.bytes;
        let Some(next) = names.add(&page.map_err(refused_before_work)?) else { break };
        if names.bytes - before < PAGE_BYTES {
            count = (count * 2).min(500);
        }
        if next == b"0" || names.is_full() {
            break;
        }
        cursor = next;
    }
    Ok(names.into_vec())
}

/// Names from pages at random places. A cursor that SCAN did not give is as good as any other for a
/// page; only that all keys come is not promised then.
async fn some_names(connection: &mut Connection, wanted: u64) -> Result<Vec<Vec<u8>>> {
    let mut names = Names::new(wanted);
    let count = PAGE.to_string();
    for _ in 0..ROUNDS {
        for _ in 0..PAGES {
            let cursor = fastrand::u32(..).to_string();
            connection.output().command(&[b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()]);
        }
        for page in connection.receive(PAGES).await.map_err(refused_before_work)? {
            names.add(&page);
        }
        if names.is_full() {
            break;
        }
    }
    Ok(names.into_vec())
}

/// Names, each once, within bounds.
struct Names {
    names: Vec<Vec<u8>>,
    seen: HashSet<Vec<u8>>,
    bytes: usize,
    wanted: usize,
}

impl Names {
    fn new(wanted: u64) -> Self {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        Self { names: Vec::new(), seen: HashSet::new(), bytes: 0, wanted }
    }

    fn is_full(&self) -> bool {
        self.names.len() >= self.wanted || self.bytes >= NAMES
    }

    /// Takes the names of a page; returns its cursor.
    fn add(&mut self, page: &Value) -> Option<Vec<u8>> {
        let [cursor, names] = page.elements()? else { return None };
        for name in names.elements()? {
            let Some(name) = name.bytes() else { continue };
            if !self.is_full() && self.seen.insert(name.to_vec()) {
                self.bytes += name.len();
                self.names.push(name.to_vec());
            }
        }
        cursor.bytes().map(<[u8]>::to_vec)
    }

    fn into_vec(self) -> Vec<Vec<u8>> {
        self.names
    }
}
