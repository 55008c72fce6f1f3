//! Where the names of keys come from: a scan of the source, or a file of dead letters.

use std::path::Path;

use super::letters::{self, Letters};
use super::scan::{Scan, scan};
use crate::error::Result;

/// A task that names keys.
pub enum Names {
    /// All keys of a database that are meant.
    Scan(Box<Scan>),
    /// Those that failed before.
    Letters(Letters),
}

impl Names {
    /// By a scan; where there is a file of dead letters, only the keys in it.
    pub fn new(scan: Scan, letters: Option<&Path>) -> Self {
        let Some(file) = letters else { return Self::Scan(Box::new(scan)) };
        let (file, database) = (file.to_owned(), scan.link.database());
        let Scan { filter, keys, ledger, .. } = scan;
        Self::Letters(Letters { file, database, filter, keys, ledger })
    }

    /// Names the keys until there are no more, or nobody takes them.
    ///
    /// # Errors
    /// As [`scan`] and [`letters::name`].
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Scan(of) => scan(*of).await,
            Self::Letters(of) => letters::name(of).await,
        }
    }
}
