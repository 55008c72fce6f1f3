//! keyferry moves keyspaces between Redis and Valkey servers and proves that every key arrived.
//!
//! ```text
//!  source ── net ──> resp::decode ──> source::{scan,fetch} ──> flow::Batch
//!                                                                 │   flow::channel: bounded by
//!                                                                 v   entries and bytes; a permit
//!  target <── net <── resp::encode <── target::restore <──────────┘   comes back on the ack
//!                                          acks ──> target::outcome ──> permits, report::stats
//! ```
//!
//! The modules below stand in the order of that flow; each imports only from those above it
//! (`tests/tidy.rs` keeps it so).

pub mod error;
pub mod files;
pub mod units;

pub mod resp;

pub mod command;

pub mod payload;

pub mod rdb;

pub mod config;

pub mod net;

pub mod flow;

pub mod report;

pub mod source;

pub mod target;

pub mod verify;

pub mod engine;

pub mod bench;

pub mod cli;
