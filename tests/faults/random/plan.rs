//! What a seed stands for: two servers, options, faults on either side, and perhaps an upheaval.

use std::time::Duration;

use crate::support::fault_proxy::{Direction, Fault, Step};
use crate::support::server::Kind;

/// A run that takes longer hangs: its faults together take less than half of this.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// What one value of the data set comes to, in bytes, on the wire and on average.
const KEY_BYTES: u64 = 150;

/// What befalls the target beside its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upheaval {
    Nothing,
    /// It is restarted empty.
    Restart,
    /// It is a replica of nobody for a while.
    ReadOnly,
    /// It takes no more.
    OutOfMemory,
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Source and target.
    pub(crate) kinds: [Kind; 2],
    pub(crate) options: Vec<String>,
    pub(crate) at_source: Vec<Step>,
    pub(crate) at_target: Vec<Step>,
    pub(crate) upheaval: Upheaval,
    /// After so many bytes of requests to the target.
    pub(crate) upheaval_after: u64,
    /// The side that goes away for good, if one does.
    pub(crate) deadly: Option<Side>,
    /// How long the short-lived keys live, in milliseconds.
    pub(crate) short_lives: Vec<u64>,
}

impl Plan {
    /// The plan of a seed, for a source of so many keys: always the same.
    pub(crate) fn of(seed: u64, keys: usize) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed);
        let bytes = keys as u64 * KEY_BYTES;
        let kind = |dice: &mut fastrand::Rng| Kind::ALL[dice.usize(..Kind::ALL.len())];
        let kinds = [kind(&mut dice), kind(&mut dice)];
        let is_deadly = dice.u8(..6) == 0;
        let steps = |dice: &mut fastrand::Rng, most| -> Vec<Step> {
            (0..dice.usize(..=most)).map(|_| step(dice, bytes)).collect()
        };
        let mut at_source = steps(&mut dice, 3);
        let mut at_target = steps(&mut dice, 3);
        let deadly = is_deadly.then(|| {
            let source = dice.bool();
            let fault = if dice.bool() { Fault::Close } else { Fault::Reset };
            let side = if source { &mut at_source } else { &mut at_target };
            side.push(Step { fault, ..step(&mut dice, bytes) });
            if source { Side::Source } else { Side::Target }
        });
        let upheaval = match dice.u8(..8) {
            0 => Upheaval::Restart,
            1 => Upheaval::ReadOnly,
            2 => Upheaval::OutOfMemory,
            _ => Upheaval::Nothing,
        };
        Self {
            seed,
            kinds,
            options: options(&mut dice, is_deadly),
            at_source,
            at_target,
            upheaval,
            upheaval_after: dice.u64(..bytes),
            deadly,
            short_lives: (0..50).map(|_| dice.u64(200..8_000)).collect(),
        }
    }
}

fn step(dice: &mut fastrand::Rng, bytes: u64) -> Step {
    let fault = match dice.u8(..10) {
        0 | 1 => Fault::CloseOnce,
        2 | 3 => Fault::ResetOnce,
        4 => Fault::HalfClose,
        5 => Fault::StallOnce,
        6 | 7 => Fault::Away(Duration::from_millis(dice.u64(10..2_000))),
        8 => Fault::Dribble(dice.u64(1..20_000)),
        _ => Fault::Lag(dice.u64(1..50), Duration::from_millis(dice.u64(1..40))),
    };
    let direction = if dice.bool() { Direction::Requests } else { Direction::Replies };
    // Some strike in the first commands, some in the last answers.
    let most = match dice.u8(..8) {
        0 => 8_000,
        1 | 2 => bytes / 10,
        _ => bytes,
    };
    Step { direction, after: dice.u64(..most), fault }
}

fn options(dice: &mut fastrand::Rng, deadly: bool) -> Vec<String> {
    let connections = dice.usize(1..=6).to_string();
    let fetch = if dice.bool() { "auto" } else { "dump" };
    let memory = ["24MiB", "32MiB", "64MiB", "256MiB"][dice.usize(..4)];
    let budget = if deadly { "3s" } else { "30s" };
    let mut options = vec!["--connections", &connections, "--fetch", fetch, "--memory", memory];
    options.extend(["--reply-timeout", "2s", "--connect-timeout", "2s"]);
    options.extend(["--retry-budget", budget, "--lossy"]);
    if dice.bool() {
        options.extend(["--if-exists", "replace"]);
    }
    options.into_iter().map(str::to_owned).collect()
}
