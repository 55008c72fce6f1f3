//! Whether the target's memory can hold what would come. Pure.

use crate::command::ServerInfo;
use crate::config::{Plan, Route};
use crate::error::Error;
use crate::units;

/// A copy without a look at the keys refuses only where the target has room for less than this part
/// of what they take on the source: older servers, emptier tables and other encodings may take much
/// more than a new server does, but hardly twice as much.
const CERTAINLY: u64 = 2;

/// What the keys of these routes take of the source's memory, by their number; `None` where only
/// some keys are meant, or the source does not tell.
pub(super) fn need(plan: &Plan, routes: &[Route], source: &ServerInfo) -> Option<u64> {
    if !plan.filter.is_all() || plan.letters.is_some() {
        return None;
    }
    let all: u64 = source.keyspace.values().map(|held| held.keys).sum();
    let meant: u64 =
        routes.iter().filter_map(|route| source.keyspace.get(&route.source)).map(|h| h.keys).sum();
    let part = u128::from(source.memory.dataset?) * u128::from(meant) / u128::from(all.max(1));
    u64::try_from(part).ok()
}

/// Whether keys of the target may make room: then nothing is certain.
pub(super) fn replaces(routes: &[Route], target: &ServerInfo) -> bool {
    routes.iter().any(|route| target.keyspace.contains_key(&route.target))
}

/// What is certain without a look at the keys, if it stands in the way.
pub(super) fn certainly_too_small(
    plan: &Plan,
    routes: &[Route],
    source: &ServerInfo,
    target: &ServerInfo,
) -> Option<Error> {
    let need = need(plan, routes, source).filter(|_| !replaces(routes, target))?;
    too_small(need / CERTAINLY, target).then(|| refusal(need, target))
}

/// Whether so much does not fit.
pub(super) fn too_small(need: u64, target: &ServerInfo) -> bool {
    target.memory.room().is_some_and(|room| need > room)
}

/// Whether so much does not fit even where all that the target holds now made room for it.
pub(super) fn too_small_emptied(need: u64, target: &ServerInfo) -> bool {
    let dataset = target.memory.dataset.unwrap_or(u64::MAX);
    target.memory.room().is_some_and(|room| need > room.saturating_add(dataset))
}

/// Why a target is refused that has no room for `need` bytes; without its place.
pub(super) fn refusal(need: u64, target: &ServerInfo) -> Error {
    let memory = &target.memory;
    let (limit, used) = (memory.limit.unwrap_or(0), memory.used.unwrap_or(0));
    let policy = memory.policy.as_deref().unwrap_or("unknown");
    let then = if memory.evicts() {
        "it would throw keys away, copied ones too"
    } else {
        "it would refuse the rest"
    };
    let text = format!(
        "it has no room: the keys take about {} on the source, and of its maxmemory {} there are {} \
         left; {then} (maxmemory-policy {policy})",
        units::bytes(need),
        units::bytes(limit),
        units::bytes(memory.room().unwrap_or(0)),
    );
    Error::refused(text).advise(format!(
        "raise maxmemory of the target to {} at least, or copy less (--db, --match)",
        units::bytes(used.saturating_add(need))
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(memory: &str) -> ServerInfo {
        ServerInfo::parse(&format!("redis_version:7.0.15\n{memory}\n"))
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would_happen() {
        let full = target(
            "maxmemory:1000\nused_memory:900\nused_memory_dataset:50\nmaxmemory_policy:noeviction",
        );
        assert!(too_small_emptied(151, &full) && !too_small_emptied(150, &full));
        assert!(too_small(101, &full) && !too_small(100, &full));
        assert!(refusal(101, &full).to_string().contains("refuse the rest"));
        let evicting = target("maxmemory:1000\nused_memory:900\nmaxmemory_policy:allkeys-lru");
        let error = refusal(2_000, &evicting);
        assert!(error.to_string().contains("throw keys away"));
        assert!(error.advice().unwrap().contains("2.8 KiB"));
        let open = target("maxmemory:0\nused_memory:900");
        assert!(!too_small(u64::MAX, &open));
    }
}
