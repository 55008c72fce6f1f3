//! Passes a payload on that is too large to be held, while it comes.
//!
//! The source's connection serves nothing else meanwhile, and waits for the target's answer: a
//! second large value on the way would only be held by the source.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answers::Step;
use super::clock::Told;
use super::expiry::{Ending, Moment};
use super::fetch::{Fetch, Group};
use super::window::Seen;
use crate::error::Result;
use crate::flow::{Fingerprint, Form, Large, PIECES, Piece, Verdict, name_of};
use crate::net::Digest;
use crate::report::Count;

/// A payload at hand that is not to be held whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    bytes: usize,
    form: Form,
    moment: Moment,
    /// When its key expires; `None`: it does not count.
    told: Option<Told>,
}

impl Fetch {
    /// The payload at hand, if it is not to be held whole.
    pub(super) fn large_at_hand(&self) -> Option<Announced> {
        let Some(Group::Keys(_, moment, answers)) = self.groups.front() else { return None };
        let told = answers.awaits_value()?;
        let bytes = self.tools.connection.announced()?;
        let form = if answers.is_string() { Form::Value } else { Form::Dump };
        let large = bytes > self.tools.asking.large;
        large.then_some(Announced { bytes, form, moment: *moment, told })
    }

    /// Passes the payload at hand on to the lane, and waits for what becomes of it.
    pub(super) async fn pass_large(&mut self) -> Result<()> {
        let Some(announced) = self.large_at_hand() else { return Ok(()) };
        match announced {
            Announced { told: None, .. } => self.pass_over().await,
            // What came before it in its group would have to be held until it has passed.
            Announced { moment: Moment::Twice, form: Form::Value, .. } => {
                if let Some(Group::Keys(_, _, answers)) = self.groups.front_mut() {
                    answers.void();
                }
                self.provisional.clear();
                self.hand_over().await;
                self.pass_over().await
            }
            Announced { moment: Moment::Spared, .. } | Announced { told: Some(Told::Gone), .. } => {
                // It is asked for again with its expiry; so are all from here on, which costs
                // nothing beside values like this.
                self.asks = true;
                self.pass_over().await?;
                self.ask_later();
                self.tools.window.release(1, Seen::default());
                Ok(())
            }
            Announced { told: Some(Told::At(expiry)), .. } => self.pass_on(announced, expiry).await,
        }
    }

    /// Reads over a value that does not count.
    async fn pass_over(&mut self) -> Result<()> {
        let mut pieces = self.tools.connection.begin_pieces();
        let stop = &self.tools.stop;
        while self.tools.connection.next_piece(&mut pieces, stop).await?.is_some() {}
        self.last_told = Instant::now();
        self.passed();
        Ok(())
    }

    fn passed(&mut self) {
        if let Some(Group::Keys(_, _, answers)) = self.groups.front_mut() {
            answers.passed();
        }
    }

    async fn pass_on(&mut self, announced: Announced, expiry: i64) -> Result<()> {
        let Announced { bytes, form, .. } = announced;
        let key = self.row.awaited().to_vec();
        let (sender, pieces) = mpsc::channel(PIECES);
        let (verdict, mut answer) = oneshot::channel();
        let doubtful = self.doubts.contains(&key);
        let large = Large { key: key.clone(), form, bytes, expiry, pieces, verdict, doubtful };
        // Refused: the lane has ended, and says why below.
        let _ = self.tools.out.send_large(large).await;
        let sent = self.send_pieces(announced, sender).await;
        let verdict = match &sent {
            Ok(_) => {
                self.last_told = Instant::now();
                answer.await.ok()
            }
            Err(_) => {
                // Settled before the source broke, or it stays with this task.
                answer.close();
                answer.try_recv().ok()
            }
        };
        if let (Err(error), None) = (&sent, &verdict) {
            return Err(error.clone());
        }
        self.strings += usize::from(form == Form::Value);
        let mut seen = Seen::default();
        seen.add(bytes);
        match verdict {
            Some(Verdict::Settled) => {
                self.doubts.remove(&key);
                self.tools.ledger.add(Count::Scanned, 1);
            }
            Some(Verdict::HandedOver) => {
                self.doubts.remove(&key);
            }
            Some(Verdict::Again { doubtful } | Verdict::Whole { doubtful }) => {
                if doubtful {
                    self.doubts.insert(key.clone());
                }
                self.again.push(key);
            }
            // The lane has ended and said why; more keys would only fail too.
            None => {
                self.tools.ledger.add(Count::Scanned, 1);
                self.tools.ledger.give_up(name_of(&key), "the run ended before it was written");
                self.tools.stop.cancel();
            }
        }
        self.step(1);
        self.tools.window.release(1, seen);
        sent
    }

    /// Sends the payload in pieces, or, once nobody wants it any more, reads over it. Its end is sent
    /// only if it is of one moment with its expiry: without it nothing is written.
    async fn send_pieces(&mut self, of: Announced, sender: mpsc::Sender<Piece>) -> Result<()> {
        let Announced { bytes, form, moment, .. } = of;
        let wanted = self.tools.asking.fingerprints;
        let mut digest = wanted.then(|| Digest::of_first(bytes.saturating_sub(form.tail())));
        let connection = &mut self.tools.connection;
        let mut pieces = connection.begin_pieces();
        while let Some(piece) = connection.next_piece(&mut pieces, &self.tools.stop).await? {
            if let Some(digest) = &mut digest {
                digest.update(&piece);
            }
            self.tools.out.pace_piece(piece.len()).await;
            // Refused: the lane gave the value up, and will tell.
            let _ = sender.send(Piece::Bytes(piece)).await;
        }
        self.passed();
        let sound = moment != Moment::Twice || self.ends_soundly().await?;
        let fingerprint = digest.map(|digest| Fingerprint { form, digest: digest.finish() });
        if sound {
            let _ = sender.send(Piece::End(fingerprint)).await;
        }
        Ok(())
    }

    /// Reads what is behind the only value of the group in front, which ends with it.
    async fn ends_soundly(&mut self) -> Result<bool> {
        loop {
            let Some(Group::Keys(_, _, answers)) = self.groups.front_mut() else {
                return Err(self.out_of_step());
            };
            match answers.next(&mut self.tools.connection)? {
                Step::Wait => {
                    self.tools.connection.turn_within(&self.tools.stop).await?;
                }
                Step::End(ending) => {
                    self.groups.pop_front();
                    return Ok(ending == Ending::Sound);
                }
                Step::Value { .. } => return Err(self.out_of_step()),
            }
        }
    }
}
