//! What both servers report of a run at its end, and what that proves: little, and only where their
//! counters show that nothing else happened. Numbers of keys accuse nobody.

use super::again::info;
use super::probe::Probed;
use super::upheaval::{Upheaval, between};
use super::{Run, writing};
use crate::command::ServerInfo;
use crate::command::info::Keyspace;
use crate::config::Route;
use crate::error::Result;
use crate::net::Line;
use crate::units;

/// A server before the first key was read, and now.
struct Reported<'a> {
    before: &'a ServerInfo,
    now: ServerInfo,
    /// It is the process that it was, as far as that is known.
    same_process: bool,
}

impl Reported<'_> {
    /// Whether no key was removed by the server itself.
    fn removed_nothing(&self) -> bool {
        let stood = |of: fn(&ServerInfo) -> Option<u64>| {
            of(self.before).is_some() && of(self.before) == of(&self.now)
        };
        stood(|info| info.expired_keys) && stood(|info| info.evicted_keys)
    }

    /// Whether no client waited for a key that it may have got: what it then does counts neither as a change
    /// nor as a call (Redis 6.2, 7.0).
    fn served_no_waiting(&self) -> bool {
        let waits = |info: &ServerInfo| info.calls.as_ref().map(|calls| calls.of(&WAIT));
        self.before.blocked == Some(0) && waits(self.before) == waits(&self.now)
    }
}

/// Commands that wait for a key, and write when they get it.
const WAIT: [&str; 9] = [
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "xreadgroup",
];
/// Commands that write libraries of functions, and no key.
const NO_KEYS: &str = "function|";

/// By how much a counter has grown, if it is reported.
fn grown(before: &ServerInfo, now: &ServerInfo, of: fn(&ServerInfo) -> Option<u64>) -> u64 {
    of(now).zip(of(before)).map_or(0, |(now, before)| now.saturating_sub(before))
}

/// What a target lost keys by during a copy, as far as it reports that.
pub(super) fn lost_by(before: &ServerInfo, now: &ServerInfo) -> Option<String> {
    if let Upheaval::Called(command) = between(before.calls.as_ref(), now.calls.as_ref()) {
        let command = command.to_uppercase();
        return Some(format!(
            "{command} was called on the target during the copy; find out by whom, then copy again with \
             --if-exists replace"
        ));
    }
    let evicted = grown(before, now, |info| info.evicted_keys);
    let policy = now.memory.policy.as_deref().unwrap_or("unknown");
    (evicted > 0).then(|| {
        format!(
            "the target evicted {} during the copy (maxmemory-policy {policy}); raise its maxmemory, \
             then copy again with --if-exists replace",
            units::keys(evicted)
        )
    })
}

/// What both servers report.
pub(super) struct Evidence<'a> {
    source: Reported<'a>,
    target: Reported<'a>,
    /// Keys that this run has written.
    written: u64,
    resumed: bool,
}

impl<'a> Evidence<'a> {
    /// Asks both servers.
    ///
    /// # Errors
    /// One of them does not answer.
    pub(super) async fn gather(run: &Run, probed: &'a Probed) -> Result<Self> {
        let (from, into) = (run.source_link(0, probed), run.target_link(0, probed));
        let (source, target) = tokio::try_join!(info(&from), info(&into))?;
        let same = |process: &crate::net::Process, now: &ServerInfo| process.meet(now) == 0;
        let [source_before, target_before] = &probed.before;
        Ok(Self {
            source: Reported {
                same_process: same(&probed.source_process, &source),
                before: source_before,
                now: source,
            },
            target: Reported {
                same_process: same(&probed.target_process, &target),
                before: target_before,
                now: target,
            },
            written: run.stats.totals().0.copied,
            resumed: probed.resumed,
        })
    }

    /// Whether certainly no key of the source was written, deleted, expired or evicted since before
    /// the first key was read.
    pub(super) fn source_stood_still(&self) -> bool {
        let Reported { before, now, same_process } = &self.source;
        let changes = now.changes.zip(before.changes);
        let unchanged = changes.is_some_and(|(now, was)| now.certainly_unchanged_since(was));
        *same_process && !self.resumed && unchanged && self.source.removed_nothing()
    }

    /// Whether certainly nobody but this run wrote to the target: each key that was written is one
    /// change at least.
    pub(super) fn target_is_ours(&self) -> bool {
        let Reported { before, now, same_process } = &self.target;
        let changes = now.changes.zip(before.changes);
        let ours = changes
            .is_some_and(|(now, was)| now.is_exact_since(was) && now.since(was) == self.written);
        *same_process && !self.resumed && ours && self.target.served_no_waiting()
    }

    /// Likewise, also where a save hides changes, or took place too short ago: each command of this run that
    /// was acknowledged was called without an error, so if no more commands that write were, they were all
    /// ours.
    ///
    /// # Errors
    /// The connection broke for good.
    pub(super) async fn only_we_wrote(&self, run: &Run, probed: &Probed) -> Result<bool> {
        if self.target_is_ours() {
            return Ok(true);
        }
        let Reported { before, now, same_process } = &self.target;
        let [was, is] = [before, now].map(|info| info.calls.as_ref());
        let done = was.zip(is).and_then(|(was, is)| is.done_since(was));
        let known = *same_process && !self.resumed && self.target.served_no_waiting();
        let Some(mut done) = done.filter(|_| known) else { return Ok(false) };
        done.retain(|(name, times)| *times > 0 && !name.starts_with(NO_KEYS));
        let names: Vec<&str> = done.iter().map(|(name, _)| *name).collect();
        let mut line = Line::new(run.target_link(0, probed));
        let writing = loop {
            match writing::those_that_write(line.open().await?, &names).await {
                Ok(writing) => break writing,
                Err(error) => line.recover(error).await?,
            }
        };
        let times = done.iter().filter(|(name, _)| writing.contains(name)).map(|(_, times)| times);
        Ok(times.sum::<u64>() == run.stats.written())
    }

    /// Whether the numbers of keys prove that a target database, which was empty, holds the source's
    /// keys and no others.
    pub(super) fn counts_prove(&self, route: Route) -> bool {
        let keys = |of: &ServerInfo, database| {
            of.keyspace.get(&database).map(|&Keyspace { keys, .. }| keys)
        };
        let source = keys(&self.source.now, route.source);
        source.is_some()
            && source == keys(&self.target.now, route.target)
            && self.source_stood_still()
            && self.target_is_ours()
            && self.target.removed_nothing()
    }

    /// What the target lost keys by, as far as it reports that.
    pub(super) fn loss(&self) -> Option<String> {
        match self.target.same_process {
            true => lost_by(self.target.before, &self.target.now),
            false => Some("the target was restarted, or another server took its place".to_owned()),
        }
    }

    /// Why both sides may hold different names although every key was copied.
    pub(super) fn cause(&self) -> Option<String> {
        if let Some(loss) = self.loss() {
            return Some(loss);
        }
        let [was, is] = [self.source.before, &self.source.now].map(|info| info.calls.as_ref());
        if let Upheaval::Called(command) = between(was, is) {
            let command = command.to_uppercase();
            return Some(format!("{command} was called on the source during the copy"));
        }
        let evicted = grown(self.source.before, &self.source.now, |info| info.evicted_keys);
        let ours = self.target_is_ours();
        if evicted > 0 {
            let evicted = units::keys(evicted);
            let others = if ours { "" } else { ", or other clients wrote to the target" };
            return Some(format!("the source evicted {evicted} during the copy{others}"));
        }
        match (self.source_stood_still(), ours) {
            (true, false) => Some("other clients may have written to the target".to_owned()),
            (false, true) => Some("the source was written to during the copy".to_owned()),
            (false, false) => Some(
                "the source was written to during the copy, or other clients wrote to the target"
                    .to_owned(),
            ),
            (true, true) => None,
        }
    }
}
