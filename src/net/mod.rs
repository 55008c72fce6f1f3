//! Bytes in and out: a connection that stands, authenticated, on one database.
//!
//! [`connect::connect`] makes a [`Connection`]; a task drives it by [`Connection::turn`], which
//! writes what is queued and reads what has come, whichever is possible first.

mod backoff;
mod buffer;
pub mod connect;
mod connection;
mod cut;
mod digest;
mod info;
mod line;
mod link;
mod probe_key;
mod process;
mod refusals;
mod stream;
mod tls;
mod troubles;

pub use backoff::Backoff;
pub use connect::{Connector, connect};
pub use connection::{Connection, Pieces};
pub use digest::Digest;
pub use line::Line;
pub use link::{Again, Link, given_up};
pub use probe_key::probe_key;
pub use process::Process;
