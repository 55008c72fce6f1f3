//! The commands of the hot path as templates: constants around the wire slices of key and payload.
//!
//! `RESTORE` of a key is `prefix + key + expiry + payload + suffix`; only the expiry is formatted.

use super::{Cause, ServerError};
use crate::resp::{Output, Value};

/// Asks a source for the expiry of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryCommand {
    /// `PEXPIRETIME`: absolute, in Unix milliseconds. Redis 7.0, all Valkeys.
    Absolute,
    /// `PTTL`: what remains, in milliseconds; needs the server's `TIME` beside it.
    Remaining,
}

impl ExpiryCommand {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absolute => "PEXPIRETIME",
            Self::Remaining => "PTTL",
        }
    }

    /// The one to use for a server that answered this to `PEXPIRETIME` of a key that nobody has. -2 is the
    /// documented answer, and a key that the user may not touch is refused only where the command is known;
    /// whoever says anything else does not know it, or not as it is meant.
    pub fn known_by(told: Option<&Value>) -> Self {
        match told {
            Some(Value::Integer(-2)) => Self::Absolute,
            Some(Value::Error(line))
                if ServerError::parse(line.as_bytes()).cause == Cause::KeyDenied =>
            {
                Self::Absolute
            }
            _ => Self::Remaining,
        }
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Absolute => b"*2\r\n$11\r\nPEXPIRETIME\r\n",
            Self::Remaining => b"*2\r\n$4\r\nPTTL\r\n",
        }
    }
}

/// Writes `PEXPIRETIME key` or `PTTL key`; `key` is a bulk string in wire form.
pub fn expiry(output: &mut Output, command: ExpiryCommand, key: &[u8]) {
    output.copy(command.prefix());
    output.copy(key);
}

/// Writes `DUMP key`; `key` is a bulk string in wire form.
pub fn dump(output: &mut Output, key: &[u8]) {
    output.copy(b"*2\r\n$4\r\nDUMP\r\n");
    output.copy(key);
}

/// Writes `MGET key …`; each key is a bulk string in wire form.
pub fn mget<'a>(output: &mut Output, keys: impl ExactSizeIterator<Item = &'a [u8]>) {
    output.begin(1 + keys.len());
    output.copy(b"$4\r\nMGET\r\n");
    for key in keys {
        output.copy(key);
    }
}

/// Begins `MSET key value …`, or `MSETNX`, for `pairs` pairs, which the caller lays behind it in wire form.
pub fn begin_mset(output: &mut Output, only_new: bool, pairs: usize) {
    output.begin(1 + 2 * pairs);
    output.copy(if only_new { b"$6\r\nMSETNX\r\n" } else { b"$4\r\nMSET\r\n" });
}

/// Begins `SET`; the caller lays key and value behind it in wire form, then [`end_set`].
pub fn begin_set(output: &mut Output, only_new: bool, expiry: i64) {
    output.copy(match (only_new, expiry > 0) {
        (false, false) => b"*3\r\n$3\r\nSET\r\n",
        (true, false) => b"*4\r\n$3\r\nSET\r\n",
        (false, true) => b"*5\r\n$3\r\nSET\r\n",
        (true, true) => b"*6\r\n$3\r\nSET\r\n",
    });
}

/// Ends `SET`: `NX`, and `PXAT` (Redis 6.2) with the expiry in Unix milliseconds, if it has one.
pub fn end_set(output: &mut Output, only_new: bool, expiry: i64) {
    if only_new {
        output.copy(b"$2\r\nNX\r\n");
    }
    if expiry > 0 {
        output.copy(b"$4\r\nPXAT\r\n");
        output.number(expiry);
    }
}

/// A RESTORE that every server refuses before it looks at the key, whatever the key is: for its option, or, where
/// that comes first, because the user may not, or the server does not take it now.
pub fn refused_restore(key: &[u8]) -> [&[u8]; 5] {
    [b"RESTORE", key, b"0", b"", b"no-such-option"]
}

/// Writes `TYPE key`; `key` is a bulk string in wire form.
pub fn key_type(output: &mut Output, key: &[u8]) {
    output.copy(b"*2\r\n$4\r\nTYPE\r\n");
    output.copy(key);
}

/// Writes `EXISTS key`; `key` is a bulk string in wire form.
pub fn exists(output: &mut Output, key: &[u8]) {
    output.copy(b"*2\r\n$6\r\nEXISTS\r\n");
    output.copy(key);
}

/// Writes `EXISTS key …`; each key is a bulk string in wire form. The answer is how many there are.
pub fn count_existing<'a>(output: &mut Output, keys: impl ExactSizeIterator<Item = &'a [u8]>) {
    output.begin(1 + keys.len());
    output.copy(b"$6\r\nEXISTS\r\n");
    for key in keys {
        output.copy(key);
    }
}

/// What a command is answered by in a transaction that is not executed yet.
pub const QUEUED: &[u8] = b"+QUEUED\r\n";

/// Writes `MULTI`.
pub fn multi(output: &mut Output) {
    output.copy(b"*1\r\n$5\r\nMULTI\r\n");
}

/// Writes `EXEC`.
pub fn exec(output: &mut Output) {
    output.copy(b"*1\r\n$4\r\nEXEC\r\n");
}

/// Writes `INFO persistence`.
pub fn info_persistence(output: &mut Output) {
    output.copy(b"*2\r\n$4\r\nINFO\r\n$11\r\npersistence\r\n");
}

/// Writes `TIME`.
pub fn time(output: &mut Output) {
    output.copy(b"*1\r\n$4\r\nTIME\r\n");
}

/// Writes `SCAN cursor COUNT count`.
pub fn scan(output: &mut Output, cursor: &[u8], count: u32) {
    output.command(&[b"SCAN", cursor, b"COUNT", itoa::Buffer::new().format(count).as_bytes()]);
}

/// How a RESTORE is told when the key expires, and whether it may overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreForm {
    /// REPLACE: an existing key is overwritten in the same step.
    pub replace: bool,
    /// ABSTTL (Redis 5.0): the expiry is a Unix time in milliseconds, else what remains.
    pub absolute: bool,
}

impl RestoreForm {
    /// What comes before the key.
    pub fn prefix(self) -> &'static [u8] {
        match (self.replace, self.absolute) {
            (false, false) => b"*4\r\n$7\r\nRESTORE\r\n",
            (true, true) => b"*6\r\n$7\r\nRESTORE\r\n",
            _ => b"*5\r\n$7\r\nRESTORE\r\n",
        }
    }

    /// What comes behind the payload.
    pub fn suffix(self) -> &'static [u8] {
        match (self.replace, self.absolute) {
            (false, false) => b"",
            (true, false) => b"$7\r\nREPLACE\r\n",
            (false, true) => b"$6\r\nABSTTL\r\n",
            (true, true) => b"$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, Bytes};

    use super::*;

    fn written(write: impl FnOnce(&mut Output)) -> String {
        let mut output = Output::default();
        write(&mut output);
        let all = output.copy_to_bytes(output.remaining());
        all.escape_ascii().to_string()
    }

    #[test]
    fn templates_say_what_command_would() {
        let key = b"$1\r\nk\r\n";
        let by_command = |arguments: &[&[u8]]| written(|output| output.command(arguments));
        assert_eq!(written(|o| dump(o, key)), by_command(&[b"DUMP", b"k"]));
        assert_eq!(written(|o| key_type(o, key)), by_command(&[b"TYPE", b"k"]));
        assert_eq!(written(|o| exists(o, key)), by_command(&[b"EXISTS", b"k"]));
        assert_eq!(written(time), by_command(&[b"TIME"]));
        assert_eq!(written(multi), by_command(&[b"MULTI"]));
        assert_eq!(written(exec), by_command(&[b"EXEC"]));
        assert_eq!(written(info_persistence), by_command(&[b"INFO", b"persistence"]));
        for command in [ExpiryCommand::Absolute, ExpiryCommand::Remaining] {
            let expected = by_command(&[command.name().as_bytes(), b"k"]);
            assert_eq!(written(|o| expiry(o, command, key)), expected);
        }
    }

    #[test]
    fn strings_go_by_value() {
        let keys = [b"$1\r\nk\r\n".as_slice(), b"$1\r\nl\r\n"];
        let by_command = |arguments: &[&[u8]]| written(|output| output.command(arguments));
        assert_eq!(written(|o| mget(o, keys.into_iter())), by_command(&[b"MGET", b"k", b"l"]));
        for (only_new, name) in [(false, b"MSET".as_slice()), (true, b"MSETNX")] {
            let mset = written(|output| {
                begin_mset(output, only_new, 1);
                keys.into_iter().for_each(|wire| output.copy(wire));
            });
            assert_eq!(mset, by_command(&[name, b"k", b"l"]));
        }
        for (only_new, expiry) in [(false, 0), (true, 0), (false, 7), (true, 7)] {
            let set = written(|output| {
                begin_set(output, only_new, expiry);
                keys.into_iter().for_each(|wire| output.copy(wire));
                end_set(output, only_new, expiry);
            });
            let mut arguments: Vec<&[u8]> = vec![b"SET", b"k", b"l"];
            arguments.extend(only_new.then_some(b"NX".as_slice()));
            if expiry > 0 {
                arguments.extend([b"PXAT".as_slice(), b"7"]);
            }
            assert_eq!(set, by_command(&arguments));
        }
    }

    #[test]
    fn each_form_of_restore_counts_its_arguments() {
        let payload = Bytes::from_static(b"$1\r\np\r\n");
        for (replace, absolute) in [(false, false), (false, true), (true, false), (true, true)] {
            let form = RestoreForm { replace, absolute };
            let laid = written(|output| {
                output.copy(form.prefix());
                output.copy(b"$1\r\nk\r\n");
                output.number(9);
                output.lay(&payload, 0..payload.len());
                output.copy(form.suffix());
            });
            let mut arguments: Vec<&[u8]> = vec![b"RESTORE", b"k", b"9", b"p"];
            arguments.extend(replace.then_some(b"REPLACE".as_slice()));
            arguments.extend(absolute.then_some(b"ABSTTL".as_slice()));
            assert_eq!(laid, written(|output| output.command(&arguments)));
        }
    }
}
