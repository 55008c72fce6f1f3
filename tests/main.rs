//! End-to-end tests: the `keyferry` binary between real servers.
//!
//! Nothing here but `payload` calls the library. Data goes in and is checked through the independent
//! `redis` crate, so the code under test never marks its own work. The servers come from
//! `make servers`.

mod support;

/// What `copy` does to keys: everything arrives, filters, conflicts, deletion, interruption.
mod copy;

/// What `verify` finds, and what it does not take for a difference.
mod verify;

/// What `cleanup` deletes, and what it keeps.
mod cleanup;

/// What `backup` saves, and what `copy` makes of a file: whole, equal, or refused.
mod backup;

/// RDB files that others published: copied, they are what a server loads.
mod fixtures;

/// What `plan` finds before a copy, that it writes nothing, and the rights that are listed.
mod plan;

/// The command line: arguments, environment, output, report, exit codes.
mod cli;

/// Encrypted connections on either side and why one is refused.
mod tls;

/// What people get wrong and what networks do: clear message, right exit code, nothing lost.
mod bad_input;

/// What breaks half-way on either side: servers that restart, fail over or refuse, at random, too.
mod faults;

/// What is inside a payload: read from and written for each of the servers.
mod payload;
