//! Was a database of the source emptied or exchanged for another while its keys were read?
//!
//! SCAN cannot tell: after SWAPDB it goes on in the other database, and keys that nobody touched are read
//! twice or not at all. The server's count of commands shows it (`INFO commandstats`); where that is
//! hidden or was reset, only a count of changes that stood still does.

use crate::command::calls::Calls;
use crate::command::changes::Changes;
use crate::error::{Error, Kind, Result};
use crate::net::Line;
use crate::resp::Value;

/// What empties or exchanges databases.
const COMMANDS: [&str; 3] = ["swapdb", "flushall", "flushdb"];

/// The question.
const INFO: [&[u8]; 2] = [b"INFO", b"all"];

/// What the source said of itself at one moment.
#[derive(Debug, Default)]
pub(super) struct Before {
    calls: Option<Calls>,
    changes: Option<Changes>,
}

/// What happened since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upheaval {
    /// None of these commands was called.
    None,
    /// This one was.
    Called(&'static str),
    /// The source does not tell.
    Unknown,
}

impl Before {
    /// Asks a source.
    ///
    /// # Errors
    /// The connection broke for good.
    pub(super) async fn now(line: &mut Line) -> Result<Self> {
        Ok(Self::read(&line.ask(&INFO).await?))
    }

    /// Asks a source that may be gone by now, and is not waited for.
    pub(super) async fn if_there(line: &mut Line) -> Option<Self> {
        Some(Self::read(&line.open().await.ok()?.call(&INFO).await.ok()?))
    }

    fn read(reply: &Value) -> Self {
        let text = String::from_utf8_lossy(reply.bytes().unwrap_or_default());
        Self { calls: Calls::parse(&text), changes: Changes::parse(&text) }
    }

    /// Compares with a later moment.
    pub(super) fn until(&self, now: &Self) -> Upheaval {
        if let (Some(was), Some(is)) = (self.changes, now.changes)
            && is.certainly_unchanged_since(was)
        {
            return Upheaval::None;
        }
        let called =
            self.calls.as_ref().zip(now.calls.as_ref()).and_then(|(was, is)| is.since(was));
        match called {
            None => Upheaval::Unknown,
            Some(called) => COMMANDS
                .into_iter()
                .find(|command| called.contains(command))
                .map_or(Upheaval::None, Upheaval::Called),
        }
    }
}

impl Upheaval {
    /// Why what was read is not whole; `None`: it is.
    pub(super) fn error(&self) -> Option<Error> {
        let text = match self {
            Self::None => return None,
            Self::Called("swapdb") => {
                "databases of it were exchanged (SWAPDB) while they were read: keys that nobody wrote \
                 may have been read twice or not at all"
                    .to_owned()
            }
            Self::Called(command) => format!(
                "{} was called on it while its keys were read: what it removed is not there, or only \
                 in part",
                command.to_uppercase()
            ),
            Self::Unknown => "whether its databases were exchanged or emptied while they were read is \
                              not known: it does not report which commands were called (INFO \
                              commandstats)"
                .to_owned(),
        };
        Some(Error::new(Kind::Server, text).advise("run it again while nobody does that"))
    }
}
