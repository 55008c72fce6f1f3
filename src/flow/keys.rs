//! Names of keys on their way from the one task that scans to the several that fetch.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc};

use crate::resp::Span;

/// Some keys as they came from the source: bulk strings in wire form, in one slab.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The bytes that the spans point into.
    pub slab: Bytes,
    /// One bulk string each, with header and line ends.
    pub wires: Vec<Span>,
    /// Room for long names, which comes back when they are done with.
    pub room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Keys {
    /// Keys copied together from wire forms.
    pub fn copied(keys: impl Iterator<Item = impl AsRef<[u8]>>) -> Self {
        let (mut slab, mut wires) = (Vec::new(), Vec::new());
        for wire in keys {
            let start = slab.len();
            slab.extend_from_slice(wire.as_ref());
            wires.extend(Span::new(start, slab.len()));
        }
        Self { slab: slab.into(), wires, room: None }
    }

    /// What their names come to, in bytes.
    pub fn bytes(&self) -> usize {
        self.wires.iter().map(|wire| wire.len()).sum()
    }

    /// Each in wire form.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.wires.iter().map(|span| span.of(&self.slab))
    }

    /// Key `index` in wire form.
    pub fn wire(&self, index: usize) -> Option<&[u8]> {
        self.wires.get(index).map(|span| span.of(&self.slab))
    }
}

/// Bulk strings that lie one behind the other in their slab, as one piece each.
pub(super) fn joined<'a>(
    slab: &'a [u8],
    wires: &'a [Span],
) -> impl Iterator<Item = (&'a [u8], &'a [Span])> {
    let runs = wires.chunk_by(|one, next| one.end == next.start);
    runs.filter_map(|run| {
        let piece = Span { start: run.first()?.start, end: run.last()?.end };
        Some((piece.of(slab), run))
    })
}

/// A name as a bulk string in wire form.
pub fn wire_of(name: &[u8]) -> Vec<u8> {
    let mut wire = format!("${}\r\n", name.len()).into_bytes();
    wire.extend_from_slice(name);
    wire.extend_from_slice(b"\r\n");
    wire
}

/// The name inside a bulk string in wire form.
pub fn name_of(wire: &[u8]) -> &[u8] {
    let start = wire.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    wire.get(start..wire.len().saturating_sub(2)).unwrap_or_default()
}

/// Chunks of keys that may wait where nothing else is said.
pub const WAITING: usize = 64;

/// The receiving end, shared by the fetch tasks.
#[derive(Clone)]
pub struct KeyQueue {
    receiver: Arc<Mutex<mpsc::Receiver<Keys>>>,
}

impl KeyQueue {
    /// The next keys; `None` when there will be no more. Cancel-safe.
    pub async fn next(&self) -> Option<Keys> {
        self.receiver.lock().await.recv().await
    }

    /// Keys that wait already, if there are any.
    pub async fn waiting(&self) -> Option<Keys> {
        self.receiver.lock().await.try_recv().ok()
    }

    /// What is left in it, once all takers end: there will be no more.
    pub async fn rest(&self) -> Vec<Keys> {
        let mut receiver = self.receiver.lock().await;
        receiver.close();
        let mut rest = Vec::new();
        // Also what a sender is just putting in.
        while let Some(keys) = receiver.recv().await {
            rest.push(keys);
        }
        rest
    }
}

/// A queue of keys for several takers, of so many chunks: enough to keep them busy during a SCAN.
pub fn key_queue(waiting: usize) -> (mpsc::Sender<Keys>, KeyQueue) {
    let (sender, receiver) = mpsc::channel(waiting.max(1));
    (sender, KeyQueue { receiver: Arc::new(Mutex::new(receiver)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_the_wire_form_holds() {
        assert_eq!(name_of(b"$3\r\na\nb\r\n"), b"a\nb");
        assert_eq!(name_of(b"$0\r\n\r\n"), b"");
        assert_eq!(name_of(b""), b"");
        assert_eq!(name_of(&wire_of(b"a\r\nb")), b"a\r\nb");
    }
}
