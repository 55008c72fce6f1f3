//! Compares an entry that nobody holds whole: by the SHA-256 of both sides.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::compare::Comparer;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::error::{Kind, Result};
use crate::flow::{Fingerprint, Form, Large, Piece, Verdict, name_of};
use crate::net::Connection;
use crate::report::Count;
use crate::resp::Value;
use crate::source::{CLOCKS_APART_MS, ExpiryClock, time_ms};

/// What the target holds: when it expires (Unix milliseconds, 0: never; `None`: gone or unsure), and
/// its digest.
type Held = (Option<i64>, Option<[u8; 32]>);

impl Comparer {
    /// Compares one large entry. Nothing else may be awaited.
    pub(super) async fn compare_large(&mut self, large: Large) -> Result<()> {
        let Large { key, form, bytes, expiry, mut pieces, verdict, .. } = large;
        // Both sides at once: what comes from the source is only read over here.
        let tools = &mut self.tools;
        let (read, held) = tokio::join!(
            drain(&mut pieces),
            held(&mut tools.connection, tools.judge.target, name_of(&key), form, &tools.stop)
        );
        drop(pieces);
        let held = match held {
            Err(error) if error.kind() == Kind::Transport => {
                self.recover(error).await?;
                self.last_told = Instant::now();
                None
            }
            // Another type, a key that may not be read, a busy target: it is looked at again.
            Err(error) if error.kind() == Kind::Server => None,
            held => Some(held?),
        };
        self.last_told = Instant::now();
        let Some(read) = read else {
            let _ = verdict.send(Verdict::Again { doubtful: false });
            return Ok(());
        };
        let same = held.is_some_and(|(at, digest)| {
            let on_time = at.is_some_and(|at| self.tools.judge.same_expiry(expiry, at));
            on_time && digest == Some(read.digest)
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

async fn held(
    connection: &mut Connection,
    clock: ExpiryClock,
    name: &[u8],
    form: Form,
    stop: &CancellationToken,
) -> Result<Held> {
    let output = connection.output();
    keyspace::time(output);
    output.command(&[clock.command.name().as_bytes(), name]);
    keyspace::time(output);
    let told = connection.receive(3).await?;
    let at = match told.as_slice() {
        [before, Value::Integer(told), after] if *told != -2 => {
            let (before, after) = (time_ms(before), time_ms(after));
            let apart = after.unwrap_or_default() - before.unwrap_or_default();
            let sure = clock.command == ExpiryCommand::Absolute || apart <= CLOCKS_APART_MS;
            sure.then(|| clock.expiry(*told, after.unwrap_or_default()).unwrap_or(0))
        }
        _ => None,
    };
    let question = [form.question().as_bytes(), name];
    Ok((at, connection.digest_of(&question, form.tail(), stop).await?))
}
