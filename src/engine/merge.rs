//! `--if-exists merge`: a collection on the target gets the members it lacks.

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::keyspace::ExpiryCommand;
use crate::command::{Cause, ServerError};
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

/// So often a key is begun again that changes under our hands.
const TRIES: u32 = 10;

/// How long the target's key has to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// It is gone.
    Gone,
    /// For ever.
    Never,
    /// Some time.
    Some,
}

impl Left {
    /// What PTTL tells.
    fn of(told: &Value) -> Option<Self> {
        match told {
            Value::Integer(-2) => Some(Self::Gone),
            Value::Integer(-1) => Some(Self::Never),
            Value::Integer(0..) => Some(Self::Some),
            _ => None,
        }
    }
}

/// What became of a key.
enum Fate {
    Merged,
    /// The target had lost it: it is there with the source's value, of so many bytes.
    Copied(u64),
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
            Ok(Fate::Merged) => ledger.keep_own(Count::Merged, &key),
            Ok(Fate::Copied(bytes)) => {
                ledger.add_bytes(bytes);
                ledger.add(Count::Copied, 1);
            }
            Ok(Fate::Skipped) => ledger.keep_own(Count::Skipped, &key),
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

    /// Merges a key, which the target may have lost since it was seen there, or lose meanwhile.
    async fn merge_key(&mut self, key: &[u8]) -> Result<Fate> {
        for _ in 0..TRIES {
            if let Some(fate) = self.try_to_merge(key).await? {
                return Ok(fate);
            }
        }
        let text = "the target's key came and went each time that it was to be merged";
        Err(Error::new(Kind::Server, text))
    }

    /// `None`: what was to be written whole found a key again.
    async fn try_to_merge(&mut self, key: &[u8]) -> Result<Option<Fate>> {
        let from = type_of(&mut self.source, key).await?;
        let into = type_of(&mut self.target, key).await?;
        if from == "none" {
            return Ok(Some(Fate::Gone));
        }
        let left = if into == "none" { Left::Gone } else { self.left_on_target(key).await? };
        if left == Left::Gone {
            return self.copy_whole(key, false).await;
        }
        let Some(collection) = Collection::from_type(&from).filter(|_| from == into) else {
            return Ok(Some(Fate::Skipped));
        };
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
        if left == Left::Some {
            return match self.left_on_target(key).await? {
                Left::Some => Ok(Some(Fate::Merged)),
                Left::Gone => self.copy_whole(key, false).await,
                // It expired under our hands and was begun again without an expiry.
                Left::Never => self.copy_whole(key, true).await,
            };
        }
        Ok(Some(Fate::Merged))
    }

    async fn left_on_target(&mut self, key: &[u8]) -> Result<Left> {
        let told = self.target.demand(&[b"PTTL", key]).await?;
        Left::of(&told).ok_or_else(|| unexpected(&self.target, "PTTL"))
    }

    /// Writes the source's value, expiry and all; `replace`: in the place of what the target holds. `None`:
    /// the target holds a key, and nothing was written.
    async fn copy_whole(&mut self, key: &[u8], replace: bool) -> Result<Option<Fate>> {
        let Some((payload, ttl)) = self.read_whole(key).await? else {
            if replace {
                self.target.demand(&[b"UNLINK", key]).await?;
            }
            return Ok(Some(Fate::Gone));
        };
        let payload = match self.crossing.whole(&payload) {
            Ok(payload) => payload,
            Err(reason) => return Err(Error::new(Kind::Server, reason)),
        };
        let ttl = ttl.to_string();
        let mut command = vec![b"RESTORE".as_slice(), key, ttl.as_bytes(), &payload];
        command.extend(replace.then_some(b"REPLACE".as_slice()));
        let Value::Error(line) = self.target.call(&command).await? else {
            let copied = Fate::Copied(payload.len() as u64);
            return Ok(Some(if replace { Fate::Merged } else { copied }));
        };
        let error = ServerError::parse(line.as_bytes());
        match error.cause {
            Cause::KeyExists => Ok(None),
            _ => Err(self.target.refused(b"RESTORE", &error)),
        }
    }

    /// The payload of the source's key and what RESTORE is told of its expiry, of one moment; `None`: it
    /// is gone.
    async fn read_whole(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, i64)>> {
        let questions: [&[&[u8]]; 3] = [&[b"PTTL", key], &[b"DUMP", key], &[b"PTTL", key]];
        for _ in 0..TRIES {
            let replies = self.source.call_all(&questions).await?;
            for (question, reply) in questions.iter().zip(&replies) {
                if let Value::Error(line) = reply {
                    let error = ServerError::parse(line.as_bytes());
                    return Err(self.source.refused(question[0], &error));
                }
            }
            match replies.as_slice() {
                [_, Value::Null, _] => return Ok(None),
                [Value::Integer(-1), Value::Bulk(payload), Value::Integer(-1)] => {
                    return Ok(Some((payload.clone(), 0)));
                }
                // Relative: it is sent at once. 0 would mean never.
                [Value::Integer(before), Value::Bulk(payload), Value::Integer(after)]
                    if (0..=*before).contains(after) =>
                {
                    return Ok(Some((payload.clone(), (*after).max(1))));
                }
                // Written in between.
                [Value::Integer(_), Value::Bulk(_), Value::Integer(_)] => {}
                _ => return Err(unexpected(&self.source, "PTTL or DUMP")),
            }
        }
        Err(Error::new(Kind::Server, "it was written on the source each time that it was read"))
    }

    /// Fields may expire by themselves (Redis 7.4, Valkey 9.0); those that were added keep that.
    async fn copy_field_expiries(&mut self, key: &[u8], fields: &[Vec<u8>]) -> Result<()> {
        if fields.is_empty() || self.clock.command == ExpiryCommand::Remaining {
            return Ok(());
        }
        let number = fields.len().to_string();
        let mut ask: Vec<&[u8]> = vec![b"HPEXPIRETIME", key, b"FIELDS", number.as_bytes()];
        ask.extend(fields.iter().map(Vec::as_slice));
        let expiries = match self.source.call(&ask).await? {
            Value::Array(expiries) => expiries,
            Value::Error(line) => {
                let error = ServerError::parse(line.as_bytes());
                if error.cause == Cause::UnknownCommand {
                    return Ok(());
                }
                return Err(self.source.refused(b"HPEXPIRETIME", &error));
            }
            // The key is gone.
            _ => return Ok(()),
        };
        for (field, expiry) in fields.iter().zip(expiries) {
            let Value::Integer(expiry @ 1..) = expiry else { continue };
            let at = expiry.saturating_add(self.clock.ahead_ms).to_string();
            let set = [b"HPEXPIREAT".as_slice(), key, at.as_bytes(), b"FIELDS", b"1", field];
            self.target.demand(&set).await?;
        }
        Ok(())
    }
}

async fn type_of(connection: &mut Connection, key: &[u8]) -> Result<String> {
    match connection.demand(&[b"TYPE", key]).await? {
        Value::Simple(name) => Ok(name),
        _ => Err(unexpected(connection, "TYPE")),
    }
}

fn unexpected(connection: &Connection, command: &str) -> Error {
    connection.place(Error::new(Kind::Protocol, format!("unexpected reply to {command}")))
}
