//! The measured truth: 5,135 payloads of thirteen servers, each sent to each of them.
//!
//! `restore-matrix.csv` has a row for each source, target and key: the type byte and RDB version of
//! the payload, and what RESTORE answered to it as it was and with its footer rewritten to the
//! lesser of both versions: OK, `version` (or checksum wrong), `format` (of the data is bad). In
//! every OK the values were equal.

use std::collections::{BTreeMap, BTreeSet};

use keyferry::payload::{
    Family, Knowledge, Losses, Policy, ProbeOf, Reason, Refusal, Way, classify, footer, probes,
    reencode,
};

const MATRIX: &str = include_str!("restore-matrix.csv");
const ROWS: usize = 5_135;

const STRICT: Policy = Policy { lossy: false, now_ms: 0, ahead_ms: 0 };
const LOSSY: Policy = Policy { lossy: true, now_ms: 0, ahead_ms: 0 };

struct Row<'a> {
    source: &'a str,
    target: &'a str,
    key: &'a str,
    byte: u8,
    version: u16,
    verbatim: &'a str,
    rewritten: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let rows: Vec<Row<'static>> = MATRIX.lines().skip(1).map(row).collect();
    assert_eq!(rows.len(), ROWS);
    rows
}

fn row(line: &'static str) -> Row<'static> {
    let cells: Vec<&str> = line.split(',').collect();
    let [source, target, key, byte, version, verbatim, rewritten] = cells[..] else {
        panic!("{line}")
    };
    let (byte, version) = (byte.parse().expect("a byte"), version.parse().expect("a version"));
    Row { source, target, key, byte, version, verbatim, rewritten }
}

fn knowledge(server: &str) -> Knowledge {
    let (family, version) = match server {
        "redis-3.2.6" => (Family::Redis, 7),
        "redis-4.0.14" => (Family::Redis, 8),
        "redis-5.0.6" | "redis-6.2.5" | "redis-6.2.14" => (Family::Redis, 9),
        "redis-7.0.15" => (Family::Redis, 10),
        "redis-7.2.6" => (Family::Redis, 11),
        "redis-7.4.1" | "redis-8.2.3" => (Family::Redis, 12),
        "redis-8.6.3" => (Family::Redis, 13),
        "valkey-8.1.8" => (Family::Valkey, 11),
        "valkey-9.0.0" | "valkey-9.1.2" => (Family::Valkey, 80),
        other => panic!("a server {other}"),
    };
    Knowledge::of_version(family, version)
}

/// A payload of the row's type and version. How it is taken does not depend on the value.
fn payload(row: &Row<'_>) -> Vec<u8> {
    let family = if row.source.starts_with("valkey") { Family::Valkey } else { Family::Redis };
    let probes = probes(Some(family));
    let probe = probes.iter().find(|probe| probe.of == ProbeOf::Type(row.byte));
    let probe = probe.unwrap_or_else(|| panic!("no payload of type {}", row.byte));
    let (body, _) = footer::split(&probe.payload).expect("a footer");
    footer::seal(body.to_vec(), row.version)
}

/// What has to be done for a row, by what its target answered.
fn expected(row: &Row<'_>) -> Way {
    let target = knowledge(row.target);
    if row.verbatim == "OK" {
        return Way::Verbatim;
    }
    if row.rewritten == "OK" {
        return Way::PatchFooter { version: target.version_for(row.byte).expect("a version") };
    }
    let version = target.versions.highest().expect("a version");
    let mut lost = Losses::default();
    if row.key.starts_with("stream") {
        if version < 9 {
            return Way::Refuse(Reason::Target(Refusal::NoType("stream")));
        }
        lost.idempotency = row.byte == 26;
        lost.active_times = row.byte >= 21 && version < 11;
        lost.counters = row.byte >= 19 && version < 10;
    }
    let expiries = target.knows(22);
    if row.key.starts_with("hash_ttl") && !expiries {
        return Way::Refuse(Reason::Target(Refusal::FieldExpiries(1)));
    }
    Way::Reencode { lost }
}

#[test]
fn every_row_is_predicted() {
    let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows() {
        let way = classify(&payload(&row), &knowledge(row.target), STRICT);
        let place = format!("{} of {} to {}", row.key, row.source, row.target);
        assert_eq!(way, expected(&row), "{place}");
        let name = match way {
            Way::Verbatim => "verbatim",
            Way::PatchFooter { .. } => "footer",
            Way::Reencode { .. } => "encoded anew",
            Way::Commands => "commands",
            Way::Refuse(_) => "refused",
        };
        *ways.entry(name).or_default() += 1;
    }
    // As counted in the table: 4,548 were taken one way or the other, 587 as neither.
    let counted = [("encoded anew", 439), ("footer", 1_870), ("refused", 148), ("verbatim", 2_678)];
    assert_eq!(ways, BTreeMap::from(counted));
}

#[test]
fn what_is_encoded_anew_is_taken_as_it_is() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        let (payload, target) = (payload(&row), knowledge(row.target));
        let place = format!("{} of {} to {}", row.key, row.source, row.target);
        match classify(&payload, &target, LOSSY) {
            Way::Reencode { .. } => {
                let made = reencode(&payload, &target, LOSSY)
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
                assert_eq!(classify(&made.payload, &target, STRICT), Way::Verbatim, "{place}");
                seen.insert(row.byte);
            }
            // Streams to servers without them; all else is possible where loss is allowed.
            Way::Refuse(reason) => {
                assert_eq!(reason, Reason::Target(Refusal::NoType("stream")), "{place}");
            }
            Way::Verbatim | Way::PatchFooter { .. } => {}
            Way::Commands => panic!("{place}: it is not large"),
        }
    }
    assert_eq!(seen, BTreeSet::from([5, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26]));
}
