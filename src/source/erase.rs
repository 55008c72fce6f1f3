//! `--delete-source`: a key goes after its ack, and only while it still has the copied value.
//!
//! Several keys are watched, read again and compared; then those that are equal are unlinked in one
//! transaction, which the server refuses if one of them was touched in between. So no write is ever
//! lost: it either keeps the key, or came before the value that was copied.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::time_ms;
use super::clock::{ExpiryClock, Told};
use super::unlink::{Removal, Removed, delete_watched, unwatch, watch};
use crate::command::keyspace::ExpiryCommand;
use crate::error::Result;
use crate::flow::{Acked, Batch, Entry, Fingerprint, name_of};
use crate::net::{Connection, Link};
use crate::report::{Count, Ledger};
use crate::resp::Value;

/// Keys in one transaction, at most: one that was touched sends all of them round again.
const KEYS: usize = 32;
/// Payload bytes read again for one transaction, at most; a larger key goes alone.
const BYTES: usize = 1 << 20;
/// Rounds for a key that shares its transaction with touched ones; the last rounds are alone.
const ROUNDS: usize = 3;
/// What two readings of the same expiry may differ by where the source only tells what remains.
const SAME_EXPIRY_MS: u64 = 1_000;

/// The task that deletes.
pub struct Erase {
    /// The way back, should the connection break.
    pub link: Link,
    /// On the source database.
    pub connection: Connection,
    /// What the lanes acknowledged.
    pub acked: mpsc::Receiver<Acked>,
    /// As the fetch tasks had it.
    pub clock: ExpiryClock,
    /// Where deletions are counted.
    pub ledger: Ledger,
    /// The target may have lost what it acknowledged: nothing more is deleted.
    pub lost: CancellationToken,
}

/// Deletes until the lanes have ended.
///
/// # Errors
/// The connection broke, or the source refuses a command that is needed. Keys not deleted stay.
pub async fn erase(mut task: Erase) -> Result<()> {
    while let Some(acked) = task.acked.recv().await {
        let (batch, places) = match acked {
            Acked::Batch(batch, places) => (batch, places),
            Acked::Large(..) if task.lost.is_cancelled() => {
                task.ledger.add(Count::KeptOnSource, 1);
                continue;
            }
            Acked::Large(key, expiry, was) => {
                let began = Instant::now();
                while let Err(error) = task.erase_large(name_of(&key), expiry, was).await {
                    let again = task.link.reconnect(error, began).await?;
                    task.connection = again.connection;
                }
                continue;
            }
        };
        let batch = &*batch;
        let entries: Vec<&Entry> =
            places.iter().filter_map(|&at| batch.entries.get(at as usize)).collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let (group, behind) = rest.split_at(group_length(rest));
            rest = behind;
            if task.lost.is_cancelled() {
                task.ledger.add(Count::KeptOnSource, group.len() as u64);
                continue;
            }
            let began = Instant::now();
            while let Err(error) = task.erase_group(batch, group).await {
                // A key whose deletion was not acknowledged reads as gone the next time.
                let again = task.link.reconnect(error, began).await?;
                task.connection = again.connection;
            }
        }
    }
    Ok(())
}

/// How many of the entries fit one transaction: at least one.
fn group_length(entries: &[&Entry]) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take(KEYS).take_while(|entry| {
        bytes += entry.payload.len();
        bytes <= BYTES
    });
    fitting.count().max(1)
}

impl Erase {
    async fn erase_group(&mut self, batch: &Batch, group: &[&Entry]) -> Result<()> {
        if self.try_group(batch, group).await? {
            return Ok(());
        }
        for entry in group {
            let mut done = false;
            for _ in 0..ROUNDS {
                done = self.try_group(batch, &[entry]).await?;
                if done {
                    break;
                }
            }
            self.ledger.add(Count::KeptOnSource, u64::from(!done));
        }
        Ok(())
    }

    /// One transaction; `false` if the server refused it because a key was touched.
    async fn try_group(&mut self, batch: &Batch, group: &[&Entry]) -> Result<bool> {
        let names: Vec<&[u8]> = group.iter().map(|entry| batch.name(entry)).collect();
        self.watch(&names).await?;
        let readings = self.read(group, &names).await?;
        let mut equal = Vec::with_capacity(group.len());
        for ((entry, name), reading) in group.iter().zip(&names).zip(readings) {
            if self.unchanged(batch, entry, reading) {
                equal.push(*name);
            }
        }
        let kept = (group.len() - equal.len()) as u64;
        if equal.is_empty() {
            unwatch(&mut self.connection).await?;
            self.ledger.add(Count::KeptOnSource, kept);
            return Ok(true);
        }
        let Some(removed) = self.delete(&equal).await? else { return Ok(false) };
        self.ledger.add(Count::DeletedFromSource, removed);
        self.ledger.add(Count::KeptOnSource, kept);
        Ok(true)
    }

    /// One key whose value nobody holds: it is read again for its digest.
    async fn erase_large(&mut self, name: &[u8], expiry: i64, was: Fingerprint) -> Result<()> {
        let question = [was.form.question().as_bytes(), name];
        for _ in 0..ROUNDS {
            self.watch(&[name]).await?;
            let now = match self.clock.command {
                ExpiryCommand::Remaining => time_ms(&self.demand("TIME", &[]).await?).unwrap_or(0),
                ExpiryCommand::Absolute => 0,
            };
            let told = self.demand(self.clock.command.name(), &[name]).await?;
            let never = CancellationToken::new();
            let is = self.connection.digest_of(&question, was.form.tail(), &never).await?;
            if is != Some(was.digest) || !self.same_expiry(&told, now, expiry) {
                unwatch(&mut self.connection).await?;
                break;
            }
            if let Some(removed) = self.delete(&[name]).await? {
                self.ledger.add(Count::DeletedFromSource, removed);
                return Ok(());
            }
        }
        self.ledger.add(Count::KeptOnSource, 1);
        Ok(())
    }

    async fn watch(&mut self, names: &[&[u8]]) -> Result<()> {
        match watch(&mut self.connection, names).await? {
            Some(denied) => Err(self.connection.refused(b"WATCH", &denied)),
            None => Ok(()),
        }
    }

    /// Deletes watched keys; `None`: one of them was touched.
    async fn delete(&mut self, names: &[&[u8]]) -> Result<Option<u64>> {
        match delete_watched(&mut self.connection, Removal::Unlink, names).await? {
            Removed::Keys(count) => Ok(Some(count)),
            Removed::Touched => Ok(None),
            Removed::Denied(denied) => Err(self.connection.refused(b"UNLINK", &denied)),
        }
    }

    /// Expiry and payload of each key, as they are now.
    async fn read(
        &mut self,
        group: &[&Entry],
        names: &[&[u8]],
    ) -> Result<Vec<(Value, Value, i64)>> {
        let remaining = self.clock.command == ExpiryCommand::Remaining;
        let output = self.connection.output();
        if remaining {
            output.command(&[b"TIME"]);
        }
        for (entry, name) in group.iter().zip(names) {
            output.command(&[self.clock.command.name().as_bytes(), name]);
            output.command(&[entry.form.question().as_bytes(), name]);
        }
        let mut replies =
            self.connection.receive(usize::from(remaining) + 2 * names.len()).await?.into_iter();
        let now = if remaining { replies.next().as_ref().and_then(time_ms) } else { None };
        let mut readings = Vec::with_capacity(names.len());
        while let (Some(expiry), Some(payload)) = (replies.next(), replies.next()) {
            readings.push((expiry, payload, now.unwrap_or(0)));
        }
        Ok(readings)
    }

    fn unchanged(&self, batch: &Batch, entry: &Entry, reading: (Value, Value, i64)) -> bool {
        let (told, Value::Bulk(payload), now) = reading else { return false };
        let copied = name_of(entry.payload.of(&batch.payloads));
        self.same_expiry(&told, now, entry.expiry) && payload == copied
    }

    fn same_expiry(&self, told: &Value, now: i64, copied: i64) -> bool {
        let Value::Integer(answer) = told else { return false };
        let Told::At(expiry) = self.clock.read(*answer, now) else { return false };
        match self.clock.command {
            ExpiryCommand::Absolute => expiry == copied,
            ExpiryCommand::Remaining if expiry == 0 || copied == 0 => expiry == copied,
            ExpiryCommand::Remaining => expiry.abs_diff(copied) <= SAME_EXPIRY_MS,
        }
    }

    async fn demand(&mut self, command: &str, arguments: &[&[u8]]) -> Result<Value> {
        let mut all = vec![command.as_bytes()];
        all.extend_from_slice(arguments);
        self.connection.demand(&all).await
    }
}
