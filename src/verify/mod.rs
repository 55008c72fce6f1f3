//! Prove it: is every key there, and does it hold the same?
//!
//! ```text
//! source: scan, fetch ──> channel ──> compare ──┐  agrees: counted
//!                                               ├─ seems to differ ──> doubts ──> settle ──> told
//! target: scan ──> extra (is it on the source?) ┘                     looks again, in rounds
//! ```
//!
//! [`Sent`] holds what was sent against the target alone; [`lacking()`] asks only whether every key of one
//! side has its name on the other.

mod asked;
mod compare;
mod count;
mod doubt;
mod equal;
mod extra;
mod large;
mod late;
mod look;
mod sent;
mod settle;

pub use compare::{Comparer, Tools};
pub use count::{Lacking, lacking};
pub use doubt::{Doubt, doubts};
pub use equal::Judge;
pub use extra::{Extras, extras};
pub use late::Late;
pub use look::{Eyes, Finding, GROUP, HELD};
pub use sent::Sent;
pub use settle::{Origin, Settle, settle};
