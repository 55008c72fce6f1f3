//! Moves and clean-ups under hostile conditions: what leaves the source is on the target, whatever happens to
//! that, or it is named. `check` holds the rule.
//!
//! `make soak` draws 30 moves and 20 clean-ups; `KEYFERRY_SEED=N make soak` runs those of one seed again.

mod act;
mod check;
mod data;
mod plan;

use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use super::{from_environment, work_on};
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::inventory::Inventory;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::now_ms;
use crate::support::server::Server;
use data::{Scene, inventory};
use plan::{Act, Job, KEY_BYTES, Plan};

/// The moment from which expiries are counted: both sides of a clean-up are filled with the same.
static NOW: LazyLock<i64> = LazyLock::new(now_ms);

/// A run that takes longer hangs: its budget is 20 seconds without progress.
const LIMIT: Duration = Duration::from_secs(120);

/// Keys of a run that belongs to all tests.
const FEW: usize = 2_000;

/// How long it takes to read all keys once.
const SECONDS: u64 = 2;

/// One run; panics with what is wrong. Answers what was found, in words.
fn run(plan: &Plan) -> String {
    let mut scene = Scene::of(plan);
    let before = inventory(&scene.source);
    // Slow enough that the act comes half-way.
    let rate = Some(plan.keys as u64 * KEY_BYTES / SECONDS);
    let slow = Behaviour { rate, ..Behaviour::default() };
    let from = FaultProxy::start_with(scene.source.port, slow, plan.at_source.clone());
    let into = FaultProxy::scripted(scene.target.port, plan.at_target.clone());
    let place = TempDir::new().expect("a temporary directory");
    let start = || command(plan, &from, &into, &place).start();
    let mut running = start();
    let witness = act::strike(plan, &mut scene, &into, &before, &mut running);
    let mut run = running.finish_within(LIMIT);
    if plan.act == Act::KilledAndFlushed && witness.is_some() {
        run = start().finish_within(LIMIT);
    }
    let has_moved = plan.act == Act::FailsOver && witness.is_some();
    let target = match &scene.replica {
        Some((replica, _)) if has_moved => replica,
        _ => &scene.target,
    };
    if !plan.act.is_refused() {
        // Looking at a target that is full makes it evict more.
        data::never_evict(target);
    }
    let found = check::check(plan, &run, &before, [&scene.source, target], witness.as_ref());
    if plan.job == Job::Move && !plan.act.is_refused() {
        then_the_rest(&scene, target, &before, &found, &run);
    }
    let cut = from.struck() || into.struck();
    let struck = witness.is_some() || cut || plan.act.is_refused() || plan.act == Act::Evicts;
    format!("{plan}: {}, {found}, came: {struck}", run.code().unwrap_or(-1))
}

fn command(plan: &Plan, from: &FaultProxy, into: &FaultProxy, place: &TempDir) -> Keyferry {
    let command = match plan.job {
        Job::Move => Keyferry::copy(from.url(), into.url()),
        Job::CleanUp => Keyferry::cleanup(from.url(), into.url()),
    };
    let command = command.args(&plan.options);
    if (plan.job, plan.act) == (Job::Move, Act::KilledAndFlushed) {
        command.arg("--state").arg(place.path().join("state.json"))
    } else {
        command
    }
}

/// Once the trouble is over, the same command moves what is left, and loses nothing more.
#[track_caller]
fn then_the_rest(
    scene: &Scene,
    target: &Server,
    before: &Inventory,
    found: &check::Found,
    first: &Run,
) {
    let again = Keyferry::copy(scene.source.url(), target.url());
    let run = again.args(["--delete-source", "--if-exists", "replace"]).run();
    assert!(run.code() == Some(0), "the second time{}{}", first.frame(), run.frame());
    let held = inventory(target);
    let lost = before.keys().filter(|key| before.lacks(key, &held).is_some()).count();
    assert_eq!(data::size(&scene.source), 0, "what is left on the source{}", run.frame());
    assert_eq!(lost, found.lost.len(), "lost the second time{}", run.frame());
}

/// One run of the tests, in which the act has come.
#[track_caller]
fn expect(job: Job, act: Act, seed: u64) {
    let told = run(&Plan::of(seed, job, act, FEW));
    eprintln!("{told}");
    assert!(told.ends_with("came: true"), "too late: {told}");
}

macro_rules! runs {
    ($($name:ident: $job:ident, $act:ident, $seed:literal;)*) => {
        $(#[test]
        fn $name() {
            expect(Job::$job, Act::$act, $seed);
        })*
    };
}

runs! {
    a_move_to_a_target_that_evicts_is_refused: Move, EvictsUnasked, 1;
    a_move_to_a_target_that_evicts: Move, Evicts, 2;
    a_move_to_a_target_that_shrinks: Move, Shrinks, 3;
    a_move_to_a_target_that_is_flushed: Move, FlushAll, 4;
    a_move_to_a_database_that_is_flushed: Move, FlushDb, 5;
    a_move_to_a_target_that_is_restarted_empty: Move, RestartsEmpty, 6;
    a_move_to_a_target_that_is_restarted_whole: Move, RestartsWhole, 7;
    a_move_to_a_target_that_is_restarted_with_old_data: Move, RestartsOld, 8;
    a_move_to_a_target_that_fails_over_with_loss: Move, FailsOver, 9;
    a_move_through_broken_connections: Move, Cuts, 10;
    a_move_to_a_replica_of_the_source: Move, Replica, 11;
    a_move_to_a_replica_two_steps_down: Move, ReplicaOfReplica, 12;
    a_move_that_is_killed_before_a_flush: Move, KilledAndFlushed, 13;
    a_clean_up_against_a_target_that_shrinks: CleanUp, Shrinks, 20;
    a_clean_up_against_a_target_that_is_flushed: CleanUp, FlushAll, 21;
    a_clean_up_against_a_database_that_is_flushed: CleanUp, FlushDb, 22;
    a_clean_up_against_a_target_that_is_restarted_empty: CleanUp, RestartsEmpty, 23;
    a_clean_up_against_a_target_that_is_restarted_whole: CleanUp, RestartsWhole, 24;
    a_clean_up_against_a_target_that_is_restarted_with_old_data: CleanUp, RestartsOld, 25;
    a_clean_up_against_a_target_that_fails_over_with_loss: CleanUp, FailsOver, 26;
    a_clean_up_through_broken_connections: CleanUp, Cuts, 27;
    a_clean_up_against_a_replica_of_the_source: CleanUp, Replica, 28;
    a_clean_up_against_a_replica_two_steps_down: CleanUp, ReplicaOfReplica, 29;
    a_clean_up_that_is_killed_before_a_flush: CleanUp, KilledAndFlushed, 30;
}

#[test]
#[ignore = "takes a minute or two: make soak"]
fn soak() {
    const AT_ONCE: usize = 2;
    let keys = from_environment("KEYFERRY_KEYS").unwrap_or(5_000);
    let keys = usize::try_from(keys).expect("a number that fits");
    let plans: Vec<Plan> = if let Some(seed) = from_environment("KEYFERRY_SEED") {
        [Job::Move, Job::CleanUp].map(|job| Plan::drawn(seed, job, keys)).into()
    } else {
        let first =
            from_environment("KEYFERRY_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
        let moves = (first..first + 30).map(|seed| Plan::drawn(seed, Job::Move, keys));
        moves.chain((first..first + 20).map(|seed| Plan::drawn(seed, Job::CleanUp, keys))).collect()
    };
    work_on(&plans, AT_ONCE, || (), |(), plan| eprintln!("{}", run(plan)));
}
