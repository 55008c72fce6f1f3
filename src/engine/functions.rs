//! Functions: libraries of code that belong to a server, not to a database (Redis 7.0, Valkey).
//!
//! They go as source code: so no version of a payload stands between two servers, and what happens to a library
//! that exists can be said of each. All are loaded at once by `FUNCTION RESTORE`, which loads all or none; where
//! that is not permitted, library by library by `FUNCTION LOAD`.

use super::Run;
use super::library::{self, Library};
use super::probe::Probed;
use crate::command::{Cause, ServerError};
use crate::config::IfExists;
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::payload::FOOTER_BYTES;
use crate::rdb::{Record, Records, Version, function_dump};
use crate::resp::Value;
use crate::units::{self, printable};

/// The target's libraries, and those that come.
pub(super) struct Libraries {
    policy: IfExists,
    held: Vec<Library>,
    /// Whether the target knows functions; else this is what it said.
    refused: Option<String>,
    coming: Vec<(Library, Vec<u8>)>,
    /// Libraries of the target that stay although the source has others of their names.
    kept: Vec<String>,
}

impl Libraries {
    /// Asks the target what it holds.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn new(target: &mut Connection, policy: IfExists) -> Result<Self> {
        let list: [&[u8]; 3] = [b"FUNCTION", b"LIST", b"WITHCODE"];
        let (held, refused) = match target.call(&list).await? {
            Value::Error(line) => (Vec::new(), Some(printable(line.as_bytes()))),
            libraries @ Value::Array(_) => (library::listed(&libraries), None),
            _ => {
                let text = "a reply does not fit its request (FUNCTION LIST)";
                return Err(target.place(Error::new(Kind::Protocol, text)));
            }
        };
        Ok(Self { policy, held, refused, coming: Vec::new(), kept: Vec::new() })
    }

    /// Takes a library that is to be loaded, or leaves the target's own.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`]: the target knows no functions, or it holds a library of this
    /// name and nobody said what shall become of it.
    pub(super) fn take(
        &mut self,
        target: &Connection,
        code: Vec<u8>,
        library: Library,
    ) -> Result<()> {
        if let Some(line) = &self.refused {
            let text = format!("it takes no functions: {line}");
            return Err(target.place(Error::refused(text)).advise("leave out --with-functions"));
        }
        let exists = self.held.iter().any(|held| held.name == library.name);
        match self.policy {
            // Libraries have no members that could be merged.
            IfExists::Merge if exists && self.holds(&library.name, &code) => Ok(()),
            IfExists::Refuse | IfExists::Fail | IfExists::Merge if exists => {
                let name = printable(&library.name);
                let text = format!("it holds a library of functions named {name}");
                Err(target
                    .place(Error::refused(text))
                    .advise("say what happens to it: --if-exists replace or skip"))
            }
            IfExists::Skip if exists => {
                if !self.holds(&library.name, &code) {
                    self.kept.push(printable(&library.name));
                }
                Ok(())
            }
            _ => {
                self.coming.push((library, code));
                Ok(())
            }
        }
    }

    /// Whether the target's library of this name has this very code.
    fn holds(&self, name: &[u8], code: &[u8]) -> bool {
        self.held.iter().any(|held| held.name == name && held.code.as_deref() == Some(code))
    }

    /// Refuses functions whose names are taken by a library that stays: a server has each name once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`].
    pub(super) fn refuse_conflicts(&self, target: &Connection) -> Result<()> {
        let stays =
            |held: &&Library| !self.coming.iter().any(|(coming, _)| coming.name == held.name);
        for held in self.held.iter().filter(stays) {
            let shared = |coming: &Library| coming.shares(held).map(printable);
            let conflict =
                self.coming.iter().find_map(|(coming, _)| Some((coming, shared(coming)?)));
            let Some((coming, function)) = conflict else { continue };
            let (name, coming) = (printable(&held.name), printable(&coming.name));
            let text = format!(
                "its library of functions {name} has a function {function}, as has the library {coming} that \
                 would be loaded; nothing was loaded"
            );
            let advice = format!(
                "remove one of the two libraries (FUNCTION DELETE {name} on the target), or leave out \
                 --with-functions"
            );
            return Err(target.place(Error::refused(text)).advise(advice));
        }
        Ok(())
    }

    /// Refuses a target whose user may not load.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`]. Or the connection broke.
    pub(super) async fn refuse_unloadable(&self, target: &mut Connection) -> Result<()> {
        // No code is no library.
        match target.call(&[b"FUNCTION", b"LOAD", b""]).await? {
            Value::Error(line) if line.starts_with("NOPERM") => {
                let error = ServerError::parse(line.as_bytes());
                let text = format!("FUNCTION LOAD was refused: {error}");
                Err(target
                    .place(Error::refused(text))
                    .advise("grant it there: ACL SETUSER <user> +function|load"))
            }
            _ => Ok(()),
        }
    }

    /// Loads what was taken.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`]: the target does not take them; none was loaded. Or the connection broke.
    pub(super) async fn load(&self, target: &mut Connection) -> Result<()> {
        self.refuse_conflicts(target)?;
        if !self.coming.is_empty() {
            self.refuse_unloadable(target).await?;
            self.load_all(target).await?;
        }
        self.tell_of_kept();
        tracing::info!("functions: {} copied", number(self.coming.len() as u64));
        Ok(())
    }

    /// Says which of the source's libraries are not copied.
    fn tell_of_kept(&self) {
        if !self.kept.is_empty() {
            let names = self.kept.join(", ");
            tracing::warn!(
                "functions: {} NOT copied, since the target holds others of their names: {names}",
                number(self.kept.len() as u64)
            );
        }
    }

    async fn load_all(&self, target: &mut Connection) -> Result<()> {
        let payload = function_dump(self.coming.iter().map(|(_, code)| code.as_slice()));
        let replaces = self.policy == IfExists::Replace;
        let policy: &[u8] = if replaces { b"REPLACE" } else { b"APPEND" };
        let Value::Error(line) = target.call(&[b"FUNCTION", b"RESTORE", &payload, policy]).await?
        else {
            return Ok(());
        };
        let error = ServerError::parse(line.as_bytes());
        if matches!(error.cause, Cause::CommandDenied | Cause::UnknownCommand) {
            return self.load_each(target).await;
        }
        let refused = target.refused(b"FUNCTION RESTORE", &error);
        Err(match error.cause {
            Cause::Other => refused.as_kind(Kind::Refused).advise(
                "no function was loaded: remove what is in the way on the target (FUNCTION LIST, FUNCTION \
                 DELETE), or leave out --with-functions",
            ),
            _ => refused,
        })
    }

    /// One after the other: what is loaded stays, should one not be taken.
    async fn load_each(&self, target: &mut Connection) -> Result<()> {
        for (library, code) in &self.coming {
            let exists = self.held.iter().any(|held| held.name == library.name);
            match exists {
                true => target.demand(&[b"FUNCTION", b"LOAD", b"REPLACE", code]).await?,
                false => target.demand(&[b"FUNCTION", b"LOAD", code]).await?,
            };
        }
        Ok(())
    }
}

/// Says that the source's libraries stay behind, if it has some and nobody asked for them. After the
/// copy: this is not worth a round trip before it.
pub(super) async fn tell_of_rest(run: &Run, probed: &Probed) -> Result<()> {
    if run.plan.functions {
        return Ok(());
    }
    let mut source = run.source_link(0, probed).connect().await?;
    let held = source.call(&[b"FUNCTION", b"LIST"]).await?;
    let count = held.elements().unwrap_or_default().len();
    if count > 0 {
        tracing::warn!("{}", left_behind("source", count as u64));
    }
    Ok(())
}

/// Copies the source's libraries, if that is asked for.
///
/// # Errors
/// As [`Libraries`], and a source whose user may not read them although they were asked for.
pub(super) async fn carry(run: &Run, probed: &Probed) -> Result<()> {
    carry_by(run, probed, run.plan.if_exists).await
}

/// Likewise, for a target that may have lost them: those that it has are our own.
///
/// # Errors
/// As [`carry`].
pub(super) async fn carry_again(run: &Run, probed: &Probed) -> Result<()> {
    let policy = match run.plan.if_exists {
        // They are what the pass before has loaded.
        IfExists::Refuse => IfExists::Replace,
        policy => policy,
    };
    carry_by(run, probed, policy).await
}

async fn carry_by(run: &Run, probed: &Probed, policy: IfExists) -> Result<()> {
    if !run.plan.functions {
        return Ok(());
    }
    let mut source = run.source_link(0, probed).connect().await?;
    let mut target = run.target_link(0, probed).connect().await?;
    match taken(&mut source, &mut target, policy).await? {
        Some(libraries) => libraries.load(&mut target).await,
        None => Ok(()),
    }
}

/// What of the source would be loaded; `None`: it has no functions.
async fn taken(
    source: &mut Connection,
    target: &mut Connection,
    policy: IfExists,
) -> Result<Option<Libraries>> {
    let codes = codes_of(source).await?;
    if codes.is_empty() {
        return Ok(None);
    }
    // Where this is refused, what the code says has to be enough.
    let listed = library::listed(&source.call(&[b"FUNCTION", b"LIST"]).await?);
    let mut libraries = Libraries::new(target, policy).await?;
    for code in codes {
        let named = Library::of_code(&code);
        let known = listed.iter().find(|library| library.name == named.name).cloned();
        libraries.take(target, code, known.unwrap_or(named))?;
    }
    Ok(Some(libraries))
}

/// Refuses what [`carry`] would refuse, as a dry run does: it sends no writing command.
///
/// # Errors
/// As [`carry`].
pub(super) async fn refuse_conflicts(run: &Run, probed: &Probed) -> Result<()> {
    if !run.plan.functions {
        return Ok(());
    }
    let mut source = run.source_link(0, probed).connect().await?;
    let mut target = run.target_link(0, probed).connect().await?;
    match taken(&mut source, &mut target, run.plan.if_exists).await? {
        Some(libraries) => {
            libraries.tell_of_kept();
            libraries.refuse_conflicts(&target)
        }
        None => Ok(()),
    }
}

/// Likewise, and a target whose user may not load, unless this is `dry`.
///
/// # Errors
/// As [`carry`].
pub(super) async fn refuse_uncarriable(
    source: &mut Connection,
    target: &mut Connection,
    (policy, dry): (IfExists, bool),
) -> Result<()> {
    let Some(libraries) = taken(source, target, policy).await? else { return Ok(()) };
    libraries.refuse_conflicts(target)?;
    if dry { Ok(()) } else { libraries.refuse_unloadable(target).await }
}

/// Says that libraries are not copied.
pub(super) fn left_behind(place: &str, count: u64) -> String {
    let count = number(count);
    format!(
        "NOT copied: {count} of functions of the {place}; add --with-functions to copy functions, too"
    )
}

/// `1 library`, `2 libraries`.
pub(super) fn number(count: u64) -> String {
    match count {
        1 => "1 library".to_owned(),
        _ => format!("{} libraries", units::count(count)),
    }
}

/// The code of the source's libraries; none of a source that knows no functions.
async fn codes_of(source: &mut Connection) -> Result<Vec<Vec<u8>>> {
    match source.call(&[b"FUNCTION", b"DUMP"]).await? {
        Value::Bulk(dump) => codes(&dump).ok_or_else(|| strange(source)),
        Value::Error(line) => {
            let error = ServerError::parse(line.as_bytes());
            if error.cause != Cause::UnknownCommand {
                return Err(source.refused(b"FUNCTION", &error).as_kind(Kind::Refused));
            }
            tracing::info!("the source has no functions: {error}");
            Ok(Vec::new())
        }
        _ => Err(strange(source)),
    }
}

fn strange(source: &Connection) -> Error {
    source.place(Error::new(Kind::Protocol, "FUNCTION DUMP answered something else"))
}

/// The code of each library in what `FUNCTION DUMP` answers: records of a file, and a footer.
fn codes(dump: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (records, &[low, high, ..]) = dump.split_last_chunk::<FOOTER_BYTES>()?;
    let version = Version::new(u16::from_le_bytes([low, high]));
    // A length in memory is never beyond 64 bits.
    let mut records = Records::of_part(records, version, 0, records.len() as u64, 0);
    let mut codes = Vec::new();
    loop {
        match records.next_record().ok()? {
            Record::Function(code) => codes.push(code),
            Record::End => return Some(codes),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_function_dump_answers_is_taken_apart() {
        let dump = [&b"\xf5\x03one\xf5\x03two"[..], b"\x0a\x00", &[0; 8]].concat();
        assert_eq!(codes(&dump).unwrap(), [b"one", b"two"]);
        assert_eq!(codes(&dump[dump.len() - 10..]).unwrap(), Vec::<Vec<u8>>::new());
        for bad in [&dump[..9], &dump[1..], &dump[..dump.len() - 1]] {
            assert_eq!(codes(bad), None, "{}", bad.escape_ascii());
        }
    }
}
