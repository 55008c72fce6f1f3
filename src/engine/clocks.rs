//! How far the clocks of both servers are apart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::probe::refused_before_work;
use crate::error::{Error, Result};
use crate::net::Connection;
use crate::source::time_ms;
use crate::units;

/// Clocks closer than this agree: an expiry then stays the same number. It is what a verification
/// tolerates, too.
const CLOCKS_AGREE_MS: i64 = 50;
/// Clocks may be so far apart: a day, which is more than a wrong time zone.
const MOST_APART_MS: u64 = 24 * 60 * 60 * 1000;
/// Looks at each clock; the quickest counts.
const CLOCK_SAMPLES: usize = 4;

/// What a few looks at a server's clock tell.
pub(super) struct Looks {
    /// `None`: TIME is refused.
    pub(super) offset: Option<Offset>,
    /// The quickest answer: the network's own time.
    pub(super) round_trip: Duration,
}

pub(super) struct Offset {
    /// What the server's clock said, in Unix milliseconds.
    now_ms: i64,
    /// How far it is ahead of ours.
    pub(super) ahead_ms: i64,
    /// By how much this may be wrong: half the round trip.
    unsure_ms: i64,
}

impl Offset {
    /// How far the target's clock is ahead of this one, the source's; 0 where they agree, as far as
    /// can be told.
    pub(super) fn until(&self, target: &Self) -> i64 {
        let ahead = target.ahead_ms.saturating_sub(self.ahead_ms);
        let unsure = (self.unsure_ms + target.unsure_ms).max(CLOCKS_AGREE_MS);
        if ahead.unsigned_abs() <= unsure.unsigned_abs() { 0 } else { ahead }
    }

    /// Refuses clocks that are further apart than any that are kept: a wrong answer to TIME, or a
    /// machine that never learned the date. All expiries would be moved by that.
    pub(super) fn refuse_apart(&self, target: &Self) -> Result<()> {
        if self.until(target).unsigned_abs() <= MOST_APART_MS {
            return Ok(());
        }
        let text = format!(
            "its clock and the target's are too far apart to carry expiries over: {} and {} (UTC)",
            units::utc(self.now_ms),
            units::utc(target.now_ms)
        );
        Err(Error::refused(text).advise("set the clock that is wrong, for instance by NTP"))
    }
}

/// The difference of a server's clock to ours, and how far away it is.
pub(super) async fn clock_offset(connection: &mut Connection) -> Result<Looks> {
    let mut looks = Looks { offset: None, round_trip: Duration::MAX };
    for _ in 0..CLOCK_SAMPLES {
        let (wall, began) = (unix_ms(), Instant::now());
        let reply = connection.call(&[b"TIME"]).await.map_err(refused_before_work)?;
        let round_trip = began.elapsed();
        if round_trip >= looks.round_trip {
            continue;
        }
        looks.round_trip = round_trip;
        looks.offset = time_ms(&reply).map(|server| {
            let unsure_ms = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
            let ahead_ms = server.saturating_sub(wall.saturating_add(unsure_ms));
            Offset { now_ms: server, ahead_ms, unsure_ms }
        });
    }
    Ok(looks)
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
