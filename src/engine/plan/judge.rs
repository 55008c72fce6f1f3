//! Findings made of what servers tell of themselves. No I/O: facts in, findings out.

use super::super::activity::Activity;
use super::super::budget::{Pairs, longest_name, memory_for_name};
use super::super::clocks::Looks;
use super::super::{Run, functions, room as memory};
use super::findings::Findings;
use super::sample::{Sample, Sampled, UNKNOWN};
use crate::command::ServerInfo;
use crate::config::filter::TYPES;
use crate::config::{Address, IfExists, Route};
use crate::error::Side;
use crate::net::Connection;
use crate::report::{Finding, Lost, PlannedWay, Preflight};
use crate::units;

/// What stands between us and a server: TLS and what it checked, or nothing.
pub(super) fn transport(findings: &mut Findings, at: &Connection) {
    let server = at.server();
    let side = server.side.word();
    let Some(encryption) = at.encryption() else {
        if let Address::Tcp { host, .. } = &server.endpoint.address
            && !is_local(host)
            && server.endpoint.password.is_some()
        {
            let text = "the connection is not encrypted: password and data can be read on the way";
            let remedy = format!("use rediss:// or --{side}-tls, if the server speaks TLS");
            findings.add(Finding::warning("plaintext", text, remedy).on(side));
        }
        return;
    };
    let name = server.tls.server_name.as_deref().or_else(|| server.endpoint.host());
    let name = name.unwrap_or_default();
    findings.add(if server.tls.insecure {
        let text = format!("{encryption}; its certificate is NOT verified");
        let remedy = format!("give its CA by --{side}-cacert instead of --{side}-tls-insecure");
        Finding::warning("tls-not-verified", text, remedy).on(side)
    } else {
        let ours = if server.tls.certificate.is_some() { ", ours was shown" } else { "" };
        let text = format!("{encryption}; its certificate is valid for {name}{ours}");
        Finding::note("tls", text).on(side)
    });
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether it is known what a server is: one that may not be asked by INFO is not, and nothing follows from
/// what it did not tell.
pub(super) fn is_known(info: &ServerInfo) -> bool {
    !info.version.is_empty()
}

/// Whether the target has every module of the source; `None`: the source tells of none, or the target nothing.
pub(super) fn has_modules(source: &ServerInfo, target: &ServerInfo) -> Option<bool> {
    if !is_known(target) {
        return None;
    }
    let mut modules = source.modules.iter().filter(|name| *name != "lua").peekable();
    modules.peek()?;
    Some(modules.all(|name| target.modules.contains(name)))
}

/// Roles, functions, modules, eviction.
pub(super) fn servers(
    findings: &mut Findings,
    run: &Run,
    source: &ServerInfo,
    target: &ServerInfo,
) {
    let (from, into) = (Side::Source.word(), Side::Target.word());
    if source.replica {
        let text = "it is a replica: what its primary has not sent yet is not copied";
        findings.add(Finding::note("source-is-replica", text).on(from));
    }
    if target.replica {
        let text = "it is a replica: what it takes itself is lost when it follows its primary anew";
        let remedy = "name its primary as the target";
        findings.add(Finding::warning("target-is-replica", text, remedy).on(into));
    }
    if let Some(count) = source.libraries.filter(|count| *count > 0 && !run.plan.functions) {
        let libraries = functions::number(count);
        let text = format!("it holds {libraries} of functions, which will NOT be copied");
        let remedy = "add --with-functions to copy functions, too";
        findings.add(Finding::warning("functions-stay", text, remedy).on(from));
    }
    let missing: Vec<&str> = source
        .modules
        .iter()
        // The engine of scripts is a module of Valkey, which has no keys.
        .filter(|name| *name != "lua" && !target.modules.contains(name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() && is_known(target) {
        let names = missing.join(", ");
        let text = format!("it has modules that the target has not: {names}");
        let remedy = "if keys of theirs are to be copied, load them on the target";
        findings.add(Finding::note("modules-missing", text).with_remedy(remedy).on(from));
    }
    let refused = run.plan.delete_source && !run.plan.allow_evicting;
    if let (true, Some(limit)) = (target.memory.evicts() && !refused, target.memory.limit) {
        let policy = target.memory.policy.as_deref().unwrap_or_default();
        let text = format!(
            "it throws keys away once it uses {} (maxmemory-policy {policy})",
            units::bytes(limit)
        );
        let remedy = "if no key may be lost: CONFIG SET maxmemory-policy noeviction there";
        findings.add(Finding::note("target-evicts", text).with_remedy(remedy).on(into));
    }
}

/// Clocks that differ: how far the target's is ahead.
pub(super) fn clocks(findings: &mut Findings, clocks: &[Looks; 2]) -> crate::error::Result<i64> {
    let [source, target] = clocks;
    let (Some(source), Some(target)) = (&source.offset, &target.offset) else { return Ok(0) };
    let ahead = source.until(target);
    if findings.take("clocks-apart", source.refuse_apart(target))?.is_some() && ahead != 0 {
        findings.add(skew(ahead));
    }
    Ok(ahead)
}

fn skew(ahead_ms: i64) -> Finding {
    let text = format!(
        "its clock is {ahead_ms} ms ahead of the source's; expiries are moved by that, so that keys \
         live as long"
    );
    Finding::warning("clock-skew", text, "set both clocks by NTP").on(Side::Target.word())
}

/// What a sample of keys showed.
pub(super) fn sample(findings: &mut Findings, run: &Run, sample: &Sample) {
    let mut told: Vec<&str> = Vec::new();
    for key in &sample.keys {
        let Some(PlannedWay::Refused(why)) = &key.way else { continue };
        if told.contains(&key.kind.as_str()) {
            continue;
        }
        told.push(&key.kind);
        let text = format!("a value of type {} does not get across: {why}", key.kind);
        let remedy = match why.contains("--lossy") {
            _ if why.contains("every field of the hash has expired") => {
                "wait until the source removes it (its primary may be away), or leave it out by --exclude"
            }
            true => "allow the loss by --lossy, or choose a target that can keep them",
            false => "choose a target that knows them, or leave them out by --type or --exclude",
        };
        findings.add(Finding::warning("type-refused", text, remedy).on(Side::Target.word()));
    }
    let loses = |key: &&Sampled| key.way == Some(PlannedWay::Reencoded(Lost::FieldExpiries));
    let losing = sample.keys.iter().filter(loses).count() as u64;
    if losing > 0 {
        let have = match losing {
            1 => "1 hash of the sample has".to_owned(),
            more => format!("{} hashes of the sample have", units::count(more)),
        };
        let text = format!("{have} fields that expire, and will not there (--lossy)");
        let remedy = "choose a target that can keep them, or leave them out by --type or --exclude";
        let found = match run.plan.delete_source && !run.plan.dry_run {
            true => {
                let stays = "--delete-source keeps them on the source, which makes the exit code 1";
                Finding::warning("expiries-lost", format!("{text}; {stays}"), remedy)
            }
            // That was asked for.
            false => Finding::note("expiries-lost", text).with_remedy(remedy),
        };
        findings.add(found.on(Side::Target.word()));
    }
    let known_kind = |kind: &str| sample.keys.iter().any(|key| key.known && key.kind == kind);
    let of_module = sample.keys.iter().find(|key| {
        let known = TYPES.contains(&key.kind.as_str()) || key.kind == UNKNOWN;
        // Of a type whose values are all too large to be read for a plan, only its name is known.
        !known && !known_kind(&key.kind) && !matches!(key.way, Some(PlannedWay::Refused(_)))
    });
    if let Some(key) = of_module {
        let text = format!("there are values of a module, of type {}", key.kind);
        let remedy =
            "load the module on the target, in no older version, or leave them out by --type";
        findings.add(Finding::warning("module-values", text, remedy).on(Side::Source.word()));
    }
    long_names(findings, run, sample);
    let nothing = sample.whole && sample.keys.is_empty() && run.plan.letters.is_none();
    if nothing && run.plan.fail_if_empty {
        let text = match sample.looked_at {
            0 => "it holds no keys that are meant".to_owned(),
            keys => format!(
                "none of its {} keys is meant by --match, --exclude and --type",
                units::count(keys)
            ),
        };
        let text = format!("{text}: with --fail-if-empty the exit code is 1");
        let remedy = "check the URL, its database number and --db, --match, --exclude and --type";
        findings.add(Finding::blocker("nothing-selected", text, remedy).on(Side::Source.word()));
        return;
    }
    if sample.looked_at > 0 && sample.keys.is_empty() && !run.plan.filter.is_all() {
        let text = format!(
            "none of {} sampled keys is meant by --match, --exclude and --type",
            units::count(sample.looked_at)
        );
        let remedy = "check the patterns; keys that are few may be missed by a sample";
        findings.add(Finding::warning("nothing-matches", text, remedy).on(Side::Source.word()));
    }
}

/// Names that a copy has no room for.
fn long_names(findings: &mut Findings, run: &Run, sample: &Sample) {
    let most = longest_name(run.plan.limits.memory);
    let too_long = sample.long_names.iter().filter(|length| **length > most);
    let (count, longest) = (too_long.clone().count(), too_long.max());
    let Some(longest) = longest else { return };
    let text = format!(
        "names of {count} of the keys that were looked at are longer than --memory has room for ({}): these \
         keys fail, and are named",
        units::bytes(most as u64)
    );
    let needed = memory_for_name(*longest).div_ceil(1 << 20);
    let remedy = format!("say --memory {needed}MiB, at least");
    findings.add(Finding::warning("long-names", text, remedy).on(Side::Source.word()));
}

/// What the keys take of memory: where not all were looked at, a sample may have missed the few that take most, and
/// what the source tells has missed nothing.
pub(super) fn need(
    run: &Run,
    routes: &[Route],
    found: &Preflight,
    source: &ServerInfo,
) -> Option<u64> {
    match (found.estimate.memory, found.whole) {
        (Some(all), true) => Some(all),
        (sampled, _) => sampled.max(memory::need(&run.plan, routes, source)),
    }
}

/// Memory: what the keys `need`, and what the target has left.
pub(super) fn room(
    findings: &mut Findings,
    run: &Run,
    routes: &[Route],
    need: Option<u64>,
    [source, target]: [&ServerInfo; 2],
) {
    // As a copy does, which has not looked at the keys.
    if let Some(refusal) = memory::certainly_too_small(&run.plan, routes, source, target)
        && !run.plan.dry_run
    {
        findings.refuse("target-memory", &refusal.at(Side::Target, ""));
        return;
    }
    let Some(need) = need else { return };
    let side = Side::Target.word();
    if memory::too_small(need, target) {
        let replaces = run.plan.if_exists == IfExists::Replace;
        let hopeless = replaces && memory::too_small_emptied(need, target);
        if memory::replaces(routes, target) && !hopeless {
            let refusal = memory::refusal(need, target);
            let text = format!("{}, unless existing keys make room", refusal.message());
            let remedy = refusal.advice().unwrap_or_default().to_owned();
            findings.add(Finding::warning("target-memory", text, remedy).on(side));
        } else {
            let error = memory::refusal(need, target).at(Side::Target, "");
            findings.refuse("target-memory", &error);
        }
    } else if memory::too_small(need.saturating_add(need / 2), target) {
        let refusal = memory::refusal(need, target);
        let text = format!(
            "{}, should they take half as much again there, where values may be kept otherwise and clients \
             take memory, too",
            refusal.message()
        );
        let remedy = refusal.advice().unwrap_or_default().to_owned();
        findings.add(Finding::warning("target-memory", text, remedy).on(side));
    } else if let (None, Some(has)) = (target.memory.limit, target.memory.system) {
        let used = target.memory.used.unwrap_or(0);
        if used.saturating_add(need) > has {
            let text = format!(
                "the keys take about {}, and its machine has {} in all",
                units::bytes(need),
                units::bytes(has)
            );
            let remedy = "take a larger machine, or copy less (--db, --match)";
            findings.add(Finding::warning("target-machine", text, remedy).on(side));
        }
    }
}

/// Clients that the servers take, and those that a copy would be.
pub(super) fn clients(
    findings: &mut Findings,
    run: &Run,
    databases: usize,
    [source, target]: [&ServerInfo; 2],
) {
    let wanted = Pairs::asked_for(run.plan.limits, databases).clients();
    for (side, info) in [(Side::Source, source), (Side::Target, target)] {
        let Some(left) = info.room_for_clients() else { continue };
        if left < wanted {
            let text = format!(
                "its maxclients leaves {left} connections; a copy would open up to {wanted}, and makes do with \
                 fewer"
            );
            let remedy = "raise maxclients there if it is to be faster";
            findings.add(Finding::warning("few-connections", text, remedy).on(side.word()));
        }
    }
}

/// What others do on the source meanwhile. `same`: both sides are one server.
pub(super) fn activity(
    findings: &mut Findings,
    source: &ServerInfo,
    activity: Activity,
    same: bool,
) {
    let side = Side::Source.word();
    let ours = if same { 2 } else { 1 };
    let others = source.clients.map(|clients| clients.saturating_sub(ours));
    if let Some(changes) = activity.changes_per_second.filter(|changes| *changes > 0.0) {
        let text = format!(
            "it is written to, about {} changes a second: a key that is written during the copy is \
             copied as it was at some moment, and one that is made late may be missed",
            units::count(changes.ceil() as u64)
        );
        let remedy = "stop its writers, or copy again afterwards with --if-exists replace";
        findings.add(Finding::warning("source-is-written", text, remedy).on(side));
    }
    if let Some(others) = others.filter(|others| *others > 0) {
        let text = format!("clients connected beside us: {}", units::count(others));
        findings.add(Finding::note("other-clients", text).on(side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_clients_and_their_writes_are_told() {
        let mut findings = Findings::default();
        let source = ServerInfo::parse("connected_clients:3\n");
        activity(&mut findings, &source, Activity { changes_per_second: Some(99.2) }, false);
        let found = findings.sorted();
        assert_eq!(found[0].code, "source-is-written");
        assert!(found[0].cause.contains("about 100 changes"), "{}", found[0].cause);
        assert!(found[1].cause.ends_with(": 2"));
        let mut quiet = Findings::default();
        let alone = ServerInfo::parse("connected_clients:1\n");
        activity(&mut quiet, &alone, Activity { changes_per_second: Some(0.0) }, false);
        assert!(quiet.sorted().is_empty());
    }

    #[test]
    fn a_skewed_clock_is_a_warning() {
        let finding = skew(-70);
        assert_eq!((finding.code, finding.side), ("clock-skew", Some("target")));
        assert!(finding.cause.contains("-70 ms") && finding.remedy.is_some());
    }

    #[test]
    fn loopback_needs_no_tls() {
        assert!(is_local("localhost") && is_local("127.0.0.2") && is_local("::1"));
        assert!(!is_local("10.0.0.1") && !is_local("localhost.example"));
    }
}
