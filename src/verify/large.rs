//! Compares an entry that nobody holds whole: by the SHA-256 of both sides.

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::compare::Comparer;
use crate::error::Result;
use crate::flow::{Fingerprint, Large, Piece, Verdict};
use crate::report::Count;
use crate::source::expiry::Moment;
use crate::source::reading::{Held, Manner, Reading, read};

impl Comparer {
    /// Compares one large entry. Nothing else may be awaited.
    pub(super) async fn compare_large(&mut self, large: Large) -> Result<()> {
        let Large { key, form, bytes, expiry, mut pieces, verdict, .. } = large;
        // Both sides at once: what comes from the source is only read over here.
        let tools = &mut self.tools;
        let clock = tools.judge.target;
        let manner = Manner { clock, moment: Moment::of(clock), form, hold: 0 };
        let keys = [&key[..]];
        let (read, held) = tokio::join!(
            drain(&mut pieces),
            read(&mut tools.connection, manner, &keys, &tools.stop)
        );
        drop(pieces);
        let held = match held {
            Err(error) if error.passes() => {
                self.recover(error).await?;
                None
            }
            held => held?.pop(),
        };
        self.last_told = Instant::now();
        let Some(read) = read else {
            let _ = verdict.send(Verdict::Again { doubtful: false });
            return Ok(());
        };
        let same = held.is_some_and(|Reading { expiry: at, held }| {
            let on_time = self.tools.judge.same_expiry(expiry, at);
            let judge = self.tools.judge;
            let same = |digest, first| digest == read.digest && judge.takes_bytes(first);
            on_time && matches!(held, Held::Long { digest, first, .. } if same(digest, first))
        });
        if same {
            self.tools.ledger.add(Count::Compared, 1);
            self.tools.ledger.add_bytes(bytes as u64);
        } else {
            self.doubt(key).await?;
        }
        let _ = verdict.send(Verdict::Settled);
        Ok(())
    }
}

/// Reads over the pieces; `None`: the source did not deliver all of them.
async fn drain(pieces: &mut mpsc::Receiver<Piece>) -> Option<Fingerprint> {
    while let Some(piece) = pieces.recv().await {
        if let Piece::End(fingerprint) = piece {
            return fingerprint;
        }
    }
    None
}
