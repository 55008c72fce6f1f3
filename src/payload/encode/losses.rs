//! What a value loses on its way to a target that has no room for it.

use std::fmt;

use crate::payload::kind::{REDIS_STREAM_4, STREAM_2, STREAM_3};
use crate::payload::stream::StreamState;

/// What of a value is not in the payload that was made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many fields of a hash will no longer expire by themselves. Only where it was allowed:
    /// data stays that should have gone.
    pub field_expiries: u64,
    /// When a stream's consumers last got something (targets before 7.2).
    pub active_times: bool,
    /// How many entries a stream had and its groups have read (targets before 7.0).
    pub counters: bool,
    /// What a stream's producers sent lately (targets other than Redis 8.6 and later): what they
    /// send once more in the next minutes will be there twice.
    pub idempotency: bool,
}

impl Losses {
    /// What a stream of this state loses as a value of type `byte`.
    pub(crate) fn of_stream(state: &StreamState, byte: u8) -> Self {
        let active = |group: &crate::payload::Group| {
            group.consumers.iter().any(|consumer| consumer.active.is_some())
        };
        let sent = |kept: &crate::payload::Idempotency| !kept.producers.is_empty();
        Self {
            field_expiries: 0,
            active_times: byte < STREAM_3 && state.groups.iter().any(active),
            counters: byte < STREAM_2 && state.counters.is_some(),
            idempotency: byte < REDIS_STREAM_4 && state.idempotency.as_ref().is_some_and(sent),
        }
    }

    /// Whether all of the value is there.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = match self.field_expiries {
            1 => "the expiry of 1 field".to_owned(),
            more => format!("the expiries of {more} fields"),
        };
        let all = [
            (self.field_expiries > 0, fields.as_str()),
            (self.active_times, "when consumers were active"),
            (self.counters, "the counters of a stream"),
            (self.idempotency, "what producers sent lately"),
        ];
        let mut lost = all.into_iter().filter_map(|(is, text)| is.then_some(text));
        out.write_str(lost.next().unwrap_or("nothing"))?;
        lost.try_for_each(|text| write!(out, ", {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told() {
        assert!(Losses::default().is_none());
        assert_eq!(Losses::default().to_string(), "nothing");
        let some = Losses { field_expiries: 2, counters: true, ..Losses::default() };
        assert_eq!(some.to_string(), "the expiries of 2 fields, the counters of a stream");
    }
}
