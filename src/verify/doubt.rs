//! Keys that seemed to differ when they were first looked at.

use tokio::sync::mpsc;

/// Doubts on their way to the one who looks again: few, since names may be long.
const WAITING: usize = 64;

/// A key that has to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Which of the sources it comes from, by its place; `None`: only the target was seen to hold it.
    pub source: Option<usize>,
    /// The key as a bulk string in wire form.
    pub key: Vec<u8>,
}

/// The road to the one who looks again: it is short, so that whoever finds differences waits for
/// who settles them.
pub fn doubts() -> (mpsc::Sender<Doubt>, mpsc::Receiver<Doubt>) {
    mpsc::channel(WAITING)
}
