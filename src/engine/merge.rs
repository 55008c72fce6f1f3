//! `--if-exists merge`: a collection on the target gets the members it lacks.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::keyspace::ExpiryCommand;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Link};
use crate::report::{Count, Ledger};
use crate::resp::Value;
use crate::source::ExpiryClock;
use crate::source::elements::{Collection, page};
use crate::target::crossing::Crossing;
use crate::target::members::{add_to_hash, add_to_set, add_to_sorted_set};

/// The task that merges, with a connection of its own to each side.
struct Merge {
    source: Connection,
    target: Connection,
    clock: ExpiryClock,
    crossing: Crossing,
}

/// What became of a key.
enum Fate {
    Merged,
    Skipped,
    Gone,
}

/// Merges `keys`, which the target holds already, until the lanes have ended.
///
/// # Errors
/// A connection broke for good; the keys that wait are counted as failed.
pub(super) async fn merge(
    [source, target]: [Link; 2],
    mut keys: mpsc::Receiver<Vec<u8>>,
    clock: ExpiryClock,
    crossing: Crossing,
    ledger: Ledger,
    stop: CancellationToken,
) -> Result<()> {
    let mut task =
        Merge { source: source.connect().await?, target: target.connect().await?, clock, crossing };
    let mut broken = Ok(());
    while let Some(key) = keys.recv().await {
        let mut result = match &broken {
            Ok(()) => task.merge_key(&key).await,
            Err(error) => Err(Error::clone(error)),
        };
        let began = Instant::now();
        while let (Err(error), Ok(())) = (&result, &broken) {
            if error.kind() == Kind::Server && !error.passes() {
                break;
            }
            // Merging is idempotent: on new connections the key is begun again.
            match task.renew(&source, &target, error.clone(), began).await {
                Ok(()) => result = task.merge_key(&key).await,
                Err(error) => {
                    // Before anything is given up: nobody may take these keys for settled.
                    stop.cancel();
                    broken = Err(error);
                }
            }
        }
        match result {
            Ok(Fate::Merged) => ledger.add(Count::Merged, 1),
            Ok(Fate::Skipped) => ledger.add(Count::Skipped, 1),
            Ok(Fate::Gone) => ledger.add(Count::Expired, 1),
            Err(error) if broken.is_err() => ledger.give_up(&key, error.message()),
            Err(error) => ledger.fail(&key, error.message()),
        }
    }
    broken
}

impl Merge {
    async fn renew(
        &mut self,
        source: &Link,
        target: &Link,
        cause: Error,
        began: Instant,
    ) -> Result<()> {
        if cause.kind() == Kind::Server {
            // The target has become a replica.
            let cause = cause.as_kind(Kind::Transport);
            self.target = target.reconnect(cause, began).await?.connection;
            return Ok(());
        }
        self.source = source.reconnect(cause, began).await?.connection;
        self.target = target.connect().await?;
        Ok(())
    }

    async fn merge_key(&mut self, key: &[u8]) -> Result<Fate> {
        let from = self.source.demand(&[b"TYPE", key]).await?;
        let into = self.target.demand(&[b"TYPE", key]).await?;
        let (from, into) = (from.text().unwrap_or_default(), into.text().unwrap_or_default());
        if from == "none" {
            return Ok(Fate::Gone);
        }
        let Some(collection) = Collection::from_type(from).filter(|_| from == into) else {
            return Ok(Fate::Skipped);
        };
        let expiring = self.target_expires(key).await?;
        let mut cursor = b"0".to_vec();
        loop {
            let (next, members) = page(&mut self.source, collection, key, &cursor).await?;
            match collection {
                Collection::Set => add_to_set(&mut self.target, key, &members).await?,
                Collection::SortedSet => add_to_sorted_set(&mut self.target, key, &members).await?,
                Collection::Hash => {
                    let fields = add_to_hash(&mut self.target, key, &members).await?;
                    self.copy_field_expiries(key, &fields).await?;
                }
            }
            if next == b"0" {
                break;
            }
            cursor = next;
        }
        if expiring && !self.target_expires(key).await? {
            return self.copy_anew(key).await;
        }
        Ok(Fate::Merged)
    }

    async fn target_expires(&mut self, key: &[u8]) -> Result<bool> {
        Ok(self.target.demand(&[b"PTTL", key]).await?.integer().is_some_and(|ttl| ttl >= 0))
    }

    /// The target's key expired under our hands and was begun anew without an expiry: the source's
    /// takes its place, expiry and all.
    async fn copy_anew(&mut self, key: &[u8]) -> Result<Fate> {
        let remaining = self.source.demand(&[b"PTTL", key]).await?.integer().unwrap_or(-2);
        let Value::Bulk(payload) = self.source.demand(&[b"DUMP", key]).await? else {
            self.target.demand(&[b"UNLINK", key]).await?;
            return Ok(Fate::Gone);
        };
        // Relative here: it is sent at once. 0 would mean never.
        let ttl = if remaining == -1 { 0 } else { remaining.max(1) }.to_string();
        let payload = match self.crossing.whole(&payload) {
            Ok(payload) => payload,
            Err(reason) => return Err(Error::new(Kind::Server, reason)),
        };
        let command = [b"RESTORE".as_slice(), key, ttl.as_bytes(), &payload, b"REPLACE"];
        self.target.demand(&command).await?;
        Ok(Fate::Merged)
    }

    /// Fields may expire by themselves (Redis 7.4, Valkey 9.0); those that were added keep that.
    async fn copy_field_expiries(&mut self, key: &[u8], fields: &[Vec<u8>]) -> Result<()> {
        if fields.is_empty() || self.clock.command == ExpiryCommand::Remaining {
            return Ok(());
        }
        let number = fields.len().to_string();
        let mut ask: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", number.as_bytes()];
        ask.extend(fields.iter().map(Vec::as_slice));
        let Value::Array(expiries) = self.source.call(&ask).await? else {
            // The source knows no field expiries: there are none.
            return Ok(());
        };
        for (field, expiry) in fields.iter().zip(expiries) {
            let Some(expiry) = expiry.integer().filter(|&expiry| expiry > 0) else { continue };
            let at = expiry.saturating_add(self.clock.ahead_ms).to_string();
            let set = [b"HPEXPIREAT".as_slice(), key, at.as_bytes(), b"FIELDS", b"1", field];
            self.target.demand(&set).await?;
        }
        Ok(())
    }
}
