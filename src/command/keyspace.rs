//! The commands of the hot path as templates: constants around the wire slices of key and payload.
//!
//! `RESTORE` of a key is `prefix + key + expiry + payload + suffix`; only the expiry is formatted.

use crate::resp::Output;

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
        for command in [ExpiryCommand::Absolute, ExpiryCommand::Remaining] {
            let expected = by_command(&[command.name().as_bytes(), b"k"]);
            assert_eq!(written(|o| expiry(o, command, key)), expected);
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
