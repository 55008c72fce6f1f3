//! An entry too large to be held whole: it is announced, and its bytes follow piece by piece.
//!
//! The target writes the pieces as they come. Should either side break in the middle, the key is
//! asked for again: nobody holds the pieces that were passed on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::entry::Form;

/// Pieces on their way, each at most one read buffer long.
pub const PIECES: usize = 4;

/// What identifies a value that nobody holds: SHA-256.
pub type Digest = [u8; 32];

/// What identifies a value that nobody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// How it was read.
    pub form: Form,
    /// Of its bytes; of a DUMP without the footer, which is the server's own.
    pub digest: Digest,
}

/// One key whose payload follows.
#[derive(Debug)]
pub struct Large {
    /// The key as a bulk string in wire form.
    pub key: Vec<u8>,
    /// What the payload is.
    pub form: Form,
    /// Its length in bytes: exactly as many follow.
    pub bytes: usize,
    /// When the key expires, in Unix milliseconds by the target's clock; 0: never.
    pub expiry: i64,
    /// The payload, and its end.
    pub pieces: mpsc::Receiver<Piece>,
    /// Takes what became of it; dropped: the lane has ended and said why.
    pub verdict: oneshot::Sender<Verdict>,
    /// An earlier attempt to write it may have been carried out.
    pub doubtful: bool,
}

/// A part of a large payload.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of it.
    Bytes(Bytes),
    /// All of it has come; its fingerprint, where somebody will want it.
    End(Option<Fingerprint>),
}

/// What became of a large entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is settled and counted.
    Settled,
    /// It goes another way, element by element, and is counted there.
    HandedOver,
    /// The target holds such a key, or cannot read the value, and only the whole value shows whether it is the same,
    /// or what is wrong with it: it has to be sent whole, in a batch that is doubtful if this says so.
    Whole {
        /// An earlier attempt may have been carried out.
        doubtful: bool,
    },
    /// It has to be sent again; `doubtful`: it may have been carried out.
    Again {
        /// A command was written whole, and its answer did not come.
        doubtful: bool,
    },
}

/// A key whose elements are to go one by one, unless the target holds it already.
#[derive(Clone, Debug)]
pub struct HandedOver {
    /// Its name.
    pub key: Vec<u8>,
    /// Whether it is counted as scanned already.
    pub scanned: bool,
    /// Whether an earlier attempt to write it may have been carried out.
    pub doubtful: bool,
}

impl HandOver {
    /// Hands a key on; `false`: the task that takes them has ended.
    pub async fn send(&self, key: &[u8], scanned: bool, doubtful: bool) -> bool {
        self.keys.send(HandedOver { key: key.to_vec(), scanned, doubtful }).await.is_ok()
    }
}

/// Where a key goes whose value one side does not send, or take, at once.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// Takes it.
    pub keys: mpsc::Sender<HandedOver>,
    /// The longest bulk string that the target takes, in bytes, as far as it told.
    pub longest_bulk: u64,
    /// How many of them are copied.
    pub copied: Arc<AtomicU64>,
}
