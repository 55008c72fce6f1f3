//! The hostile act, and what was on both sides right before it.

use std::time::Duration;

use redis::cmd;

use super::data::{self, DATABASES, Scene};
use super::plan::{Act, Job, Plan, When};
use crate::support::fault_proxy::FaultProxy;
use crate::support::inventory::{Inventory, Key};
use crate::support::keyferry::Running;

/// What was seen right before an act that destroys: no key left the source between the look and the act.
pub(super) struct Witness {
    /// Keys that had left the source.
    pub(super) gone: Vec<Key>,
    /// What the target held.
    pub(super) target: Inventory,
}

/// Waits for the moment, and lets the act happen; `None`: the run was over before, or nothing happens at a
/// moment.
pub(super) fn strike(
    plan: &Plan,
    scene: &mut Scene,
    into: &FaultProxy,
    before: &Inventory,
    running: &mut Running,
) -> Option<Witness> {
    if plan.act.is_refused() || matches!(plan.act, Act::Evicts | Act::Cuts) {
        return None;
    }
    let keys = |share: u64| usize::try_from(plan.keys as u64 * share / 100).expect("small");
    if plan.job == Job::Move && matches!(plan.act, Act::RestartsOld | Act::FailsOver) {
        let aged = match plan.when {
            When::Copied(share) => keys(share) / 2,
            When::Deleted(_) => plan.keys / 2,
        };
        wait(running, || data::size(&scene.target) >= aged)?;
        age(plan, scene);
    }
    match plan.when {
        When::Copied(share) => wait(running, || data::size(&scene.target) >= keys(share))?,
        When::Deleted(share) => {
            wait(running, || data::size(&scene.source) <= plan.keys - keys(share).max(1))?;
        }
    }
    if plan.act == Act::KilledAndFlushed {
        running.signal("KILL");
        while !running.is_over() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // What it had sent is carried out all the same.
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut hold = scene.source.client(0);
    hold.run(cmd("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE"));
    std::thread::sleep(plan.hold);
    let left = Inventory::names_on(&scene.source, &DATABASES);
    let gone = before.keys().filter(|key| !left.contains(*key)).cloned().collect();
    let witness = Witness { gone, target: data::inventory(&scene.target) };
    destroy(plan, scene, into);
    hold.run(cmd("CLIENT").arg("UNPAUSE"));
    Some(witness)
}

/// `None`: the run is over.
fn wait(running: &mut Running, mut condition: impl FnMut() -> bool) -> Option<()> {
    while !condition() {
        if running.is_over() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(())
}

/// From here on what comes will be lost.
fn age(plan: &Plan, scene: &Scene) {
    if plan.act == Act::RestartsOld {
        scene.target.client(0).run(&cmd("SAVE"));
    } else if let Some((_, link)) = &scene.replica {
        data::stall(link);
    }
}

fn destroy(plan: &Plan, scene: &mut Scene, into: &FaultProxy) {
    match plan.act {
        Act::FlushAll | Act::KilledAndFlushed => scene.target.client(0).run(&cmd("FLUSHALL")),
        Act::FlushDb => scene.target.client(0).run(&cmd("FLUSHDB")),
        Act::Shrinks => {
            let used = data::used(&scene.target);
            data::evict(&scene.target, used * 8 / 10);
        }
        Act::RestartsEmpty | Act::RestartsWhole | Act::RestartsOld => {
            scene.target.kill();
            scene.target.start_again();
        }
        Act::FailsOver => {
            let (replica, _) = scene.replica.as_ref().expect("the plan has one");
            replica.follow_nobody();
            into.lead_to(replica.port);
            scene.target.kill();
        }
        Act::EvictsUnasked | Act::Evicts | Act::Cuts | Act::Replica | Act::ReplicaOfReplica => {}
    }
}
