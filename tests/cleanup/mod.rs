//! `keyferry cleanup`, on real servers.

/// Who is asked, and what is refused before anything is deleted.
mod asking;
/// What is deleted: exactly what is equal.
mod equal;
/// Writers, broken connections, interruption: nothing is lost, and every key is counted once.
mod troubled;
