//! What the target takes: asked of it by tiny payloads where a copy is about to write there, else told by its
//! version.

use super::probe::refused_before_work;
use crate::command::ServerInfo;
use crate::error::Result;
use crate::net::{Connection, probe_key};
use crate::payload::{Family, Knowledge, ProbeOf, probes};
use crate::resp::Value;

/// First version of the family, as major and minor, and its RDB version; the newest first.
/// Sources: `rdb.h` of each release; `RDB_VERSION`.
const OF_REDIS: [((u32, u32), u16); 9] = [
    ((8, 10), 15),
    ((8, 8), 14),
    ((8, 6), 13),
    ((7, 4), 12),
    ((7, 2), 11),
    ((7, 0), 10),
    ((5, 0), 9),
    ((4, 0), 8),
    ((0, 0), 7),
];
const OF_VALKEY: [((u32, u32), u16); 2] = [((9, 0), 80), ((0, 0), 11)];

/// Whose a server is, if it is one of the two.
pub(super) fn family(info: &ServerInfo) -> Option<Family> {
    match info.family.as_str() {
        "redis" => Some(Family::Redis),
        "valkey" => Some(Family::Valkey),
        _ => None,
    }
}

/// The RDB version that a server of this version writes.
pub(super) fn rdb_version(info: &ServerInfo) -> u16 {
    let versions = match family(info) {
        Some(Family::Valkey) => &OF_VALKEY[..],
        _ => &OF_REDIS,
    };
    let version = versions.iter().find(|(first, _)| info.numbers() >= *first);
    version.map_or(OLDEST, |(_, version)| *version)
}

/// What a server of this version takes with its default configuration.
pub(super) fn of_version(info: &ServerInfo) -> Knowledge {
    let own = family(info);
    let known = Knowledge::of_version(own.unwrap_or(Family::Redis), rdb_version(info));
    Knowledge { family: own, ..known }
}

/// The RDB version of the oldest servers there are.
const OLDEST: u16 = 7;

/// Asks the target which payloads it takes, and leaves none there. A target that refuses them all, for whatever
/// reason, is believed its version, and so is a replica: it keeps what has expired. Beside the
/// answer: how many commands that write it took for that.
///
/// # Errors
/// The connection broke.
pub(super) async fn ask(target: &mut Connection, info: &ServerInfo) -> Result<(Knowledge, u64)> {
    let told = without_a_write(target, info).await?;
    if info.replica {
        return Ok((told, 0));
    }
    let asked = probes(family(info));
    for probe in &asked {
        // A value that expired in 1970 is read, but not stored (Redis 5.0).
        let restore = [b"RESTORE".as_slice(), probe_key(), b"1", &probe.payload, b"ABSTTL"];
        target.output().command(&restore);
    }
    // A Valkey that imports keeps it until a write looks for the key: each of these does, also one that is
    // refused for its payload.
    target.output().command(&[b"RESTORE", probe_key(), b"0", b""]);
    let replies = target.receive(asked.len() + 1).await.map_err(refused_before_work)?;
    let answers: Vec<(ProbeOf, bool)> = asked
        .iter()
        .zip(&replies)
        .map(|(probe, reply)| (probe.of, matches!(reply, Value::Simple(_))))
        .collect();
    let taken = answers.iter().filter(|(_, taken)| *taken).count();
    if taken == 0 {
        tracing::debug!("the target took no probe; it is believed its version");
        return Ok((told, 0));
    }
    let learned = Knowledge::learned(family(info), answers);
    Ok((Knowledge { longest_bulk: told.longest_bulk, ..learned }, taken as u64))
}

/// What it takes by its version and its configuration: nothing that could be stored is sent.
///
/// # Errors
/// The connection broke.
pub(super) async fn without_a_write(
    target: &mut Connection,
    info: &ServerInfo,
) -> Result<Knowledge> {
    let told = of_version(info);
    let limit = configured_bulk(target).await?;
    Ok(Knowledge { longest_bulk: limit.unwrap_or(told.longest_bulk), ..told })
}

/// The longest bulk string that it is configured to take; `None` where it does not tell.
///
/// # Errors
/// The connection broke.
pub(super) async fn configured_bulk(target: &mut Connection) -> Result<Option<u64>> {
    let limit = target.call(&[b"CONFIG", b"GET", b"proto-max-bulk-len"]).await;
    Ok(longest_bulk(&limit.map_err(refused_before_work)?))
}

/// The longest bulk string that a server takes; `None` where it does not tell.
fn longest_bulk(told: &Value) -> Option<u64> {
    match told.elements() {
        Some([_, value]) => value.text()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_what_is_taken() {
        let told = |text: &str| of_version(&ServerInfo::parse(text));
        assert!(told("redis_version:6.2.5").accepts(9));
        assert!(!told("redis_version:6.2.5").accepts(10));
        assert!(told("redis_version:8.2.3").knows(24));
        assert!(told("redis_version:8.10.0").accepts(15));
        assert!(told("redis_version:7.2.4\nvalkey_version:9.1.2").knows(22));
        let valkey8 = told("redis_version:7.2.4\nvalkey_version:8.1.8");
        assert!(valkey8.accepts(11) && !valkey8.accepts(12) && !valkey8.knows(22));
        let strange = told("redis_version:7.4.0\nserver_name:dragonfly");
        assert!(strange.knows(18) && !strange.knows(24), "no type of one family");
    }
}
