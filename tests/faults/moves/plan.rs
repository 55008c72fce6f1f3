//! What a seed stands for: a command that deletes keys of the source, and what befalls it.

use std::fmt;
use std::time::Duration;

use crate::support::fault_proxy::{Direction, Fault, Step};
use crate::support::server::Kind;

/// Bytes that a key comes to on the wire each time that it is read.
pub(super) const KEY_BYTES: u64 = 1_100;

/// The command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// `copy --delete-source`
    Move,
    /// `cleanup --verified-against`, of equal servers
    CleanUp,
}

/// What is hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The target has room for less than the data and evicts; nobody has allowed that.
    EvictsUnasked,
    /// Likewise, and it is allowed.
    Evicts,
    /// Somebody takes a part of its memory from a target that evicts.
    Shrinks,
    FlushAll,
    /// Only database 0.
    FlushDb,
    /// The target is restarted, empty.
    RestartsEmpty,
    /// With all that it had.
    RestartsWhole,
    /// With what it had some time before.
    RestartsOld,
    /// The target's address moves to a replica that lags behind.
    FailsOver,
    /// Connections to both sides are cut at random.
    Cuts,
    /// The target is a writable replica of the source.
    Replica,
    /// A replica of a replica of it.
    ReplicaOfReplica,
    /// keyferry is killed, the target is flushed, the same command goes on.
    KilledAndFlushed,
}

/// When it comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// Once the target holds this share of the keys, in percent.
    Copied(u64),
    /// Once the source has lost this share.
    Deleted(u64),
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) job: Job,
    pub(super) act: Act,
    pub(super) when: When,
    pub(super) kinds: [Kind; 2],
    pub(super) keys: usize,
    pub(super) options: Vec<String>,
    pub(super) at_source: Vec<Step>,
    pub(super) at_target: Vec<Step>,
    /// How long deletions of the source are held up before it comes: those that are on their way then were
    /// allowed by what was true before, and come after it.
    pub(super) hold: Duration,
}

impl Act {
    const OF_MOVES: [Self; 13] = [
        Self::EvictsUnasked,
        Self::Evicts,
        Self::Shrinks,
        Self::FlushAll,
        Self::FlushDb,
        Self::RestartsEmpty,
        Self::RestartsWhole,
        Self::RestartsOld,
        Self::FailsOver,
        Self::Cuts,
        Self::Replica,
        Self::ReplicaOfReplica,
        Self::KilledAndFlushed,
    ];

    /// Acts of a moment half-way, of those that a cleanup can meet.
    const OF_CLEANUPS: [Self; 11] = [
        Self::Shrinks,
        Self::FlushAll,
        Self::FlushDb,
        Self::RestartsEmpty,
        Self::RestartsWhole,
        Self::RestartsOld,
        Self::FailsOver,
        Self::Cuts,
        Self::Replica,
        Self::ReplicaOfReplica,
        Self::KilledAndFlushed,
    ];

    /// Has the target nothing left to lose before it begins?
    pub(super) fn is_refused(self) -> bool {
        matches!(self, Self::EvictsUnasked | Self::Replica | Self::ReplicaOfReplica)
    }

    /// Can it take from the target what that held?
    pub(super) fn destroys(self) -> bool {
        !self.is_refused() && !matches!(self, Self::RestartsWhole | Self::Cuts)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, job, act, when, kinds, options, .. } = self;
        write!(out, "seed {seed}: {job:?}, {act:?} at {when:?}, {kinds:?}, {}", options.join(" "))
    }
}

impl Plan {
    /// The run of a seed: always the same.
    pub(super) fn drawn(seed: u64, job: Job, keys: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let acts: &[Act] = if job == Job::Move { &Act::OF_MOVES } else { &Act::OF_CLEANUPS };
        Self::of(seed, job, acts[dice.usize(..acts.len())], keys)
    }

    /// The run of a seed with this act.
    pub(super) fn of(seed: u64, job: Job, act: Act, keys: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(1 << 40));
        let share = dice.u64(5..70);
        let when = if job == Job::Move && dice.bool() {
            When::Copied(share)
        } else {
            When::Deleted(share)
        };
        let mut kinds = [(); 2].map(|()| Kind::ALL[dice.usize(..Kind::ALL.len())]);
        if matches!(act, Act::Replica | Act::ReplicaOfReplica) {
            kinds[1] = kinds[0];
        }
        let most = keys as u64 * KEY_BYTES;
        let cuts = act == Act::Cuts;
        let steps = |dice: &mut fastrand::Rng, heavy| -> Vec<Step> {
            (0..if cuts { dice.usize(1..=4) } else { 0 }).map(|_| step(dice, most, heavy)).collect()
        };
        Self {
            seed,
            job,
            act,
            when,
            kinds,
            keys,
            options: options(&mut dice, job, act),
            at_source: steps(&mut dice, Direction::Replies),
            at_target: steps(&mut dice, Direction::Requests),
            hold: Duration::from_millis(dice.u64(..150)),
        }
    }
}

/// A cut: values go one way, and only questions or acks the other.
fn step(dice: &mut fastrand::Rng, most: u64, heavy: Direction) -> Step {
    let fault = match dice.u8(..4) {
        0 => Fault::ResetOnce,
        1 => Fault::HalfClose,
        2 => Fault::Away(Duration::from_millis(dice.u64(10..500))),
        _ => Fault::CloseOnce,
    };
    let direction = if dice.bool() { Direction::Requests } else { Direction::Replies };
    let bytes = if direction == heavy { most / 4 } else { most / 60 };
    Step { direction, after: dice.u64(..bytes), fault }
}

fn options(dice: &mut fastrand::Rng, job: Job, act: Act) -> Vec<String> {
    let connections = dice.usize(1..=4).to_string();
    let mut options = vec!["--connections", &connections, "--retry-budget", "20s"];
    options.extend(["--connect-timeout", "2s", "--reply-timeout", "10s"]);
    match job {
        Job::Move => {
            options.extend(["--fetch", if dice.bool() { "auto" } else { "dump" }]);
            options.push("--delete-source");
            // Else it would be refused because it holds keys.
            if matches!(act, Act::Replica | Act::ReplicaOfReplica) {
                options.extend(["--if-exists", "replace"]);
            }
            if matches!(act, Act::Evicts | Act::Shrinks) {
                options.push("--allow-evicting-target");
            }
        }
        Job::CleanUp => options.push("--force"),
    }
    options.into_iter().map(str::to_owned).collect()
}
