//! What a sample says of all keys: shares of types and ways, the biggest, what a copy would take.
//! Pure.

use std::collections::BTreeMap;

use super::sample::{Sample, Sampled};
use crate::config::Limits;
use crate::report::{BigKey, Estimate, Lost, PlannedWay, Preflight, TypeShare};
use crate::units::printable;

/// The biggest keys that are named.
const BIGGEST: usize = 10;

/// Puts what a sample says into what was found.
pub(super) fn summarize(found: &mut Preflight, sample: &Sample, limits: Limits) {
    found.sampled = sample.keys.len() as u64;
    found.whole = sample.whole;
    found.types = types(&sample.keys);
    found.biggest = biggest(&sample.keys);
    found.estimate = estimate(&sample.keys, limits);
}

/// Values of one type that were not read go as those that were: where only one way was seen. Reasons
/// differ in their numbers; the first stands for all.
fn types(keys: &[Sampled]) -> Vec<TypeShare> {
    type Shares<'a> = BTreeMap<(&'a str, &'static str, Lost), (TypeShare, f64, f64)>;
    let mut shares = Shares::new();
    for key in keys {
        let way = key.way.clone().or_else(|| only_way(keys, &key.kind));
        let way = way.unwrap_or(PlannedWay::Unknown);
        let lost = match way {
            PlannedWay::Reencoded(lost) => lost,
            _ => Lost::Nothing,
        };
        let (share, count, memory) =
            shares.entry((&key.kind, way.word(), lost)).or_insert_with(|| {
                let name = key.kind.clone();
                (TypeShare { name, way, sampled: 0, keys: 0, memory: None }, 0.0, 0.0)
            });
        share.sampled += 1;
        *count += key.weight;
        if let Some(bytes) = key.memory {
            *memory += bytes as f64 * key.weight;
            share.memory = Some(0);
        }
    }
    let mut shares: Vec<TypeShare> = shares
        .into_values()
        .map(|(share, count, memory)| TypeShare {
            keys: count.round() as u64,
            memory: share.memory.map(|_| memory.round() as u64),
            ..share
        })
        .collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.keys));
    shares
}

/// The one way that all values of a type went that were read. A large one may be kept otherwise, but
/// then in a form that every server has.
fn only_way(keys: &[Sampled], kind: &str) -> Option<PlannedWay> {
    let mut ways = keys.iter().filter(|key| key.kind == kind).filter_map(|key| key.way.as_ref());
    let first = ways.next()?;
    let same = ways.all(|way| way.word() == first.word());
    (same && !matches!(first, PlannedWay::Refused(_))).then(|| first.clone())
}

fn biggest(keys: &[Sampled]) -> Vec<BigKey> {
    let mut by_size: Vec<&Sampled> = keys.iter().filter(|key| key.bytes() > 0).collect();
    by_size.sort_by_key(|key| std::cmp::Reverse(key.bytes()));
    let named = by_size.into_iter().take(BIGGEST).map(|key| BigKey {
        db: key.database,
        key: printable(&key.name),
        kind: key.kind.clone(),
        bytes: key.bytes(),
    });
    named.collect()
}

/// All of it is an estimate: values that were not read count as those that were, by their memory.
fn estimate(keys: &[Sampled], limits: Limits) -> Estimate {
    let sum = |of: &dyn Fn(&Sampled) -> Option<f64>| -> Option<f64> {
        let parts: Vec<f64> =
            keys.iter().filter_map(|key| of(key).map(|x| x * key.weight)).collect();
        (!parts.is_empty()).then(|| parts.iter().sum())
    };
    let count: f64 = keys.iter().map(|key| key.weight).sum();
    let memory = sum(&|key| key.memory.map(|bytes| bytes as f64));
    // Of the values that were read.
    let read = sum(&|key| key.payload.map(|_| 1.0));
    let payload = sum(&|key| key.payload.map(|bytes| bytes as f64));
    let took = sum(&|key| key.took.map(|took| took.as_secs_f64()));
    let their_memory = sum(&|key| key.memory.filter(|_| key.payload.is_some()).map(|m| m as f64));
    // By memory where it is known, else by their number.
    let scale = match (memory, their_memory, read) {
        (Some(all), Some(theirs), _) if theirs > 0.0 => all / theirs,
        (_, _, Some(read)) if read > 0.0 => count / read,
        _ => 1.0,
    };
    let payload = payload.map(|bytes| bytes * scale);
    let paced = [
        took.map(|seconds| seconds * scale),
        payload.zip(limits.bytes_per_second).map(|(bytes, rate)| bytes / rate.max(1) as f64),
        limits.keys_per_second.map(|rate| count / rate.max(1) as f64),
    ];
    Estimate {
        keys: count.round() as u64,
        memory: memory.map(|bytes| bytes.round() as u64),
        payload: payload.map(|bytes| bytes.round() as u64),
        seconds: took.and_then(|_| paced.into_iter().flatten().reduce(f64::max)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(name: &str, kind: &str, memory: u64, read: Option<(u64, PlannedWay)>) -> Sampled {
        Sampled {
            database: 0,
            name: name.into(),
            kind: kind.into(),
            memory: Some(memory),
            took: read.is_some().then_some(Duration::from_millis(1)),
            payload: read.as_ref().map(|(bytes, _)| *bytes),
            way: read.map(|(_, way)| way),
            length: None,
            known: false,
            weight: 10.0,
        }
    }

    #[test]
    fn a_sample_stands_for_all_keys() {
        let keys = [
            key("a", "string", 100, Some((50, PlannedWay::ByValue))),
            key("b", "string", 300, None),
            key("c", "hash", 100, Some((50, PlannedWay::Refused("3 fields".into())))),
            key("d", "hash", 100, Some((50, PlannedWay::Refused("4 fields".into())))),
            key("e", "hash", 200_000, None),
        ];
        let shares = types(&keys);
        let told: Vec<(&str, &str, u64)> =
            shares.iter().map(|of| (&*of.name, of.way.word(), of.keys)).collect();
        // What is refused for its value is not said of values that nobody read.
        assert_eq!(
            told,
            [("hash", "refused", 20), ("string", "commands", 20), ("hash", "unknown", 10)]
        );
        assert_eq!(shares[1].memory, Some(4_000));
        let big: Vec<String> = biggest(&keys).into_iter().map(|key| key.key).collect();
        assert_eq!(big[..2], ["e", "b"]);
    }

    #[test]
    fn estimates_follow_memory_and_throttles() {
        let keys = [
            key("a", "string", 100, Some((50, PlannedWay::ByValue))),
            key("b", "string", 300, None),
        ];
        let free = estimate(&keys, Limits::default());
        assert_eq!((free.keys, free.memory, free.payload), (20, Some(4_000), Some(2_000)));
        // 10 keys of 1 ms stand for a quarter of the memory.
        assert!((free.seconds.unwrap() - 0.04).abs() < 1e-9);
        let slow = Limits { keys_per_second: Some(2), ..Limits::default() };
        assert!((estimate(&keys, slow).seconds.unwrap() - 10.0).abs() < 1e-9);
        assert_eq!(estimate(&[], Limits::default()), Estimate::default());
    }
}
