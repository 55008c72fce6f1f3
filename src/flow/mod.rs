//! Where both sides meet: what travels, and the bounded road it takes.
//!
//! Nothing here knows whether an entry came from a server or a file, or where it goes.

pub mod channel;
mod entry;
mod existing;
mod keys;
mod large;
mod member;
pub mod pace;

pub use channel::Load;
pub use entry::{Batch, Entry, Form};
pub use existing::{Held, Question, Repeated};
pub use keys::{KeyQueue, Keys, WAITING, key_queue, name_of, wire_of};
pub use large::{Digest, Fingerprint, HandOver, HandedOver, Large, PIECES, Piece, Verdict};
pub use member::Member;
pub use pace::Pace;
