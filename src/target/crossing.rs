//! Gets payloads across: what the source wrote becomes what this target takes.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::flow::{Batch, Entry};
use crate::payload::{
    self, Encoded, FOOTER_BYTES, Family, Footer, Knowledge, Losses, PayloadError, Policy, Reason,
    Refusal, Way, classify, footer, reencode,
};
use crate::resp::Output;

/// What is known of the target, and what may be given up for it.
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    /// What the target takes.
    pub target: Knowledge,
    /// Whose the source is; `None`: unknown.
    pub source: Option<Family>,
    /// Whether the expiries of a hash's fields may be lost.
    pub lossy: bool,
    /// How far its clock is ahead of the source's, in milliseconds; 0 where they agree.
    pub ahead_ms: i64,
    /// How far the source's clock is ahead of this machine's, in milliseconds; 0 where that is not known.
    pub source_ahead_ms: i64,
}

/// What a payload became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Road {
    /// It went as it came.
    #[default]
    Verbatim,
    /// It got another footer.
    Footer,
    /// It was encoded anew, and this was lost.
    Reencoded(Losses),
}

/// What is to be sent for a payload.
pub enum Made {
    /// It, as it is.
    Verbatim,
    /// It, but for its footer.
    Footer(Footer),
    /// Another one.
    Reencoded(Encoded),
    /// Its elements: it is longer than the target takes at once.
    Elements,
}

/// A payload that was written, or why it was not.
pub(super) enum Laid {
    /// So many bytes of it.
    Written(usize, Road),
    /// Not: its elements have to go one by one.
    Elements,
    /// Not at all.
    Refused(Reason),
}

impl Crossing {
    /// What a payload has to become.
    ///
    /// # Errors
    /// The target has no room for it, or it cannot be read.
    pub fn make(&self, payload: &[u8]) -> Result<Made, Reason> {
        // The time matters to fields that expire alone.
        let expires = payload.first().is_some_and(|&byte| !payload::means_the_same_to_all(byte));
        let now_ms = if expires { self.now_ms() } else { 0 };
        let policy = Policy { lossy: self.lossy, now_ms, ahead_ms: self.ahead_ms };
        Ok(match classify(payload, &self.target, policy) {
            Way::Verbatim => Made::Verbatim,
            Way::PatchFooter { version } => Made::Footer(footer::patch(payload, version)?),
            Way::Reencode { .. } => self.encode(payload)?,
            Way::Commands => Made::Elements,
            Way::Refuse(reason) => return Err(reason),
        })
    }

    /// The time by the source's clock: which fields of a hash have expired by now.
    fn now_ms(&self) -> u64 {
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let here = u64::try_from(here.as_millis()).unwrap_or(u64::MAX);
        here.saturating_add_signed(self.source_ahead_ms)
    }

    /// Decodes a payload and encodes its value for the target, whether that seems to be needed or not.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub fn encode(&self, payload: &[u8]) -> Result<Made, Reason> {
        // Expired fields matter only where a value is re-encoded.
        let now_ms = self.now_ms();
        let policy = Policy { lossy: self.lossy, now_ms, ahead_ms: self.ahead_ms };
        match reencode(payload, &self.target, policy) {
            // Smaller than the limit in its own form, larger in the target's.
            Err(Reason::Target(Refusal::TooLong(_))) => Ok(Made::Elements),
            made => Ok(Made::Reencoded(made?)),
        }
    }

    /// What a whole payload would lose on its way.
    ///
    /// # Errors
    /// Why the target would not take it, for people.
    pub fn foresee(&self, payload: &[u8]) -> Result<Losses, String> {
        match self.make(payload).map_err(|reason| explain(&reason))? {
            Made::Reencoded(made) => Ok(made.lost),
            Made::Verbatim | Made::Footer(_) | Made::Elements => Ok(Losses::default()),
        }
    }

    /// A whole payload as the target takes it.
    ///
    /// # Errors
    /// Why it does not take it, for people.
    pub fn whole<'a>(&self, payload: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        match self.make(payload).map_err(|reason| explain(&reason))? {
            Made::Verbatim => Ok(Cow::Borrowed(payload)),
            Made::Footer(footer) => {
                let body = payload.len().saturating_sub(FOOTER_BYTES);
                let body = payload.get(..body).unwrap_or_default();
                Ok(Cow::Owned([body, &footer.to_bytes()].concat()))
            }
            Made::Reencoded(made) => Ok(Cow::Owned(made.payload)),
            Made::Elements => Err("it is longer than the target takes at once".into()),
        }
    }

    /// Writes the payload of an entry as a bulk string between `begin` and `end`; `encoded`: in any case as the
    /// target's own types.
    pub(super) fn lay(
        &self,
        output: &mut Output,
        (batch, entry): (&Batch, &Entry),
        encoded: bool,
        begin: impl FnOnce(&mut Output),
        end: impl FnOnce(&mut Output),
    ) -> Laid {
        let wire = entry.payload.range();
        let body = wire.end.saturating_sub(entry.bytes as usize + 2)..wire.end.saturating_sub(2);
        let payload = batch.payloads.get(body.clone()).unwrap_or_default();
        let made = match if encoded { self.encode(payload) } else { self.make(payload) } {
            Ok(Made::Elements) => return Laid::Elements,
            Ok(made) => made,
            Err(reason) => return Laid::Refused(reason),
        };
        begin(output);
        let laid = match made {
            Made::Footer(footer) => {
                output.lay(&batch.payloads, wire.start..body.end.saturating_sub(FOOTER_BYTES));
                output.copy(&footer.to_bytes());
                output.copy(b"\r\n");
                Laid::Written(wire.len(), Road::Footer)
            }
            Made::Reencoded(Encoded { payload, lost }) => {
                let bytes = payload.len();
                output.begin_bulk(bytes);
                output.lay(&payload.into(), 0..bytes);
                output.copy(b"\r\n");
                Laid::Written(bytes, Road::Reencoded(lost))
            }
            Made::Verbatim | Made::Elements => {
                output.lay(&batch.payloads, wire.clone());
                Laid::Written(wire.len(), Road::Verbatim)
            }
        };
        end(output);
        laid
    }

    /// Whether a value of this type can pass while it comes, its footer put right at the end.
    pub fn passes(&self, byte: u8) -> bool {
        let same = self.source.is_some() && self.source == self.target.family;
        let moves = self.ahead_ms != 0 && payload::holds_times(byte);
        self.target.knows(byte) && (same || payload::means_the_same_to_all(byte)) && !moves
    }

    /// The last bytes of a payload of this type that passed.
    ///
    /// # Errors
    /// The target accepts no version for it, or the checksum was not made and cannot be patched.
    pub(super) fn end_of(
        &self,
        byte: u8,
        tail: [u8; FOOTER_BYTES],
    ) -> Result<([u8; FOOTER_BYTES], Road), Reason> {
        let made = Footer::of(tail);
        if self.target.accepts(made.version) {
            return Ok((tail, Road::Verbatim));
        }
        if made.is_unchecked() {
            return Err(PayloadError::Checksum.into());
        }
        let version = self.target.version_for(byte).ok_or(Refusal::NoVersion)?;
        Ok((made.with_version(version).to_bytes(), Road::Footer))
    }
}

/// Why a payload does not get across, for people.
pub fn explain(reason: &Reason) -> String {
    match reason {
        Reason::Target(Refusal::FieldExpiries(_)) => {
            format!("{reason} (--lossy copies it all the same, its fields then stay for ever)")
        }
        Reason::Payload(PayloadError::Module(_)) => {
            format!("{reason} (load the module on the target, in no older version)")
        }
        _ => reason.to_string(),
    }
}
