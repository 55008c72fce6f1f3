//! Passes a payload on that is too large to be held, while it comes.
//!
//! The source's connection serves nothing else meanwhile, and waits for the target's answer: a
//! second large value on the way would only be held by the source.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answer::Answer;
use super::clock::Expiry;
use super::fetch::Fetch;
use super::row::Way;
use super::window::Seen;
use crate::error::Result;
use crate::flow::{Fingerprint, Form, Large, PIECES, Piece, Verdict, name_of};
use crate::net::Digest;
use crate::report::Count;

impl Fetch {
    /// The length of the payload at hand, if it is not to be held whole.
    pub(super) fn large_at_hand(&self) -> Option<usize> {
        let awaited = match self.answer {
            Answer::Values => true,
            Answer::Payloads => self.groups.front().is_some_and(|(_, way)| *way != Way::Value),
            _ => false,
        };
        let length = self.tools.connection.announced()?;
        (awaited && length > self.tools.asking.large).then_some(length)
    }

    /// Passes the payload at hand on to the lane, and waits for what becomes of it.
    pub(super) async fn pass_large(&mut self) -> Result<()> {
        let Some(bytes) = self.large_at_hand() else { return Ok(()) };
        let form = if matches!(self.answer, Answer::Values) { Form::Value } else { Form::Dump };
        let key = self.row.awaited().to_vec();
        let (sender, pieces) = mpsc::channel(PIECES);
        let (verdict, mut answer) = oneshot::channel();
        // Without a sure expiry it is only read over, and asked for again with it.
        let sure = match self.expiries.front() {
            Some(&Expiry::At(expiry)) => {
                let doubt = self.doubts.get(&key).copied();
                let key = key.clone();
                let large = Large { key, form, bytes, expiry, pieces, verdict, doubt };
                self.tools.out.send_large(large).await.is_ok()
            }
            _ => {
                // Nobody takes the pieces: sending them must fail, not wait for room.
                drop((verdict, pieces));
                false
            }
        };
        let sent = self.send_pieces(bytes, form, sender).await;
        let verdict = match &sent {
            Ok(_) => {
                self.last_told = Instant::now();
                if sure { answer.await.ok() } else { Some(Verdict::Again { doubtful: false }) }
            }
            Err(_) => {
                // Settled before the source broke, or it stays with this task.
                answer.close();
                answer.try_recv().ok()
            }
        };
        let (sent, broken) = match (sent, &verdict) {
            (Ok(sent), _) => (sent, Ok(())),
            (Err(error), Some(_)) => (None, Err(error)),
            (Err(error), None) => return Err(error),
        };
        let group = self.groups.front().map_or(1, |(keys, _)| *keys);
        self.expiries.pop_front();
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
            Some(Verdict::Again { doubtful }) => {
                if let Some(fingerprint) = sent.filter(|_| doubtful) {
                    self.doubts.insert(key.clone(), fingerprint);
                }
                self.again.push(key);
            }
            // The lane has ended and said why; more keys would only fail too.
            None => {
                self.tools.ledger.add(Count::Scanned, 1);
                self.tools.ledger.give_up(name_of(&key), "the target connection is lost");
                self.tools.stop.cancel();
            }
        }
        self.step();
        self.tools.window.release(1, seen);
        self.end_group(group);
        broken
    }

    /// Sends the payload in pieces, or, once nobody wants it any more, reads over it.
    async fn send_pieces(
        &mut self,
        bytes: usize,
        form: Form,
        sender: mpsc::Sender<Piece>,
    ) -> Result<Option<Fingerprint>> {
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
        let fingerprint = digest.map(|digest| Fingerprint { form, digest: digest.finish() });
        let _ = sender.send(Piece::End(fingerprint)).await;
        Ok(fingerprint)
    }
}
