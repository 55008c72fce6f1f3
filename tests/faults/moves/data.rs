//! The servers of a run: a source that is filled, and a target that is what the plan says.

use redis::cmd;

use super::plan::{Act, Job, Plan};
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Direction, Fault, FaultProxy, Step};
use crate::support::inventory::Inventory;
use crate::support::now_ms;
use crate::support::server::{Kind, Server, Setup};

/// The databases that hold keys.
pub(super) const DATABASES: [u32; 2] = [0, 1];

/// The servers of a run.
pub(super) struct Scene {
    pub(super) source: Server,
    pub(super) target: Server,
    /// Takes the target's place, where the plan has one fail over.
    pub(super) replica: Option<(Server, FaultProxy)>,
    /// Stands between the source and its replica's replica.
    _between: Option<Server>,
}

impl Scene {
    pub(super) fn of(plan: &Plan) -> Self {
        let source = start(plan.kinds[0]);
        let empty = used(&source);
        fill(&source, plan.keys);
        let data = used(&source) - empty;
        let mut between = None;
        let target = match plan.act {
            Act::EvictsUnasked | Act::Evicts => {
                let target = start(plan.kinds[1]);
                evict(&target, used(&target) + data * 8 / 10);
                target
            }
            Act::Shrinks => {
                let target = start(plan.kinds[1]);
                evict(&target, 0);
                target
            }
            Act::RestartsWhole => Setup::new(plan.kinds[1])
                .option("--appendonly", "yes")
                .option("--appendfsync", "always")
                .start(),
            Act::Replica => replica_of(&source),
            Act::ReplicaOfReplica => replica_of(between.insert(replica_of(&source))),
            _ => start(plan.kinds[1]),
        };
        let replica = (plan.act == Act::FailsOver).then(|| lagging(&target));
        if let (Job::CleanUp, Some((_, link))) = (plan.job, &replica) {
            // It never gets what the target holds.
            stall(link);
        }
        if plan.job == Job::CleanUp && !plan.act.is_refused() {
            if plan.act == Act::RestartsOld {
                // It comes back with half of it.
                fill(&target, plan.keys / 2);
                target.client(0).run(&cmd("SAVE"));
            }
            fill(&target, plan.keys);
        }
        Self { source, target, replica, _between: between }
    }
}

fn start(kind: Kind) -> Server {
    let server = Server::start(kind);
    // By default a server waits five seconds for more replicas.
    server.synchronise_at_once();
    server
}

/// Nothing passes any more: what is behind it lags from now on.
pub(super) fn stall(link: &FaultProxy) {
    link.then(&[Step { direction: Direction::Replies, after: 0, fault: Fault::Stall }]);
}

/// The memory that a server uses.
pub(super) fn used(server: &Server) -> u64 {
    let text = server.client(0).info("memory", "used_memory").expect("it tells");
    text.parse().expect("a number")
}

/// Lets it evict whatever is beyond so many bytes; 0: nothing yet.
pub(super) fn evict(server: &Server, limit: u64) {
    let mut client = server.client(0);
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru"));
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit));
}

/// It takes what comes, and keeps it.
pub(super) fn never_evict(server: &Server) {
    let mut client = server.client(0);
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(0));
    client.run(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("noeviction"));
}

/// A writable replica, in step.
fn replica_of(primary: &Server) -> Server {
    let replica = start(primary.kind);
    replica.client(0).run(cmd("CONFIG").arg("SET").arg("replica-read-only").arg("no"));
    replica.follow(primary.port);
    replica
}

fn lagging(target: &Server) -> (Server, FaultProxy) {
    let (replica, link) =
        (start(target.kind), FaultProxy::start(target.port, Behaviour::default()));
    replica.follow(link.port);
    (replica, link)
}

/// Mostly strings of 1,000 bytes, and small keys of other types; a third of them with an expiry. What it
/// holds depends on nothing but the number of keys.
fn fill(server: &Server, keys: usize) {
    const BATCH: usize = 200;
    let base = *super::NOW + 7_200_000;
    assert!(now_ms() < base, "no key expires while a run goes on");
    for (db, count) in DATABASES.into_iter().zip([keys * 4 / 5, keys / 5]) {
        let mut client = server.client(db);
        for from in (0..count).step_by(BATCH) {
            let mut batch = redis::pipe();
            for number in from..count.min(from + BATCH) {
                let key = format!("key:{number}");
                match number % 10 {
                    6 => batch.cmd("RPUSH").arg(&key).arg(number).arg("x").arg(db),
                    7 => batch.cmd("SADD").arg(&key).arg(number).arg("member").arg(db),
                    8 => batch.cmd("HSET").arg(&key).arg("f").arg(number).arg("db").arg(db),
                    9 => batch.cmd("ZADD").arg(&key).arg(number).arg("one").arg(db).arg("two"),
                    _ => batch.cmd("SET").arg(&key).arg(noise(number as u64 + 1, 1_000)),
                };
                if number.is_multiple_of(3) {
                    batch
                        .cmd("PEXPIREAT")
                        .arg(&key)
                        .arg(base + i64::from(db) + number as i64 * 100);
                }
            }
            client.run_all(&batch);
        }
    }
}

/// The keys of a server.
pub(super) fn inventory(server: &Server) -> Inventory {
    Inventory::of(server, &DATABASES)
}

/// How many keys it holds.
pub(super) fn size(server: &Server) -> usize {
    DATABASES.iter().map(|&db| server.client(db).dbsize()).sum()
}
