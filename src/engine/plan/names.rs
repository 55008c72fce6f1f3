//! Names of keys of the source: all of a small database, else those of pages at random places.

use std::collections::HashSet;

use tokio_util::sync::CancellationToken;

use super::super::probe::refused_before_work;
use crate::error::{Kind, Result};
use crate::flow::name_of;
use crate::net::Connection;
use crate::source::page_of_names::{self, Page};

/// COUNT of a page at a random place of the cursor's space.
const PAGE: u64 = 20;
/// Pages that are asked for at once.
const PAGES: usize = 10;
/// Rounds of pages of one database: a table that is nearly empty has many empty pages.
const ROUNDS: u64 = 40;
/// A page of names that come to more, in bytes, is followed by none of more keys.
const PAGE_BYTES: usize = 32 << 10;
/// Keys of longer names are not looked at, in bytes.
const LONGEST_NAME: usize = 64 << 10;
/// Bytes of names that are held.
const NAMES: usize = 4 << 20;
/// Pages of a small database, at most: those of a SCAN that never ends are enough for a sample, too.
const MOST_PAGES: usize = 10_000;

/// Names, each once, within bounds.
#[derive(Default)]
pub(super) struct Names {
    pub(super) names: Vec<Vec<u8>>,
    /// What is too long to be looked at: the beginnings and lengths of these names, in bytes.
    pub(super) longer: HashSet<(Vec<u8>, usize)>,
    /// SCAN has come to its end, and none of its names was left out.
    pub(super) complete: bool,
    seen: HashSet<Vec<u8>>,
    left_out: bool,
    bytes: usize,
    wanted: usize,
}

impl Names {
    /// All names of a small database, or the first `wanted` of one that has grown.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn all(
        connection: &mut Connection,
        wanted: u64,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let mut names = Self::new(wanted);
        let mut cursor = b"0".to_vec();
        let mut count = 10_u32;
        for _ in 0..MOST_PAGES {
            let number = count.to_string();
            connection.output().command(&[b"SCAN", &cursor, b"COUNT", number.as_bytes()]);
            let before = names.bytes;
            let Some(next) = names.add(connection, stop).await? else { break };
            if names.bytes - before < PAGE_BYTES {
                count = (count * 2).min(500);
            }
            names.complete = next == b"0" && !names.left_out;
            if next == b"0" || names.is_full() {
                break;
            }
            cursor = next;
        }
        Ok(names)
    }

    /// Names from pages at random places. A cursor that SCAN did not give is as good as any other for a
    /// page; only that all keys come is not promised then.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn some(
        connection: &mut Connection,
        wanted: u64,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let mut names = Self::new(wanted);
        let count = PAGE.to_string();
        for _ in 0..ROUNDS {
            for _ in 0..PAGES {
                let cursor = fastrand::u32(..).to_string();
                let scan = [b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()];
                connection.output().command(&scan);
            }
            for _ in 0..PAGES {
                names.add(connection, stop).await?;
            }
            if names.is_full() {
                break;
            }
        }
        Ok(names)
    }

    fn new(wanted: u64) -> Self {
        Self { wanted: usize::try_from(wanted).unwrap_or(usize::MAX), ..Self::default() }
    }

    fn is_full(&self) -> bool {
        self.names.len() >= self.wanted || self.bytes >= NAMES
    }

    /// Takes the names of the page that comes; returns its cursor. `None`: it was refused.
    async fn add(
        &mut self,
        connection: &mut Connection,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<u8>>> {
        let page = match page_of_names::read(connection, LONGEST_NAME, stop).await {
            Ok(page) => page,
            Err(error) if error.kind() == Kind::Server && !error.passes() => return Ok(None),
            Err(error) => return Err(refused_before_work(error)),
        };
        let Page { next, keys, too_long, .. } = page;
        for name in keys.iter().flat_map(|keys| keys.iter()).map(name_of) {
            if self.seen.contains(name) {
                continue;
            }
            if self.is_full() {
                self.left_out = true;
                continue;
            }
            self.bytes += name.len();
            self.seen.insert(name.to_vec());
            self.names.push(name.to_vec());
        }
        if !self.is_full() {
            self.longer.extend(too_long);
        }
        Ok(Some(next))
    }
}
