//! The data sets of the design's table: what real keyspaces look like to a copier.

use super::server::ThrowAway;
use crate::error::{Error, Kind, Result};
use crate::resp::Value;

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSet {
    /// Strings of random bytes, of this size.
    Strings {
        /// Bytes of each value.
        size: usize,
    },
}

impl DataSet {
    /// In words.
    pub fn describe(self) -> String {
        match self {
            Self::Strings { size } => format!("strings of {size} random bytes"),
        }
    }
}

/// Random bytes that values are cut from, so that they do not compress.
const POOL: usize = 4 << 20;
/// Commands in one write.
const PIPELINE: usize = 500;

/// Loads `keys` keys; answers the server's used memory.
pub(super) async fn load(server: &ThrowAway, data: DataSet, keys: u64) -> Result<u64> {
    let mut random = fastrand::Rng::with_seed(1);
    let pool: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(POOL).collect();
    let mut connection = server.connect().await?;
    let DataSet::Strings { size } = data;
    let mut number = 0;
    while number < keys {
        let upto = keys.min(number + PIPELINE as u64);
        let count = usize::try_from(upto - number).unwrap_or(PIPELINE);
        for key in number..upto {
            let from = random.usize(..POOL - size);
            let value = pool.get(from..from + size).unwrap_or_default();
            connection.output().command(&[b"SET", format!("key:{key:012}").as_bytes(), value]);
        }
        let replies = connection.receive(count).await?;
        if let Some(Value::Error(line)) = replies.iter().find(|r| matches!(r, Value::Error(_))) {
            return Err(Error::new(Kind::Server, format!("loading failed: {line}")));
        }
        number = upto;
    }
    let info = connection.demand(&[b"INFO", b"memory"]).await?;
    let text = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
    let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
}
