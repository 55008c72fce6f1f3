//! The road between source and target: bounded by batches *and* bytes.
//!
//! A batch takes permits for its bytes when it enters and gives them back when it is dropped, which
//! the target does on the last ack. So the bound covers what is queued, what is being written and
//! what is not yet acknowledged, and a slow target slows the source instead of filling memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::entry::Batch;
use super::large::Large;
use super::pace::Pace;

/// The bytes a batch holds of the channel's budget.
pub type Permit = OwnedSemaphorePermit;

/// Batches queued: small, the bytes are what counts.
const BATCHES: usize = 16;

/// What comes out of the channel.
#[derive(Debug)]
pub enum Load {
    /// Entries that are there whole.
    Batch(Batch),
    /// A single one that comes in pieces.
    Large(Large),
}

/// The source's end.
#[derive(Clone, Debug)]
pub struct Sender {
    loads: mpsc::Sender<Load>,
    budget: Arc<Semaphore>,
    capacity: u32,
    pace: Option<Arc<Pace>>,
}

/// The target's end.
#[derive(Debug)]
pub struct Receiver {
    loads: mpsc::Receiver<Load>,
}

/// A channel that holds at most `bytes` (a single larger batch takes all of it, alone).
pub fn bounded(bytes: usize) -> (Sender, Receiver) {
    let capacity = u32::try_from(bytes.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let (sender, receiver) = mpsc::channel(BATCHES);
    let budget = Arc::new(Semaphore::new(capacity as usize));
    (Sender { loads: sender, budget, capacity, pace: None }, Receiver { loads: receiver })
}

impl Sender {
    /// The same, at a pace that it shares with others.
    #[must_use]
    pub fn paced(self, pace: Option<Arc<Pace>>) -> Self {
        Self { pace, ..self }
    }

    /// How much of a full window should be asked of the source, so that the pace is kept there, too.
    pub fn window(&self, full: usize) -> usize {
        self.pace.as_ref().map_or(full, |pace| pace.scaled(full))
    }

    /// Sends a batch once its pace allows it and there is room for its bytes.
    ///
    /// # Errors
    /// The receiver is gone; the batch comes back.
    pub async fn send(&self, mut batch: Batch) -> Result<(), Batch> {
        if let Some(pace) = &self.pace {
            let bytes = batch.entries.iter().map(|entry| u64::from(entry.bytes)).sum();
            pace.pass(batch.entries.len() as u64, bytes).await;
        }
        let cost = u32::try_from(batch.cost()).unwrap_or(u32::MAX).min(self.capacity);
        match self.budget.clone().acquire_many_owned(cost).await {
            Ok(permit) => batch.permit = Some(permit),
            Err(_) => return Err(batch),
        }
        self.loads.send(Load::Batch(batch)).await.map_err(|refused| match refused.0 {
            Load::Batch(batch) => batch,
            Load::Large(_) => Batch::default(),
        })
    }

    /// Announces an entry that is too large to be held. What bounds its pieces is their own channel.
    ///
    /// # Errors
    /// The receiver is gone.
    pub async fn send_large(&self, large: Large) -> Result<(), ()> {
        if let Some(pace) = &self.pace {
            pace.pass(1, 0).await;
        }
        self.loads.send(Load::Large(large)).await.map_err(|_| ())
    }

    /// Waits until the pace allows a piece of a large entry.
    pub async fn pace_piece(&self, bytes: usize) {
        if let Some(pace) = &self.pace {
            pace.pass(0, bytes as u64).await;
        }
    }
}

impl Receiver {
    /// The next load; `None` when there will be no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Load> {
        self.loads.recv().await
    }

    /// Takes no more batches; those queued can still be received.
    pub fn close(&mut self) {
        self.loads.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};
    use tokio_util::sync::CancellationToken;

    use super::super::entry::{Entry, Form};
    use super::*;
    use crate::resp::Span;

    fn batch(bytes: usize) -> Batch {
        Batch { keys: vec![0; bytes], ..Batch::default() }
    }

    #[tokio::test]
    async fn bytes_come_back_when_the_batch_is_dropped_not_when_it_is_received() {
        let (sender, mut receiver) = bounded(100);
        sender.send(batch(60)).await.unwrap();
        let held = receiver.next().await.unwrap();
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, sender.send(batch(60))).await.is_err(), "60 of 100 are held");
        drop(held);
        sender.send(batch(60)).await.unwrap();
        drop(receiver.next().await);
        sender.send(batch(1_000)).await.unwrap();
        assert!(timeout(wait, sender.send(batch(1))).await.is_err(), "a large one stands alone");
        drop(receiver);
        assert!(sender.send(batch(0)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn several_channels_share_one_pace_of_payload_bytes() {
        let pace = Arc::new(Pace::new(Some(1_000_000), None, CancellationToken::new()));
        let began = Instant::now();
        for _ in 0..10 {
            let (sender, mut receiver) = bounded(100);
            let sender = sender.paced(Some(pace.clone()));
            assert_eq!(sender.window(500), 95);
            let (key, payload) = (Span::default(), Span::default());
            let entry = Entry { key, payload, form: Form::Dump, bytes: 200_000, expiry: 0 };
            sender.send(Batch { entries: vec![entry; 2], ..Batch::default() }).await.unwrap();
            let Some(Load::Batch(batch)) = receiver.next().await else { panic!("no batch") };
            assert_eq!(batch.entries.len(), 2);
        }
        // What the last one owes is not waited for.
        let late = began.elapsed() - Duration::from_millis(3_600);
        assert!(late < Duration::from_millis(50), "{late:?}");
    }
}
