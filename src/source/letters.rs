//! Names keys by a file of dead letters, where a scan would name all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::scan::CHUNK;
use crate::config::{Filter, Route};
use crate::error::{Error, Kind, Result};
use crate::flow::{Keys, name_of, wire_of};
use crate::report::{Ahead, Count, DeadLetter, DeadLetters, Ledger};
use crate::units;

/// Databases that a file may name: more than any server has.
const MOST_DATABASES: usize = 65_536;

/// The keys of one database in a file of dead letters.
pub struct Letters {
    /// The file.
    pub file: PathBuf,
    /// The source database.
    pub database: u32,
    /// Which keys are meant, by name.
    pub filter: Filter,
    /// So many of them were named before.
    pub named: u64,
    /// Where the keys go.
    pub keys: mpsc::Sender<Keys>,
    /// Where filtered keys are counted.
    pub ledger: Ledger,
}

/// Names the keys until the file ends, or nobody takes them any more.
///
/// # Errors
/// [`Kind::State`]: the file is damaged.
pub async fn name(letters: Letters) -> Result<()> {
    let ended = spawn_blocking(move || letters.name()).await;
    ended.unwrap_or_else(|panic| {
        Err(Error::new(Kind::Local, format!("a task ended unexpectedly: {panic}"))
            .advise("this is a mistake in keyferry; please report it"))
    })
}

/// Where the keys of a file came from and went to: each source database once, in order. Every line is
/// looked at.
///
/// # Errors
/// [`Kind::Config`]: it cannot be read, or its keys of one database went to several.
/// [`Kind::State`]: a line is no dead letter.
pub fn routes(file: &Path) -> Result<Vec<Route>> {
    let mut targets = BTreeMap::new();
    let mut wrong = None;
    each(file, |letter, _| {
        let target = *targets.entry(letter.db).or_insert(letter.target_db);
        if target != letter.target_db {
            wrong = Some(format!(
                "keys of database {} go to the databases {target} and {} there",
                letter.db, letter.target_db
            ));
        } else if targets.len() > MOST_DATABASES {
            wrong = Some(format!("it names more than {MOST_DATABASES} databases"));
        }
        wrong.is_none()
    })?;
    match wrong {
        None => Ok(targets.into_iter().map(|(source, target)| Route { source, target }).collect()),
        Some(why) => Err(Error::config(format!("the dead letters {}: {why}", file.display()))
            .advise("give the file of one run, or a part of it")),
    }
}

impl Letters {
    fn name(mut self) -> Result<()> {
        let mut names: Vec<Vec<u8>> = Vec::with_capacity(CHUNK);
        let mut filtered = 0;
        let mut before = self.named;
        let mut taken = true;
        let file = self.file.clone();
        each(&file, |letter, name| {
            if letter.db != self.database {
                return true;
            }
            if before > 0 {
                before -= 1;
                return true;
            }
            self.named += 1;
            if !self.filter.admits_name(&name) {
                filtered += 1;
                return true;
            }
            names.push(wire_of(&name));
            taken = names.len() < CHUNK || self.send(&mut names);
            taken
        })?;
        if taken && self.send(&mut names) {
            self.ledger.reach(|| Ahead::Nothing);
        }
        self.ledger.add(Count::Scanned, filtered);
        self.ledger.add(Count::Filtered, filtered);
        Ok(())
    }

    /// Sends names, if there are any; `false`: nobody takes keys any more.
    fn send(&self, names: &mut Vec<Vec<u8>>) -> bool {
        let keys = Keys::copied(names.iter().map(Vec::as_slice));
        let sent = names.is_empty() || self.keys.blocking_send(keys).is_ok();
        if !sent {
            names.iter().for_each(|wire| self.ledger.leave(name_of(wire)));
        }
        names.clear();
        self.ledger.reach(|| Ahead::Letters(self.named));
        sent
    }
}

/// Hands out every letter, with its key's name, until `take` answers `false`.
fn each(file: &Path, mut take: impl FnMut(DeadLetter, Vec<u8>) -> bool) -> Result<()> {
    let unreadable = |error: std::io::Error| {
        // A path where nothing is may be anything that was typed in its place.
        let shown = if file.exists() { format!(" {}", file.display()) } else { String::new() };
        Error::config(format!("the dead letters{shown} cannot be read: {error}"))
    };
    let mut input = BufReader::new(File::open(file).map_err(unreadable)?);
    let mut number = 0_u64;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut input).take(DeadLetters::LONGEST_LINE);
        if limited.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(());
        }
        number += 1;
        let read = match std::str::from_utf8(&line) {
            Ok(text) if text.ends_with('\n') => DeadLetter::parse(text.trim_end()),
            Ok(_) => Err("the line breaks off".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let read = read.and_then(|letter| letter.name().map(|name| (letter, name)));
        let (letter, name) = read.map_err(|why| {
            let line = units::count(number);
            let text = format!("line {line} of {} is no dead letter: {why}", file.display());
            Error::new(Kind::State, text).advise("give a file that --failures wrote, whole")
        })?;
        if !take(letter, name) {
            return Ok(());
        }
    }
}
