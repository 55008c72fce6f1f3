//! The one reader of expiries: the values of a group of keys and their expiries, of one moment.
//!
//! ```text
//! Together:  MULTI [TIME] expiry × n [TIME]  values  EXEC        one moment by the server's own word
//! Twice:     [TIME] expiry × n [TIME]  values  [TIME] expiry × n [TIME]   one, where both are the same
//! Watched:   [TIME] expiry × n [TIME]  values                    the caller watches the keys
//! Spared:    values                                              none has an expiry (see `super::still`)
//! ```
//!
//! TIME stands there where the server only tells what remains (PTTL): such servers (below 7.0) look at the
//! clock for each command, and may be held up between two of them within a transaction, too. An error is never a number:
//! whatever a server refuses, or answers too late to be sure, makes the group [`Ending::Void`].

use std::collections::VecDeque;

use super::clock::ExpiryClock;
use crate::command::keyspace::{self, ExpiryCommand};
use crate::command::{Cause, ServerError};
use crate::error::Result;
use crate::net::Connection;
use crate::resp::Output;

/// How the answers of a group are known to be of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All is asked in one transaction.
    Together,
    /// Expiries are asked before and behind the values, for a user who may not use MULTI.
    Twice,
    /// Expiries are asked once: the caller watches the keys, and drops what was touched.
    Watched,
    /// Expiries are not asked: the source has none.
    Spared,
}

impl Moment {
    /// How a server of this clock is asked where nothing else is watched.
    pub fn of(clock: ExpiryClock) -> Self {
        if clock.together { Self::Together } else { Self::Twice }
    }
}

/// How the values of a group are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// All by one MGET.
    Strings,
    /// Each by DUMP.
    Dumps,
    /// Run by run: so many by one MGET, or, where it is 0, one by DUMP.
    Mixed(VecDeque<usize>),
}

impl Layout {
    pub(super) fn commands(&self, keys: usize) -> usize {
        match self {
            Self::Strings => 1,
            Self::Dumps => keys,
            Self::Mixed(runs) => runs.len(),
        }
    }

    /// The command that the group is read by first, for messages.
    pub(super) fn command(&self) -> &'static str {
        match self {
            Self::Strings => "MGET",
            Self::Dumps | Self::Mixed(_) => "DUMP",
        }
    }
}

/// Writes the questions for a group of keys, bulk strings in wire form.
pub fn ask<'a>(
    output: &mut Output,
    (clock, moment): (ExpiryClock, Moment),
    layout: &Layout,
    keys: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) {
    let timed = clock.command == ExpiryCommand::Remaining;
    let questions = |output: &mut Output| {
        if timed {
            keyspace::time(output);
        }
        keys.clone().for_each(|key| keyspace::expiry(output, clock.command, key));
        if timed {
            keyspace::time(output);
        }
    };
    if moment == Moment::Together {
        keyspace::multi(output);
    }
    if moment != Moment::Spared {
        questions(output);
    }
    match layout {
        Layout::Strings => keyspace::mget(output, keys.clone()),
        Layout::Dumps => keys.clone().for_each(|key| keyspace::dump(output, key)),
        Layout::Mixed(runs) => {
            let all: Vec<&[u8]> = keys.clone().collect();
            let mut rest = &all[..];
            for &run in runs {
                let (these, behind) = rest.split_at(run.max(1).min(rest.len()));
                rest = behind;
                match (run, these) {
                    (0, [key]) => keyspace::dump(output, key),
                    _ => keyspace::mget(output, these.iter().copied()),
                }
            }
        }
    }
    match moment {
        Moment::Together => keyspace::exec(output),
        Moment::Twice => questions(output),
        Moment::Watched | Moment::Spared => {}
    }
}

/// Why nothing of a group counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server refused a command.
    Refused(&'static str, ServerError),
    /// The server served somebody else for so long that nobody can say when each expiry was told.
    Unsure,
}

/// How a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every value came with its expiry.
    Sound,
    /// The expiries of the keys at these places changed while their values were read.
    Differing(Vec<usize>),
    /// Nothing that came of it counts.
    Void(Trouble),
}

/// What a refusal means for the keys of a group that was read: `Ok` says why for one of them.
///
/// # Errors
/// It concerns every key, or passes by itself.
pub fn refusal(connection: &Connection, trouble: &Trouble) -> Result<String> {
    match trouble {
        Trouble::Unsure => Ok("its expiry kept changing while it was read".to_owned()),
        Trouble::Refused(command, error) => {
            if error.cause.hits_every_key() || error.cause == Cause::Transient {
                return Err(connection.refused(command.as_bytes(), error));
            }
            Ok(format!("{} refused {command}: {error}", connection.server().side))
        }
    }
}
