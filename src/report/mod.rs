//! What people and machines see of a run: counters, progress, the summary, the JSON report.
//!
//! Called by every room through [`Stats`]; imports only `units`.

mod counts;
mod dead_letters;
mod differences;
mod findings;
pub mod json;
mod latency;
mod ledger;
mod left;
mod lines;
mod own;
mod percentiles;
mod preflight;
mod preview;
mod process;
pub mod progress;
mod stats;
pub mod table;
mod verdict;
mod verified;
mod way_on;

pub use counts::{Count, Counts, DELETED_FROM_SOURCE, FAILED, KEPT_ON_SOURCE, Kept};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use differences::{Difference, DifferenceKind, Differences};
pub use findings::{Finding, Severity};
pub use latency::{Latency, Stage};
pub use ledger::Ledger;
pub use left::{Ahead, Left};
pub use percentiles::Percentiles;
pub use preflight::{BigKey, Estimate, Lost, PlannedDatabase, PlannedWay, Preflight, TypeShare};
pub use process::Usage;
pub use stats::{DatabaseStats, Failure, InDoubt, Loss, Stats};
pub use verified::{Mode, Proven, Verified};
pub use way_on::{cut_off, way_on};
