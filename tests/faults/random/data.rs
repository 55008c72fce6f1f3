//! The sources: one of each kind, filled once, read by all runs.

use std::sync::OnceLock;
use std::time::Duration;

use redis::Pipeline;

use super::plan::Plan;
use crate::support::dataset::{self, DATABASES};
use crate::support::moments::{Family, Keys};
use crate::support::now_ms;
use crate::support::server::{Kind, Server};

/// Sources by their kind.
pub(crate) struct Sources {
    keys: usize,
    /// When the first of them was filled, at the earliest.
    pub(crate) since: i64,
    servers: [OnceLock<Server>; Kind::ALL.len()],
}

impl Sources {
    /// Sources of so many keys, each made when it is first asked for.
    pub(crate) fn new(keys: usize) -> Self {
        Self { keys, since: now_ms(), servers: Default::default() }
    }

    pub(crate) fn get(&self, kind: Kind) -> &Server {
        let at = Kind::ALL.iter().position(|&known| known == kind).expect("one of all");
        self.servers[at].get_or_init(|| filled(kind, self.keys))
    }
}

/// Keys whose value and expiry clients change while a run goes on.
pub(crate) fn moving(keys: usize) -> Keys {
    let families = [Family::Flips, Family::Persists, Family::Hashes].map(|of| (of, keys / 30));
    Keys { families: families.into(), db: DATABASES[1], rest: Duration::from_millis(5) }
}

/// Every type in every encoding, some large values, and small keys of all types up to that number.
fn filled(kind: Kind, keys: usize) -> Server {
    let server = Server::start(kind);
    dataset::fill(&server);
    moving(keys).fill(&server);
    let special: usize = DATABASES.iter().map(|&db| server.client(db).dbsize()).sum();
    let each = keys.saturating_sub(special) / DATABASES.len();
    for db in DATABASES {
        let mut client = server.client(db);
        for from in (0..each).step_by(500) {
            let mut batch = redis::pipe();
            (from..each.min(from + 500)).for_each(|number| add(&mut batch, db, number));
            client.run_all(&batch);
        }
    }
    server
}

fn add(batch: &mut Pipeline, db: u32, number: usize) {
    let key = format!("k:{number}");
    match number % 8 {
        0 => batch.cmd("HSET").arg(&key).arg("f").arg(number).arg("db").arg(db),
        1 => batch.cmd("RPUSH").arg(&key).arg(number).arg("x").arg(db),
        2 => batch.cmd("SADD").arg(&key).arg(number).arg("member").arg(db),
        3 => batch.cmd("ZADD").arg(&key).arg(number).arg("one").arg(db).arg("two"),
        4 => batch.cmd("XADD").arg(&key).arg("1-1").arg("f").arg(number),
        _ => {
            batch.cmd("SET").arg(&key).arg(format!("{number} of {db} {}", "v".repeat(number % 200)))
        }
    };
    if number.is_multiple_of(9) {
        let at = now_ms() + 7_200_000 + i64::try_from(number).expect("small");
        batch.cmd("PEXPIREAT").arg(&key).arg(at);
    }
}

/// Adds keys that expire while the run goes on, or soon after it; answers how many there are then.
pub(crate) fn add_short_lived(source: &Server, plan: &Plan) -> usize {
    let mut batch = redis::pipe();
    for (number, life) in plan.short_lives.iter().enumerate() {
        batch.cmd("SET").arg(format!("short:{}:{number}", plan.seed)).arg(number);
        batch.cmd("PEXPIRE").arg(format!("short:{}:{number}", plan.seed)).arg(*life);
    }
    source.client(0).run_all(&batch);
    DATABASES.iter().map(|&db| source.client(db).dbsize()).sum()
}
