//! Properties of the pure layers: whatever a peer sends or a person writes, these hold.
//!
//! `checks` has one function for each fuzz target of `fuzz/`; here their corpora are replayed, and
//! generated inputs of the right shape go deeper than a fuzzer's bytes. A fuzzer's finding becomes
//! a file with a speaking name in `fuzz/corpus/`, and is a test from then on.

pub mod checks;

/// The hand-made inputs in `fuzz/corpus/`.
mod corpus;

/// Random numbers that are the same in every run.
mod random;

/// Streams of replies as servers send them.
mod replies;

/// The decoder against the oracle on a million replies.
mod oracle;

/// Streams cut anywhere, commands chained and sent in part.
mod codec;

/// Endpoints made from parts.
mod endpoint;

/// Key patterns against the reference and against real servers.
mod pattern;

/// Values made at random through every form of payload.
mod payload;
