//! `--max-source-latency`: a PING every few milliseconds, and a copy that slows down for it.
//!
//! The guard has a connection of its own and a thread of its own: on the thread of the copy it would
//! measure how long the copy keeps *it* waiting, too. What it calls latency is a round trip less the
//! shortest one it ever saw, which is the network's own time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Run;
use super::governor::Governor;
use crate::error::{Error, Kind, Result};
use crate::flow::Pace;
use crate::net::{Connection, Link};
use crate::report::Percentiles;
use crate::units;

/// Round trips before the copy, to know the network's own time.
const IDLE_SAMPLES: u32 = 16;
/// The shortest and the longest time between two PINGs: a source answers some 100,000 in a second.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// After this time, and so many answers, the latency is judged.
const JUDGE_AFTER: (Duration, u64) = (Duration::from_millis(100), 10);
/// The part of the answers that has to be under the limit: what a client of the source waits at the
/// 99th percentile is what people look at.
const QUANTILE: f64 = 0.99;

/// A guard at work; it ends when this is dropped.
pub(super) struct Guard {
    done: DropGuard,
    thread: JoinHandle<Result<()>>,
}

/// Begins to watch the source, if that is asked for; returns once the network's time is known.
pub(super) async fn start(run: &Run, link: Link) -> Result<Option<Guard>> {
    let (Some(limit), Some(pace)) = (run.plan.limits.source_latency, run.pace.clone()) else {
        return Ok(None);
    };
    let stop = run.stop.clone();
    let done = stop.child_token();
    let ends = done.clone();
    let (ready, is_ready) = oneshot::channel();
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::config(format!("no runtime: {error}")))?;
        let result = runtime.block_on(async {
            let begun = Watch::begin(link, limit, pace, ends.clone());
            let mut watch = tokio::select! {
                biased;
                () = ends.cancelled() => return Ok(()),
                begun = begun => begun?,
            };
            let _ = ready.send(());
            watch.watch().await
        });
        if result.is_err() {
            // What was asked for cannot be kept any more.
            stop.cancel();
        }
        result
    });
    let guard = Guard { done: done.drop_guard(), thread };
    match is_ready.await {
        Ok(()) => Ok(Some(guard)),
        // It has ended; why, it says itself.
        Err(_) => guard.end().await.map(|()| None),
    }
}

impl Guard {
    /// Ends the watch.
    ///
    /// # Errors
    /// It had ended by itself, which stopped the run.
    pub(super) async fn end(self) -> Result<()> {
        let Self { done, thread } = self;
        drop(done);
        match thread.await {
            Ok(result) => result,
            Err(panic) => {
                Err(Error::new(Kind::Server, format!("a task ended unexpectedly: {panic}"))
                    .advise("this is a mistake in keyferry; please report it"))
            }
        }
    }
}

/// The guard's own state.
struct Watch {
    link: Link,
    connection: Connection,
    limit: Duration,
    pace: Arc<Pace>,
    done: CancellationToken,
    governor: Governor,
    /// The shortest round trip: the network's.
    shortest: Duration,
    interval: Duration,
    /// Since the last judgement, and since the beginning.
    lately: Percentiles,
    all: Percentiles,
    since: Instant,
    work: u64,
    /// Throttling was told, and that the limit cannot be met.
    told: (bool, bool),
}

impl Watch {
    /// Connects and measures the network.
    async fn begin(
        link: Link,
        limit: Duration,
        pace: Arc<Pace>,
        done: CancellationToken,
    ) -> Result<Self> {
        let connection = link.connect().await?;
        let mut watch = Self {
            link,
            connection,
            limit,
            pace,
            done,
            governor: Governor::new(limit),
            shortest: Duration::MAX,
            interval: fastest(limit),
            lately: Percentiles::default(),
            all: Percentiles::default(),
            since: Instant::now(),
            work: 0,
            told: (false, false),
        };
        for _ in 0..IDLE_SAMPLES {
            watch.ask().await?;
        }
        watch.pace.hold(watch.governor.share(), None);
        watch.begin_anew();
        Ok(watch)
    }

    /// Asks, judges, and sets the pace, until it is done.
    async fn watch(&mut self) -> Result<()> {
        let done = self.done.clone();
        loop {
            let began = Instant::now();
            let asked = tokio::select! {
                biased;
                () = done.cancelled() => break,
                asked = self.ask() => asked,
            };
            match asked {
                Ok(latency) => self.record(latency),
                Err(_) if done.is_cancelled() => break,
                Err(error) => self.recover(error).await?,
            }
            let (time, answers) = JUDGE_AFTER;
            if self.since.elapsed() >= time && self.lately.count() >= answers {
                self.judge();
            }
            tokio::select! {
                biased;
                () = done.cancelled() => break,
                () = sleep(self.interval.saturating_sub(began.elapsed())) => {}
            }
        }
        self.tell_all();
        Ok(())
    }

    async fn recover(&mut self, error: Error) -> Result<()> {
        match self.link.reconnect(error, Instant::now()).await {
            Ok(again) => self.connection = again.connection,
            Err(_) if self.done.is_cancelled() => {}
            Err(error) => return Err(error),
        }
        self.begin_anew();
        Ok(())
    }

    /// One PING; how long it waited at the source. A refusal is an answer, too.
    async fn ask(&mut self) -> Result<Duration> {
        let began = Instant::now();
        self.connection.try_all(&[&[b"PING"]]).await?;
        let round_trip = began.elapsed();
        self.shortest = self.shortest.min(round_trip);
        Ok(round_trip - self.shortest)
    }

    /// A long answer keeps those PINGs from being sent that would have waited for the rest of it:
    /// they count, as clients that come at any time would see them.
    fn record(&mut self, latency: Duration) {
        for waits in [&mut self.lately, &mut self.all] {
            waits.record_with_hidden(latency, self.interval);
        }
    }

    fn judge(&mut self) {
        let latency = self.lately.at(QUANTILE);
        let work = self.pace.work().saturating_sub(self.work) as f64;
        self.governor.judge(latency, work / self.since.elapsed().as_secs_f64());
        self.pace.hold(self.governor.share(), self.governor.work());
        // While all is well, it is enough to look now and then.
        self.interval = if self.governor.throttles() || latency > self.limit / 4 {
            fastest(self.limit)
        } else {
            (self.interval * 2).min(INTERVALS.1)
        };
        tracing::debug!(
            "source latency {latency:?}: window {} %, work {:?}",
            self.governor.share(),
            self.governor.work()
        );
        if self.governor.throttles() && !self.told.0 {
            self.told.0 = true;
            tracing::info!(
                "the source lets a PING wait for {}, {} are allowed: throttling",
                units::duration(latency),
                units::duration(self.limit)
            );
        }
        if self.governor.is_hopeless() && !self.told.1 {
            self.told.1 = true;
            tracing::warn!(
                "the source lets a PING wait for {} though next to nothing is copied, {} are \
                 allowed: something else keeps it busy, or the limit is too low",
                units::duration(latency),
                units::duration(self.limit)
            );
        }
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.lately.clear();
        self.since = Instant::now();
        self.work = self.pace.work();
    }

    fn tell_all(&self) {
        if self.all.count() == 0 {
            return;
        }
        tracing::info!(
            "source latency during the copy: p50 {:?}, p90 {:?}, p99 {:?}, max {:?}",
            self.all.at(0.5),
            self.all.at(0.9),
            self.all.at(0.99),
            self.all.at(1.0)
        );
    }
}

/// Twice within the limit, so that no wait above it goes unseen.
fn fastest(limit: Duration) -> Duration {
    (limit / 2).clamp(INTERVALS.0, INTERVALS.1)
}
