//! Keys that the target holds already: whoever may have written one of them earlier asks here whether it
//! is what was sent, before it is called somebody else's.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::probe::may_ask_together;
use crate::command::keyspace::ExpiryCommand;
use crate::error::{Kind, Result};
use crate::flow::{Batch, Entry, Held, Question};
use crate::net::{Line, Link, probe_key};
use crate::source::ExpiryClock;
use crate::target::crossing::Crossing;
use crate::verify::{Judge, Sent};

/// Questions that may wait.
pub(super) const WAITING: usize = 64;
/// Entries that are looked at together, if so many wait; those of one question are.
const TOGETHER: usize = 512;

/// How far the expiry of a key of our own may lie from the source's, in milliseconds: as much as a copy
/// may miss it by where a source only tells what remains, and where clocks are told apart.
const OURS_WITHIN_MS: i64 = 50;

/// What the task works with.
pub(super) struct Existing {
    /// The way to the target database.
    pub(super) target: Link,
    /// What is to be found out.
    pub(super) questions: mpsc::Receiver<Question>,
    /// How far the target's clock is ahead of the source's, in milliseconds: expiries of fields in what was
    /// sent are told by that.
    pub(super) ahead_ms: i64,
    /// How payloads get across.
    pub(super) crossing: Crossing,
    /// Ends the run where nothing can be found out any more.
    pub(super) stop: CancellationToken,
}

/// Answers until nobody asks any more. Connects for the first question.
///
/// # Errors
/// The target cannot be asked any more: the run is stopped, and the questions stay without an answer.
pub(super) async fn answer(task: Existing) -> Result<()> {
    let Existing { target, mut questions, ahead_ms, crossing, stop } = task;
    let mut line = Line::new(target);
    let mut clock = None;
    let mut waiting = Vec::new();
    while questions.recv_many(&mut waiting, WAITING).await > 0 {
        while !waiting.is_empty() {
            let mut entries = 0;
            let fitting = waiting.iter().take_while(|question| {
                let fits = entries < TOGETHER;
                entries += question.places.len();
                fits
            });
            let group: Vec<Question> = { waiting.drain(..fitting.count()).collect() };
            let answered = async {
                let known = match clock {
                    Some(known) => known,
                    None => *clock.insert(own_clock(&mut line).await?),
                };
                let source = ExpiryClock { ahead_ms, ..known };
                let judge = judge(source, known);
                answer_group(&mut line, judge, &crossing, group, &stop).await
            };
            if let Err(error) = answered.await {
                stop.cancel();
                return Err(error);
            }
        }
    }
    Ok(())
}

/// When what the target holds is ours. Fields that have just expired are told by this machine's clock.
pub(super) fn judge(source: ExpiryClock, target: ExpiryClock) -> Judge {
    Judge { source, target, tolerance_ms: OURS_WITHIN_MS, source_ahead_ms: 0, fields_last: false }
}

/// How a target is asked when its own keys expire.
pub(super) async fn own_clock(target: &mut Line) -> Result<ExpiryClock> {
    loop {
        let told = target.ask(&[b"PEXPIRETIME", probe_key()]).await?;
        // If it is not known, or not permitted, what PTTL and TIME say is looked at with each key.
        let command = ExpiryCommand::known_by(Some(&told));
        match may_ask_together(target.open().await?, command).await {
            Ok(together) => return Ok(ExpiryClock { command, ahead_ms: 0, together }),
            Err(error) => target.recover(error).await?,
        }
    }
}

async fn answer_group(
    line: &mut Line,
    judge: Judge,
    crossing: &Crossing,
    group: Vec<Question>,
    stop: &CancellationToken,
) -> Result<()> {
    let entries: Vec<(&Batch, &Entry)> = group
        .iter()
        .flat_map(|question| {
            let batch = &*question.batch;
            let entry = move |&at: &u32| batch.entries.get(at as usize).map(|entry| (batch, entry));
            question.places.iter().filter_map(entry)
        })
        .collect();
    let held = loop {
        let target = line.open().await?;
        match (Sent { target, judge, crossing, stop }).held(&entries).await {
            Ok(held) => break held,
            // Not permitted, say: nobody can tell of any of them.
            Err(error) if error.kind() == Kind::Server && !error.passes() => {
                break vec![Held::Unknown(error.message().to_owned()); entries.len()];
            }
            Err(error) => line.recover(error).await?,
        }
    };
    line.answered();
    let mut held = held.into_iter();
    for Question { places, answer, .. } in group {
        // Gone: the lane has ended and given its keys up.
        let _ = answer.send(held.by_ref().take(places.len()).collect());
    }
    Ok(())
}
