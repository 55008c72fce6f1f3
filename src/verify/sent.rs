//! Holds what was sent against what the target has under that name: value, expiry, expiries of fields.
//!
//! Who asks has the entry in memory, so the source is not asked.

use tokio_util::sync::CancellationToken;

use super::equal::{Judge, Likeness, likeness};
use crate::error::Result;
use crate::flow::{Batch, Entry, Form, Held, name_of};
use crate::net::Connection;
use crate::source::expiry::Moment;
use crate::source::reading::{self, Manner, Reading, read};
use crate::target::crossing::Crossing;

/// Entries that are asked for at once, at most.
const AT_ONCE: usize = 64;
/// Their bytes; a longer one is asked for alone.
const BYTES: usize = 1 << 20;
/// What the target holds is held here as well if it is no longer than twice what was sent, and so many
/// bytes more; else it is read again, alone.
const SPARE: usize = 16 << 10;
/// A value that is so many times as long is another one in any encoding: LZF makes of so many bytes one.
const LONGEST: usize = 88;

/// What a comparison with what was sent needs.
pub struct Sent<'a> {
    /// On the target database.
    pub target: &'a mut Connection,
    /// When expiries are the same.
    pub judge: Judge,
    /// How payloads got across.
    pub crossing: &'a Crossing,
    /// The run is being stopped: a silent target is not waited for as long.
    pub stop: &'a CancellationToken,
}

impl Sent<'_> {
    /// What the target holds instead of each entry.
    ///
    /// # Errors
    /// The connection broke, or the target is not ready: it can be asked again. Or it refuses what every
    /// key needs.
    pub async fn held(&mut self, entries: &[(&Batch, &Entry)]) -> Result<Vec<Held>> {
        let mut held = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while let Some((_, first)) = rest.first() {
            let (group, behind) = rest.split_at(group_length(rest));
            rest = behind;
            let longest = group.iter().map(|(_, entry)| entry.bytes as usize).max();
            let hold = longest.unwrap_or_default().saturating_mul(2).saturating_add(SPARE);
            let readings = self.read(group, first.form, hold).await?;
            for (one, reading) in group.iter().zip(readings) {
                held.push(self.compare(one, reading).await?);
            }
        }
        Ok(held)
    }

    async fn read(
        &mut self,
        entries: &[(&Batch, &Entry)],
        form: Form,
        hold: usize,
    ) -> Result<Vec<Reading>> {
        let clock = self.judge.target;
        let keys: Vec<&[u8]> =
            entries.iter().map(|(batch, entry)| entry.key.of(&batch.keys)).collect();
        let manner = Manner { clock, moment: Moment::of(clock), form, hold };
        read(self.target, manner, &keys, self.stop).await
    }

    /// What the target holds, which was read once; looked at again where that does not tell enough.
    async fn compare(&mut self, one: &(&Batch, &Entry), reading: Reading) -> Result<Held> {
        let (batch, entry) = one;
        let alone = std::slice::from_ref(one);
        let reading = match (&reading.held, entry.form) {
            (reading::Held::Long { .. }, form) => {
                let hold = (entry.bytes as usize).saturating_mul(LONGEST).saturating_add(SPARE);
                self.read(alone, form, hold).await?.pop()
            }
            // MGET tells of no other type.
            (reading::Held::Gone, Form::Value) => {
                let dumped = self.read(alone, Form::Dump, 0).await?.pop();
                return Ok(match dumped.map(|reading| reading.held) {
                    None | Some(reading::Held::Gone) => Held::Nothing,
                    Some(reading::Held::Refused(why)) => Held::Unknown(why),
                    Some(_) => Held::Other,
                });
            }
            _ => Some(reading),
        };
        let Some(Reading { expiry, held }) = reading else { return Ok(Held::Nothing) };
        Ok(match held {
            reading::Held::Gone => Held::Nothing,
            reading::Held::Refused(why) => Held::Unknown(why),
            reading::Held::Long { .. } => Held::Other,
            reading::Held::Whole(value) => {
                let sent = name_of(entry.payload.of(&batch.payloads));
                let same = self.judge.same_expiry(entry.expiry, expiry)
                    && self.same_value(sent, entry.form, &value);
                if same { Held::Same } else { Held::Other }
            }
        })
    }

    fn same_value(&self, read: &[u8], form: Form, held: &[u8]) -> bool {
        match form {
            Form::Value => read == held,
            Form::Dump if likeness(read, held, &self.judge.rule()) == Likeness::Same => true,
            // It may have lost what this target has no room for.
            Form::Dump => {
                let sent = self.crossing.whole(read);
                let same = |sent: &[u8]| likeness(sent, held, &self.judge.rule()) == Likeness::Same;
                sent.is_ok_and(|sent| *sent != *read && same(&sent))
            }
        }
    }
}

/// How many of the entries are asked for together: of one form, and at least one.
fn group_length(entries: &[(&Batch, &Entry)]) -> usize {
    let form = entries.first().map(|(_, entry)| entry.form);
    let mut bytes = 0;
    let fitting = entries.iter().take(AT_ONCE).take_while(|(_, entry)| {
        bytes += entry.bytes as usize;
        Some(entry.form) == form && bytes <= BYTES
    });
    fitting.count().max(1)
}
