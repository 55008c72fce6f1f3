//! What a fetch asks of its source, and how much at once.

use tokio::time::Instant;

use super::answers::Answers;
use super::expiry::{Layout, Moment, ask};
use super::fetch::{Fetch, Group};
use super::row::Way;
use super::scan::CHUNK;
use super::still;
use crate::command::keyspace;

/// Keys in one transaction of DUMPs, where they are small: its two commands are 2 % of all then.
const DUMPS: usize = 48;
/// And what their payloads come to, in bytes: the source does all of it before anybody else's turn.
const DUMPED: usize = 128 << 10;
/// Keys in one MGET, where nothing else is asked: more gain nothing, and the source answers all of them
/// before anybody else.
const VALUES: usize = CHUNK;
/// Likewise where their expiries are asked for, one by one.
const VALUES_TOGETHER: usize = 64;
/// Likewise where it is sure only behind all values whether they are of one moment with their
/// expiries: until then they are held.
const VALUES_HELD: usize = 16;

/// What the names of keys that are asked for may come to on one connection, in bytes: they wait here until the
/// source takes them.
const NAMES: usize = 256 << 10;

impl Fetch {
    /// Whether expiries are not asked for at the moment.
    pub(super) fn spares(&self) -> bool {
        !self.asks && self.tools.still.as_ref().is_some_and(|still| !still.has_lied())
    }

    /// Fills the window once it is half empty, so that requests leave in long writes.
    pub(super) fn ask(&mut self) {
        let window = &self.tools.window;
        let most = self.tools.out.window(window.share()).min(self.cuts.most());
        let most = most.min(self.row.names_in(NAMES));
        self.starved = false;
        self.filling |= self.outstanding <= most / 2;
        if !self.filling || self.row.is_all_asked() {
            return;
        }
        let wanted = most.saturating_sub(self.outstanding);
        let granted = window.claim(wanted);
        let before = self.outstanding;
        if granted > 0 && self.is_due() {
            self.ask_whether_still();
        }
        while self.outstanding < before + granted
            && self.ask_group(before + granted - self.outstanding)
        {}
        let asked = self.outstanding - before;
        self.tools.window.give_back(granted - asked);
        self.filling = granted == wanted && self.outstanding < most;
        self.starved = self.outstanding == 0;
        if asked > 0 {
            if before == 0 {
                self.tools.connection.expect_replies();
            }
            self.waits.begin(asked);
        }
    }

    /// Asks for a group of at most `most` keys; `false` if there are none to ask for.
    fn ask_group(&mut self, most: usize) -> bool {
        let clock = self.tools.asking.clock;
        let sample = self.asked_groups.is_multiple_of(still::SAMPLE_EVERY);
        let (moment, values) = match (self.spares(), sample) {
            (true, false) => (Moment::Spared, VALUES),
            (true, true) => (Moment::of(clock), still::SAMPLED),
            (false, _) => (Moment::of(clock), VALUES_TOGETHER),
        };
        let dumps = self.tools.window.fitting(DUMPED).clamp(1, DUMPS);
        let size = |way| match (way, moment) {
            (Way::Value, Moment::Twice) => VALUES_HELD.min(most),
            (Way::Value, _) => values.min(most),
            (Way::Dump, Moment::Together | Moment::Spared) => dumps.min(most),
            // Large ones pass while they come, and have to be sure then.
            (Way::Dump | Way::Alone, _) => 1,
        };
        let Some((way, keys, wires)) = self.row.take(size) else { return false };
        let layout = if way == Way::Value { Layout::Strings } else { Layout::Dumps };
        let output = self.tools.connection.output();
        ask(output, (clock, moment), &layout, wires.iter().map(|wire| wire.of(&keys.slab)));
        let answers = Answers::new((clock, moment), layout, wires.len());
        self.asked_groups += 1;
        self.outstanding += wires.len();
        if moment == Moment::Spared {
            self.unsure_since = if self.unasked == 0 { Instant::now() } else { self.unsure_since };
            self.unasked += wires.len();
        }
        self.groups.push_back(Group::Keys(way, moment, Box::new(answers)));
        true
    }

    /// Whether it has to be asked whether the source stood still.
    pub(super) fn is_unsure(&self) -> bool {
        self.unasked > 0 || self.suspicious
    }

    /// Whether so much came without that, that it is time.
    fn is_due(&self) -> bool {
        self.is_unsure() && (self.unasked >= still::KEYS || self.held_bytes >= still::BYTES)
    }

    /// Asks whether the source stands still, behind the last keys, and now and then behind others that are
    /// being asked for: it needs no write of its own then. `more`: others may come.
    pub(super) fn ask_still(&mut self, more: bool) {
        let last = !more && self.outstanding == 0 && self.groups.is_empty();
        let along = !self.tools.connection.output().is_empty();
        if (last && self.is_unsure()) || (along && self.is_due()) {
            self.ask_whether_still();
        }
    }

    fn ask_whether_still(&mut self) {
        (self.unasked, self.held_bytes) = (0, 0);
        if self.groups.is_empty() {
            self.tools.connection.expect_replies();
        }
        keyspace::info_persistence(self.tools.connection.output());
        self.groups.push_back(Group::Still);
    }
}
