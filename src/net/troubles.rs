//! What the connections to one server wait for, told once for all of them.
//!
//! A server that goes away is met by every connection to it, and by each of them again and again: one
//! line says so and for how long it is waited for, the others are counted.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::units;

/// After so long the same is told again: whoever watches should see that it has not passed.
const AGAIN: Duration = Duration::from_secs(60);

/// Different troubles of one server that are remembered: a connection that breaks says so in two or three ways.
const REMEMBERED: usize = 8;

/// What was told of one server.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<Vec<Told>>);

#[derive(Debug)]
struct Told {
    text: String,
    at: Instant,
    /// How often the same was met since.
    more: u64,
}

impl Told {
    fn tell_more(&self) {
        match self.more {
            0 => {}
            1 => tracing::warn!("{}: once more since then", self.text),
            more => tracing::warn!("{}: {} more times since then", self.text, units::count(more)),
        }
    }
}

impl Troubles {
    /// Tells of trouble that passes by itself, of what is done about it (`connecting again`), and for how
    /// long at most.
    pub(super) fn tell(&self, error: &Error, what: &str, patience: Duration) {
        let text = error.to_string();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|told| told.text == text) {
            if let Some(told) = all.get_mut(at).filter(|told| told.at.elapsed() < AGAIN) {
                told.more += 1;
                tracing::debug!("{text}; {what}");
                return;
            }
            all.remove(at).tell_more();
        } else if all.len() == REMEMBERED {
            all.remove(0).tell_more();
        }
        tracing::warn!("{text}; {what}, for up to {}", units::duration(patience));
        all.push(Told { text, at: Instant::now(), more: 0 });
    }
}

impl Drop for Troubles {
    fn drop(&mut self) {
        let all = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(Told::tell_more);
    }
}
