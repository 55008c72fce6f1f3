//! What Redis and Valkey mean by the bytes: commands, INFO, error lines, key patterns.
//!
//! Pure: no I/O, no clock. Nothing here knows whether a server is a source or a target.

pub mod calls;
pub mod changes;
pub mod info;
pub mod keyspace;
pub mod lineage;
pub mod pattern;
pub mod status;

pub use info::ServerInfo;
pub use pattern::Pattern;
pub use status::{Cause, ServerError};
