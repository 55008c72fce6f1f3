//! `keyferry verify` and `copy --verify full`, on real servers.

/// After a copy.
mod after_copy;
/// What is no difference: other encodings, other versions, filters, writes that are caught up with.
mod equal;
/// Each kind of difference planted alone, between several pairs of servers.
mod planted;
/// Rights, refusals, broken connections, memory, files.
mod running;
/// Databases that are exchanged, emptied or replaced meanwhile.
mod upheaval;
