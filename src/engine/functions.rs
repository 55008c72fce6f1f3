//! Functions: libraries of code that belong to a server, not to a database (Redis 7.0, Valkey).
//!
//! They go by `FUNCTION LOAD`, library by library, as source code: so no version of a payload stands
//! between two servers, and what happens to a library that exists can be said of each.

use std::collections::BTreeSet;

use super::Run;
use super::probe::Probed;
use crate::command::{Cause, ServerError};
use crate::config::IfExists;
use crate::error::{Error, Kind, Result};
use crate::net::Connection;
use crate::payload::FOOTER_BYTES;
use crate::rdb::{Record, Records, Version};
use crate::resp::Value;
use crate::units::printable;

/// The most of a library's first line that is read for its name.
const LONGEST_LINE: usize = 4096;

/// The target's libraries, and what becomes of those that come.
pub(super) struct Libraries {
    policy: IfExists,
    held: BTreeSet<Vec<u8>>,
    /// Whether the target knows functions; else this is what it said.
    refused: Option<String>,
    loaded: u64,
    kept: u64,
}

impl Libraries {
    /// Asks the target what it holds.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn new(target: &mut Connection, policy: IfExists) -> Result<Self> {
        let (held, refused) = match target.call(&[b"FUNCTION", b"LIST"]).await? {
            Value::Error(line) => (BTreeSet::new(), Some(printable(line.as_bytes()))),
            libraries @ Value::Array(_) => (names(&libraries), None),
            _ => {
                let text = "a reply does not fit its request (FUNCTION LIST)";
                return Err(target.place(Error::new(Kind::Protocol, text)));
            }
        };
        Ok(Self { policy, held, refused, loaded: 0, kept: 0 })
    }

    /// Whether a library may be loaded.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`]: the target knows no functions, or it holds a library of this
    /// name and nobody said what shall become of it.
    pub(super) fn look_at(&self, target: &Connection, code: &[u8]) -> Result<()> {
        if let Some(line) = &self.refused {
            let text = format!("it takes no functions: {line}");
            return Err(target.place(Error::refused(text)).advise("leave out --with-functions"));
        }
        let exists = library_name(code).is_some_and(|name| self.held.contains(name));
        if exists && matches!(self.policy, IfExists::Refuse | IfExists::Fail) {
            let name = printable(library_name(code).unwrap_or_default());
            let text = format!("it holds a library of functions named {name}");
            return Err(target
                .place(Error::refused(text))
                .advise("say what happens to it: --if-exists replace or skip"));
        }
        Ok(())
    }

    /// Loads a library, or leaves the target's own.
    ///
    /// # Errors
    /// The connection broke, or the target does not take the code.
    pub(super) async fn load(&mut self, target: &mut Connection, code: &[u8]) -> Result<()> {
        let exists = library_name(code).is_some_and(|name| self.held.contains(name));
        match (exists, self.policy) {
            (true, IfExists::Skip | IfExists::Merge) => {
                self.kept += 1;
                return Ok(());
            }
            (true, _) => target.demand(&[b"FUNCTION", b"LOAD", b"REPLACE", code]).await?,
            (false, _) => target.demand(&[b"FUNCTION", b"LOAD", code]).await?,
        };
        self.loaded += 1;
        Ok(())
    }

    /// Says what was done.
    pub(super) fn tell(&self) {
        tracing::info!(
            "{} libraries of functions were copied, {} stayed as they are on the target",
            self.loaded,
            self.kept
        );
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
        tracing::warn!(
            "the source holds {count} libraries of functions; they are copied by --with-functions"
        );
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
    let codes = codes_of(&mut source).await?;
    if codes.is_empty() {
        return Ok(());
    }
    let mut target = run.target_link(0, probed).connect().await?;
    let mut libraries = Libraries::new(&mut target, policy).await?;
    for code in &codes {
        libraries.look_at(&target, code)?;
    }
    for code in &codes {
        libraries.load(&mut target, code).await?;
    }
    libraries.tell();
    Ok(())
}

/// Refuses what [`carry`] would refuse, and a target whose user may not load.
///
/// # Errors
/// As [`carry`].
pub(super) async fn refuse_uncarriable(
    source: &mut Connection,
    target: &mut Connection,
    policy: IfExists,
) -> Result<()> {
    let codes = codes_of(source).await?;
    if codes.is_empty() {
        return Ok(());
    }
    let libraries = Libraries::new(target, policy).await?;
    codes.iter().try_for_each(|code| libraries.look_at(target, code))?;
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

/// The names in what `FUNCTION LIST` answers: for each library a list of names and values.
fn names(libraries: &Value) -> BTreeSet<Vec<u8>> {
    let name = |library: &Value| {
        let pairs = library.elements()?;
        let at = pairs.iter().position(|word| word.bytes() == Some(b"library_name"))?;
        pairs.get(at + 1)?.bytes().map(<[u8]>::to_vec)
    };
    libraries.elements().unwrap_or_default().iter().filter_map(name).collect()
}

/// The name in a library's first line: `#!lua name=mylib`.
fn library_name(code: &[u8]) -> Option<&[u8]> {
    let first = code.get(..LONGEST_LINE).unwrap_or(code);
    let line = first.split(|&byte| byte == b'\n' || byte == b'\r').next()?;
    let words = line.split(|byte| byte.is_ascii_whitespace());
    words.filter_map(|word| word.strip_prefix(b"name=")).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_named_in_its_first_line() {
        assert_eq!(library_name(b"#!lua name=mylib\nlocal name=x"), Some(&b"mylib"[..]));
        assert_eq!(library_name(b"#!js  api_version=1.0 name=a_b\r\n"), Some(&b"a_b"[..]));
        assert_eq!(library_name(b"#!lua\nname=x"), None);
        assert_eq!(library_name(b""), None);
    }

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
