//! The payload room against real servers: what they dump is read, what is written they take.
//!
//! What is compared comes from the servers' own commands, through the independent client; only the
//! code under test is keyferry's.

/// Each pair of servers, each value in each encoding.
mod crossing;

/// The borders of lengths, numbers, scores, ids and expiries.
mod edges;

/// What servers take, as measured on thirteen of them.
mod matrix;

/// What targets answer to the probes.
mod probing;

/// A decoded value against what the server's commands show.
mod reading;

/// Values that a target cannot read: copied where they are sound, else named with what is wrong.
mod unreadable;

use keyferry::payload::{Family, Knowledge, probes};
use redis::{Value, cmd};

use crate::support::client::Client;
use crate::support::server::Kind;

fn family(kind: Kind) -> Family {
    match kind {
        Kind::Redis62 | Kind::Redis70 | Kind::Redis82 => Family::Redis,
        Kind::Valkey81 | Kind::Valkey91 => Family::Valkey,
    }
}

/// The server's own RDB version.
fn version(kind: Kind) -> u16 {
    match kind {
        Kind::Redis62 => 9,
        Kind::Redis70 => 10,
        Kind::Redis82 => 12,
        Kind::Valkey81 => 11,
        Kind::Valkey91 => 80,
    }
}

/// Asks a target all probes, as the engine will.
#[track_caller]
fn learn(client: &mut Client, family: Option<Family>) -> Knowledge {
    const NAME: &str = "keyferry:probe:payload";
    let answers: Vec<_> = probes(family)
        .into_iter()
        .map(|probe| {
            let mut restore = cmd("RESTORE");
            restore.arg(NAME).arg(1).arg(&probe.payload).arg("ABSTTL");
            let answer: Result<Value, _> = client.try_call(&restore);
            (probe.of, answer.is_ok())
        })
        .collect();
    assert!(!client.call::<bool>(cmd("EXISTS").arg(NAME)), "a probe was stored");
    Knowledge::learned(family, answers)
}
