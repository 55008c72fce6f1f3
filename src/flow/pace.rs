//! How fast a run may be: one pace for all its databases and connections together.
//!
//! Three buckets fill with time: payload bytes (`--max-rate`), keys (`--max-keys-rate`), and work,
//! which a guard of the source's latency sets. A batch passes once no bucket is in debt and then
//! puts its own size into all of them, so a value larger than any bucket passes whole, and those
//! behind it wait until its debt is paid off. Who comes first is served first.
//!
//! A pace slows what is *taken*; what was asked for already is at the source. How much that may be
//! is the window's matter, for which there is a hint: [`Pace::scaled`].

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// What reading a key costs a source beside its payload, in bytes of payload: a DUMP of a small
/// value takes some 2.5 µs, and 6 ns more for each byte (compression and checksum).
const KEY_WORK: u64 = 400;
/// How long a bucket that nobody draws from goes on filling: enough to make up for late timers and
/// short stalls, too short for a burst that anybody would notice.
const BURST: Duration = Duration::from_millis(100);
/// Longest single sleep; a slower pace sleeps several times.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// A full window of one connection, in bytes and keys, should not be more than this time's worth.
const WINDOW_SECONDS: f64 = 0.2;
/// What a connection asks for at once when nothing holds it back.
const FULL_WINDOW: (f64, f64) = (1_048_576.0, 512.0);

/// The pace of a run.
#[derive(Debug)]
pub struct Pace {
    /// Whoever holds it waits for the buckets; the others wait in line.
    turn: Turn<()>,
    buckets: Mutex<Buckets>,
    /// The rate of work changed: whoever waits for it counts anew.
    changed: Notify,
    /// All work that has passed.
    work: AtomicU64,
    /// The guard's share of a full window, in percent.
    share: AtomicU8,
    /// The share that the rates alone allow.
    most_share: u8,
    /// Ends the waiting: what is in flight is let through.
    stop: CancellationToken,
}

#[derive(Debug)]
struct Buckets {
    bytes: Option<Bucket>,
    keys: Option<Bucket>,
    work: Option<Bucket>,
}

/// What is owed, and how fast it is paid off.
#[derive(Debug)]
struct Bucket {
    /// Units a second.
    rate: f64,
    /// Units owed; below 0: saved up.
    debt: f64,
    /// When the debt was counted.
    at: Instant,
}

impl Pace {
    /// A pace of so many payload bytes and keys a second; `None`: as fast as it goes. Once `stop` is
    /// cancelled everything passes.
    pub fn new(bytes: Option<u64>, keys: Option<u64>, stop: CancellationToken) -> Self {
        let share = |rate: Option<u64>, full: f64| {
            rate.map_or(100.0, |rate| (rate as f64 * WINDOW_SECONDS / full * 100.0).min(100.0))
        };
        let most_share = share(bytes, FULL_WINDOW.0).min(share(keys, FULL_WINDOW.1));
        Self {
            turn: Turn::new(()),
            buckets: Mutex::new(Buckets {
                bytes: bytes.map(Bucket::new),
                keys: keys.map(Bucket::new),
                work: None,
            }),
            changed: Notify::new(),
            work: AtomicU64::new(0),
            share: AtomicU8::new(100),
            most_share: (most_share as u8).max(1),
            stop,
        }
    }

    /// Waits until so much may pass. Cancel-safe: who does not wait to the end has taken nothing.
    pub async fn pass(&self, keys: u64, bytes: u64) {
        let _first = self.turn.lock().await;
        loop {
            let wait = self.buckets().wait(Instant::now());
            if wait.is_zero() {
                break;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.changed.notified() => {}
                () = sleep(wait.min(LONGEST_SLEEP)) => {}
            }
        }
        let work = bytes.saturating_add(keys.saturating_mul(KEY_WORK));
        self.work.fetch_add(work, Ordering::Relaxed);
        self.buckets().charge(keys, bytes, work);
    }

    /// How much of a full window a connection should use, in percent: 1 to 100.
    pub fn window(&self) -> u8 {
        self.share.load(Ordering::Relaxed).clamp(1, self.most_share)
    }

    /// That share of `full`, 1 at least.
    pub fn scaled(&self, full: usize) -> usize {
        (full.saturating_mul(usize::from(self.window())) / 100).max(1)
    }

    /// All work that has passed: payload bytes, and what each key costs beside them.
    pub fn work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// Sets the guard's share of a window, in percent, and how much work may pass in a second.
    pub fn hold(&self, share: u8, work: Option<u64>) {
        self.share.store(share.clamp(1, 100), Ordering::Relaxed);
        let now = Instant::now();
        let mut buckets = self.buckets();
        buckets.wait(now);
        buckets.work = match (buckets.work.take(), work) {
            (_, None) => None,
            (Some(bucket), Some(rate)) => Some(Bucket { rate: rate.max(1) as f64, ..bucket }),
            (None, Some(rate)) => Some(Bucket::new(rate)),
        };
        drop(buckets);
        self.changed.notify_one();
    }

    /// Held for arithmetic only, never across an await.
    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn all(&mut self) -> impl Iterator<Item = &mut Bucket> {
        [&mut self.bytes, &mut self.keys, &mut self.work].into_iter().flatten()
    }

    /// How long until none is in debt.
    fn wait(&mut self, now: Instant) -> Duration {
        self.all().map(|bucket| bucket.wait(now)).max().unwrap_or_default()
    }

    fn charge(&mut self, keys: u64, bytes: u64, work: u64) {
        let sizes = [(&mut self.bytes, bytes), (&mut self.keys, keys), (&mut self.work, work)];
        for (bucket, size) in sizes {
            if let Some(bucket) = bucket {
                bucket.debt += size as f64;
            }
        }
    }
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) as f64, debt: 0.0, at: Instant::now() }
    }

    /// Pays off what time has brought; how long until nothing is owed any more.
    fn wait(&mut self, now: Instant) -> Duration {
        let paid = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.at = now;
        self.debt = (self.debt - paid).max(-self.rate * BURST.as_secs_f64());
        if self.debt <= 0.0 {
            return Duration::ZERO;
        }
        // Never zero while something is owed.
        Duration::try_from_secs_f64(self.debt / self.rate)
            .unwrap_or(LONGEST_SLEEP)
            .max(Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    fn pace(bytes: Option<u64>, keys: Option<u64>) -> Arc<Pace> {
        Arc::new(Pace::new(bytes, keys, CancellationToken::new()))
    }

    fn off_by(seconds: f64, expected: f64) -> f64 {
        (seconds / expected - 1.0).abs()
    }

    #[tokio::test(start_paused = true)]
    async fn many_senders_together_hold_the_rate_of_bytes() {
        let (pace, began) = (pace(Some(10_000_000), None), Instant::now());
        let mut senders = JoinSet::new();
        for sender in 1..=8 {
            let pace = pace.clone();
            senders.spawn(async move {
                for _ in 0..100 {
                    pace.pass(10, 20_000 * sender).await;
                }
            });
        }
        senders.join_all().await;
        let seconds = began.elapsed().as_secs_f64();
        assert!(off_by(seconds, 7.2) < 0.05, "72 MB at 10 MB/s took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_tighter_of_two_rates_counts() {
        let (pace, began) = (pace(Some(1_000_000_000), Some(5_000)), Instant::now());
        for _ in 0..1_000 {
            pace.pass(50, 50_000).await;
        }
        let seconds = began.elapsed().as_secs_f64();
        assert!(off_by(seconds, 10.0) < 0.05, "50,000 keys at 5,000/s took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_larger_than_the_bucket_passes_and_its_debt_is_paid_off() {
        let (pace, began) = (pace(Some(1_000_000), None), Instant::now());
        pace.pass(1, 400_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.pass(1, 1).await;
        let seconds = began.elapsed().as_secs_f64();
        assert!(off_by(seconds, 400.0) < 0.001, "{seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_saved_up_while_idle_is_little() {
        let (pace, began) = (pace(Some(1_000_000), None), Instant::now());
        sleep(Duration::from_secs(3_600)).await;
        for _ in 0..1_000 {
            pace.pass(1, 10_000).await;
        }
        let seconds = (began.elapsed() - Duration::from_secs(3_600)).as_secs_f64();
        assert!(off_by(seconds, 10.0) < 0.05, "10 MB at 1 MB/s took {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_rate_counts_at_once_also_for_who_waits() {
        let (pace, began) = (pace(None, None), Instant::now());
        pace.hold(7, Some(1_000));
        assert_eq!((pace.window(), pace.scaled(512), pace.scaled(3)), (7, 35, 1));
        pace.pass(0, 1_000_000).await;
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.pass(0, 1).await }
        });
        sleep(Duration::from_secs(10)).await;
        assert!(!waiting.is_finished());
        pace.hold(100, Some(1_000_000));
        waiting.await.unwrap();
        let seconds = began.elapsed().as_secs_f64();
        assert!(off_by(seconds, 10.99) < 0.001, "{seconds} s");
        pace.hold(100, None);
        pace.pass(1_000, u64::MAX / 2).await;
        pace.pass(1_000, 1).await;
        assert!(pace.work() > u64::MAX / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_run_is_not_held_up_and_a_dropped_wait_takes_nothing() {
        let stop = CancellationToken::new();
        let pace = Pace::new(Some(1_000), None, stop.clone());
        pace.pass(1, 1_000_000).await;
        for _ in 0..5 {
            let wait = Duration::from_secs(1);
            assert!(timeout(wait, pace.pass(1, u64::MAX)).await.is_err());
        }
        stop.cancel();
        let began = Instant::now();
        pace.pass(1, 1_000_000).await;
        pace.pass(1, 1_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn low_rates_narrow_the_window() {
        assert_eq!(pace(None, None).window(), 100);
        assert_eq!(pace(Some(50 << 20), None).window(), 100);
        assert_eq!(pace(Some(1 << 20), None).window(), 20);
        assert_eq!(pace(Some(50 << 20), Some(256)).window(), 10);
        assert_eq!(pace(Some(1), None).window(), 1);
    }
}
