//! Fills a server with a data set, in pipelines.

use super::{Amount, DataSet, KILO, mixed};
use crate::bench::server::Peer;
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::resp::Value;

/// Bytes that values are cut from; a larger value is laid together from such pieces.
const POOL: usize = 4 << 20;
/// A pipeline is sent once it has so many bytes or commands: the replies' memory is the server's.
const PIPELINE_BYTES: usize = 1 << 20;
const PIPELINE_COMMANDS: usize = 1_000;
/// Expiries lie between one hour and one day ahead: no benchmark takes that long.
const HOUR_MS: u64 = 3_600_000;

/// What a server holds.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::bench) struct Loaded {
    /// Keys.
    pub(in crate::bench) keys: u64,
    /// Bytes of their names and values.
    pub(in crate::bench) bytes: u64,
    /// The server's used memory.
    pub(in crate::bench) memory: u64,
}

/// Loads a data set into an empty server.
pub(in crate::bench) async fn load(server: &Peer, data: DataSet, amount: Amount) -> Result<Loaded> {
    let keys = data.keys(amount);
    let mut loader = Loader::new(server.connect().await?);
    match data {
        DataSet::Strings { size } => loader.strings(keys, size, false).await?,
        DataSet::Expiring => loader.strings(keys, KILO, true).await?,
        DataSet::Mixed => {
            for number in 0..keys {
                mixed::put(&mut loader, number);
                loader.send(false).await?;
            }
        }
        DataSet::Large | DataSet::Giant | DataSet::Together => {
            loader.strings(data.strings(amount), KILO, false).await?;
            loader.large(&data.large_sizes(amount)).await?;
        }
    }
    loader.send(true).await?;
    let info = server.info("memory").await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    let memory = used.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
    Ok(Loaded { keys, bytes: loader.bytes, memory })
}

/// What is queued for the server, and what values are made from.
pub(super) struct Loader {
    connection: Connection,
    commands: usize,
    bytes: u64,
    pub(super) random: fastrand::Rng,
    noise: Vec<u8>,
    words: Vec<u8>,
}

impl Loader {
    fn new(connection: Connection) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let noise = std::iter::repeat_with(|| random.u8(..)).take(POOL).collect();
        let words = mixed::words(&mut random, POOL);
        Self { connection, commands: 0, bytes: 0, random, noise, words }
    }

    /// Queues a command; what follows its name counts as data.
    pub(super) fn put(&mut self, command: &[&[u8]]) {
        self.connection.output().command(command);
        self.commands += 1;
        self.bytes += command.iter().skip(1).map(|argument| argument.len() as u64).sum::<u64>();
    }

    /// A value that does not compress.
    pub(super) fn noise(&mut self, size: usize) -> Vec<u8> {
        let from = self.random.usize(..=POOL - size);
        self.noise.get(from..from + size).unwrap_or_default().to_vec()
    }

    /// A value that compresses as text does, or, as often, one that does not.
    pub(super) fn value(&mut self, size: usize) -> Vec<u8> {
        if self.random.bool() {
            return self.noise(size);
        }
        let from = self.random.usize(..=POOL - size);
        self.words.get(from..from + size).unwrap_or_default().to_vec()
    }

    /// Sends what is queued if it is enough, or `all` of it; an error reply is an error.
    async fn send(&mut self, all: bool) -> Result<()> {
        let enough =
            self.commands >= PIPELINE_COMMANDS || self.connection.output().len() >= PIPELINE_BYTES;
        if self.commands == 0 || !(all || enough) {
            return Ok(());
        }
        let replies = self.connection.receive(std::mem::take(&mut self.commands)).await?;
        match replies.iter().find(|reply| matches!(reply, Value::Error(_))) {
            Some(Value::Error(line)) => {
                let error = Error::new(Kind::Server, format!("loading was refused: {line}"));
                Err(self.connection.place(error))
            }
            _ => Ok(()),
        }
    }

    async fn strings(&mut self, keys: u64, size: usize, expiring: bool) -> Result<()> {
        for number in 0..keys {
            let key = format!("key:{number:012}");
            let value = self.noise(size);
            if expiring {
                let ahead = self.random.u64(HOUR_MS..24 * HOUR_MS).to_string();
                self.put(&[b"SET", key.as_bytes(), &value, b"PX", ahead.as_bytes()]);
            } else {
                self.put(&[b"SET", key.as_bytes(), &value]);
            }
            self.send(false).await?;
        }
        Ok(())
    }

    /// In pieces, so that the benchmark itself never holds such a value.
    async fn large(&mut self, sizes: &[u64]) -> Result<()> {
        for (number, &size) in sizes.iter().enumerate() {
            let key = format!("large:{number:02}");
            let mut left = usize::try_from(size).unwrap_or(usize::MAX);
            while left > 0 {
                let piece = self.noise(left.min(POOL));
                left -= piece.len();
                self.put(&[b"APPEND", key.as_bytes(), &piece]);
                self.send(false).await?;
            }
        }
        Ok(())
    }
}
