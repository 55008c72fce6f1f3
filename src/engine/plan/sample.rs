//! Some keys of the source: their types, sizes, and how their values would get across. Reads only, and
//! never much at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::Run;
use super::super::census::Holdings;
use super::super::probe::refused_before_work;
use super::names::Names;
use crate::error::Result;
use crate::net::{Connection, connect};
use crate::report::{Lost, PlannedWay};
use crate::resp::Value;
use crate::target::crossing::{Crossing, Made, explain};

/// Keys that are looked at, all databases together: enough to tell a share of one in a hundred, and
/// some 100 ms of the source's time.
const KEYS: u64 = 2_000;
/// Databases that are looked into; the largest.
const DATABASES: usize = 32;
/// Keys of a database that are looked at in any case.
const LEAST_KEYS: u64 = 20;
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
    /// How long the value is, where that was told and it was not read.
    pub(super) length: Option<u64>,
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
        self.memory.or(self.length).or(self.payload).unwrap_or(0)
    }

    /// How much of it goes at once, about: values may be kept in more than they are sent in. `None`: nobody
    /// told.
    pub(super) fn sent_at_once(&self) -> Option<u64> {
        self.payload.or(self.length).or(self.memory)
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
    /// Lengths of names that are too long to be looked at, in bytes.
    pub(super) long_names: Vec<usize>,
}

/// How keys are looked at.
pub(super) struct Sampling<'a> {
    pub(super) run: &'a Run,
    pub(super) crossing: Crossing,
    /// Whether it is known what the target is: else nothing is said of types.
    pub(super) knows_target: bool,
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
        let Names { names, longer, complete, .. } = match whole {
            true => Names::all(&mut connection, wanted, &self.run.stop).await?,
            false => Names::some(&mut connection, wanted, &self.run.stop).await?,
        };
        sample.whole &= complete && longer.is_empty();
        sample.long_names.extend(longer.into_iter().map(|(_, length)| length));
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
                length: None,
                way: None,
                known: false,
                took: None,
                weight,
            })
            .collect();
        let mut meant = self.measured(&mut connection, meant).await?;
        lengths(&mut connection, &mut meant).await?;
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
            let small = key.memory.or(key.length).is_none_or(|bytes| bytes <= LARGEST_VALUE);
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
                let (values, announced) = match self.may_measure {
                    true => (read(connection, &names, by_value).await?, None),
                    false => {
                        self.read_unknown(connection, (&names, by_value), keys, places).await?
                    }
                };
                let took = began.elapsed().saturating_sub(self.round_trip);
                let each = took / u32::try_from(places.len().max(1)).unwrap_or(u32::MAX);
                if let Some(key) = places.first().and_then(|at| keys.get_mut(*at)) {
                    key.length = key.length.or(announced);
                }
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

    /// One value whose size nobody told: a long one is not taken, its connection is given up, and its length
    /// is all that is known of it.
    async fn read_unknown(
        &self,
        connection: &mut Connection,
        (names, by_value): (&[&[u8]], bool),
        keys: &[Sampled],
        places: &[usize],
    ) -> Result<(Vec<Option<Vec<u8>>>, Option<u64>)> {
        let (Some(name), Some(key)) = (names.first(), places.first().and_then(|at| keys.get(*at)))
        else {
            return Ok((Vec::new(), None));
        };
        let command: &[u8] = if by_value { b"MGET" } else { b"DUMP" };
        connection.output().command(&[command, name]);
        connection.expect_replies();
        loop {
            if let Some(reply) = connection.next_reply()? {
                let value = match Value::of(&reply) {
                    Value::Array(values) => values.into_iter().next().unwrap_or(Value::Null),
                    value => value,
                };
                connection.take_slab();
                return Ok((vec![bulk(value)], None));
            }
            let announced = connection.announced().map(|bytes| bytes as u64);
            if let Some(bytes) = announced.filter(|bytes| *bytes > LARGEST_VALUE) {
                *connection = connect(&self.run.source, key.database).await?;
                return Ok((vec![None], Some(bytes)));
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
        if !self.knows_target {
            return PlannedWay::Unknown;
        }
        match self.crossing.make(payload) {
            Ok(Made::Verbatim) => PlannedWay::Verbatim,
            Ok(Made::Footer(_)) => PlannedWay::Footer,
            Ok(Made::Reencoded(made)) => PlannedWay::Reencoded(match made.lost {
                lost if lost.field_expiries > 0 => Lost::FieldExpiries,
                lost if lost.is_none() => Lost::Nothing,
                _ => Lost::Bookkeeping,
            }),
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

/// Asks how long those strings are that may be long; where that is refused it stays unknown.
async fn lengths(connection: &mut Connection, keys: &mut [Sampled]) -> Result<()> {
    let may_be_long = |key: &&mut Sampled| {
        let string = key.kind == "string" || key.kind == UNKNOWN;
        string && key.memory.is_none_or(|bytes| bytes > LARGEST_VALUE)
    };
    let mut keys: Vec<&mut Sampled> = keys.iter_mut().filter(may_be_long).collect();
    for chunk in keys.chunks_mut(CHUNK) {
        for key in chunk.iter() {
            connection.output().command(&[b"STRLEN", &key.name]);
        }
        let replies = connection.receive(chunk.len()).await.map_err(refused_before_work)?;
        for (key, reply) in chunk.iter_mut().zip(replies) {
            if let Value::Integer(length) = reply {
                key.length = u64::try_from(length).ok();
            }
        }
    }
    Ok(())
}
