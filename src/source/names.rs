//! Where the names of keys come from: a scan of the source, or a file of dead letters.

use std::path::Path;

use tokio::sync::mpsc;

use super::letters::{self, Letters};
use super::scan::{CHUNK, Scan, scan};
use crate::error::Result;
use crate::flow::{Keys, name_of};
use crate::report::{Ahead, Ledger};

/// A task that names keys.
pub enum Names {
    /// All keys of a database that are meant.
    Scan(Box<Scan>),
    /// Those that failed before.
    Letters(Letters),
    /// These.
    Listed(Listed),
}

/// Keys of one database, known by their names.
pub struct Listed {
    /// The keys in wire form.
    pub names: Vec<Vec<u8>>,
    /// Where they go.
    pub keys: mpsc::Sender<Keys>,
    /// Where those are left that nobody takes any more.
    pub ledger: Ledger,
}

impl Listed {
    /// Names the keys until there are no more, or nobody takes them.
    pub async fn run(self) {
        let mut chunks = self.names.chunks(CHUNK);
        while let Some(chunk) = chunks.next() {
            let keys = Keys::copied(chunk.iter().map(Vec::as_slice));
            if self.keys.send(keys).await.is_err() {
                let left = [chunk].into_iter().chain(chunks).flatten();
                left.for_each(|wire| self.ledger.leave(name_of(wire)));
                return;
            }
        }
    }
}

impl Names {
    /// By a scan; where there is a file of dead letters, only the keys in it.
    pub fn new(scan: Scan, letters: Option<&Path>) -> Self {
        let Some(file) = letters else { return Self::Scan(Box::new(scan)) };
        let (file, database) = (file.to_owned(), scan.link.database());
        let Scan { filter, keys, ledger, .. } = scan;
        Self::Letters(Letters { file, database, filter, named: 0, keys, ledger })
    }

    /// The names that are left; `None`: there are none.
    pub fn ahead(self, ahead: Ahead) -> Option<Self> {
        match (self, ahead) {
            (_, Ahead::Nothing) => None,
            (Self::Scan(mut scan), Ahead::Cursor(cursor)) => {
                scan.course.from = Some(cursor);
                Some(Self::Scan(scan))
            }
            (Self::Letters(letters), Ahead::Letters(named)) => {
                Some(Self::Letters(Letters { named, ..letters }))
            }
            (from_the_beginning, _) => Some(from_the_beginning),
        }
    }

    /// Names the keys until there are no more, or nobody takes them.
    ///
    /// # Errors
    /// As [`scan`] and [`letters::name`].
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Scan(of) => scan(*of).await,
            Self::Letters(of) => letters::name(of).await,
            Self::Listed(listed) => {
                listed.run().await;
                Ok(())
            }
        }
    }
}
