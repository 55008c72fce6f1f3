//! The commands that carry entries, and what is remembered of them until their acks come.

use super::crossing::{Crossing, Laid, Road, explain};
use super::outcome::Outcome;
use super::sending::Sending;
use super::unreadable::REFUSED;
use crate::command::keyspace::{self, RestoreForm};
use crate::flow::{Batch, Entry, Form};
use crate::resp::Output;

/// A command without an ack.
pub(super) struct Written {
    /// How many entries it carries.
    pub(super) entries: usize,
    /// Their payloads' bytes.
    pub(super) bytes: usize,
    /// How its payload was sent.
    pub(super) road: Road,
    /// It was not sent at all: what becomes of its entry is known.
    pub(super) answer: Option<Box<Outcome>>,
}

impl Written {
    fn sent(entries: usize, bytes: usize, road: Road) -> Self {
        Self { entries, bytes, road, answer: None }
    }

    fn kept(answer: Outcome) -> Self {
        Self { entries: 1, bytes: 0, road: Road::Verbatim, answer: Some(Box::new(answer)) }
    }
}

/// Writes the entries at these places: strings in one MSET or MSETNX, or a single entry.
pub(super) fn write(
    output: &mut Output,
    sending: &Sending,
    places: &[u32],
    form: RestoreForm,
    crossing: &Crossing,
) -> Option<Written> {
    let entry = sending.entries(places).next()?;
    let batch = &sending.batch;
    Some(match entry.form {
        Form::Value if places.len() > 1 => {
            let bytes = write_mset(output, sending, places, !form.replace);
            Written::sent(places.len(), bytes, Road::Verbatim)
        }
        Form::Value => {
            let bytes = write_set(output, batch, entry, !form.replace);
            Written::sent(1, bytes, Road::Verbatim)
        }
        Form::Dump => match write_restore(output, sending, entry, form, crossing) {
            Laid::Written(bytes, road) => Written::sent(1, bytes, road),
            Laid::Elements => Written::kept(Outcome::Elements),
            Laid::Refused(reason) => {
                let why = if sending.encoded { REFUSED } else { "" };
                Written::kept(Outcome::Failed(format!("{why}{}", explain(&reason))))
            }
        },
    })
}

/// `RESTORE key expiry payload …`.
fn write_restore(
    output: &mut Output,
    sending: &Sending,
    entry: &Entry,
    form: RestoreForm,
    crossing: &Crossing,
) -> Laid {
    let batch = &*sending.batch;
    let begin = |output: &mut Output| {
        output.copy(form.prefix());
        output.copy(entry.key.of(&batch.keys));
        output.number(entry.expiry);
    };
    let end = |output: &mut Output| output.copy(form.suffix());
    crossing.lay(output, (batch, entry), sending.encoded, begin, end)
}

/// `SET key value …`; answers the value's bytes.
fn write_set(output: &mut Output, batch: &Batch, entry: &Entry, only_new: bool) -> usize {
    keyspace::begin_set(output, only_new, entry.expiry);
    output.copy(entry.key.of(&batch.keys));
    output.lay(&batch.payloads, entry.payload.range());
    keyspace::end_set(output, only_new, entry.expiry);
    entry.payload.len()
}

/// `MSET key value …`, or MSETNX, of several entries; answers the values' bytes.
fn write_mset(output: &mut Output, sending: &Sending, places: &[u32], only_new: bool) -> usize {
    let batch = &sending.batch;
    keyspace::begin_mset(output, only_new, places.len());
    let mut bytes = 0;
    for entry in sending.entries(places) {
        output.copy(entry.key.of(&batch.keys));
        output.lay(&batch.payloads, entry.payload.range());
        bytes += entry.payload.len();
    }
    bytes
}
