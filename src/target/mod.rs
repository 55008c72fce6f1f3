//! Push: the tasks that write one database of the target.
//!
//! A [`restore::Lane`] writes RESTOREs and reads their acks, `large` writes what comes in pieces;
//! [`crossing`] makes of a payload what the target takes; `outcome` says what an ack means,
//! [`recovering`] what is done when a connection breaks,
//! [`existing`] what is done with keys that are there already, `unreadable` with values that the target cannot
//! read;
//! [`members`] adds to collections for `merge`; [`building`] makes a value element by element,
//! [`placing`] gives it its name, [`temporary`] removes those under which it was made.

pub mod building;
pub mod crossing;
pub mod existing;
mod large;
pub mod members;
mod outcome;
pub mod placing;
pub mod recovering;
pub mod restore;
mod sending;
pub mod temporary;
mod unreadable;
mod writing;
