//! A server's error line, sorted by what has to be done about it.
//!
//! Only the code word in front is trusted (it is part of the protocol); texts differ between
//! versions and are read only where no word tells.

use std::fmt;

use crate::error::Side;

/// What an error line means for the work at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The key exists already and REPLACE was not asked for.
    KeyExists,
    /// It passes by itself: LOADING, BUSY, TRYAGAIN, MASTERDOWN, CLUSTERDOWN, NOREPLICAS.
    Transient,
    /// `maxclients` is reached: the server says so to a new connection, and closes it.
    TooManyClients,
    /// NOAUTH, WRONGPASS and their older texts.
    NotAuthenticated,
    /// The ACL forbids the command itself.
    CommandDenied,
    /// The ACL forbids this key only.
    KeyDenied,
    /// OOM: maxmemory is reached.
    OutOfMemory,
    /// The server is a read-only replica.
    ReadOnly,
    /// MISCONF: persistence fails and the server refuses writes.
    Misconfigured,
    /// MOVED, ASK, CROSSSLOT: a cluster speaks.
    Cluster,
    /// The server does not know the command (too old, or renamed).
    UnknownCommand,
    /// The payload's RDB version is newer than the server, or its checksum is wrong.
    PayloadVersion,
    /// The payload's type is not known to the server, or its body is broken.
    PayloadFormat,
    /// Anything else: it concerns this one command.
    Other,
}

impl Cause {
    /// Whether it would meet every key, so that going on is pointless.
    pub fn hits_every_key(self) -> bool {
        matches!(
            self,
            Self::NotAuthenticated
                | Self::CommandDenied
                | Self::OutOfMemory
                | Self::ReadOnly
                | Self::Misconfigured
                | Self::Cluster
                | Self::UnknownCommand
        )
    }

    /// Whether it passes by itself, so that nothing else can be concluded from it.
    pub fn passes(self) -> bool {
        matches!(self, Self::Transient | Self::TooManyClients)
    }

    /// What the operator can do, where there is something to say. `command` is what was refused, by the server
    /// of `side`.
    pub fn advice(self, command: &str, side: Side) -> Option<String> {
        let lower = command.to_ascii_lowercase();
        let text = match self {
            Self::NotAuthenticated => {
                return Some(format!(
                    "give the user and password in the URL, by --{side}-password-file or by environment"
                ));
            }
            Self::CommandDenied => {
                return Some(format!("grant it there: ACL SETUSER <user> +{lower}"));
            }
            Self::KeyDenied => "grant the key pattern there: ACL SETUSER <user> ~<pattern>",
            Self::TooManyClients => {
                "close connections of others there, raise maxclients, or ask for fewer by --connections"
            }
            Self::OutOfMemory if side == Side::Source => {
                "raise maxmemory of the source or free memory there: at its limit it takes no transactions, \
                 not even of reading commands"
            }
            Self::OutOfMemory => {
                "raise maxmemory of the target or free memory there, then run the same command \
                 again with --if-exists replace"
            }
            Self::ReadOnly => "the server is a read-only replica; name its primary instead",
            Self::Misconfigured => {
                "the server cannot save its data and refuses writes; see its log, mend its disk"
            }
            Self::Cluster => "the server is a cluster node; clusters are not supported yet",
            Self::UnknownCommand => {
                return Some(format!(
                    "the server does not know {command}: it was renamed, disabled, or the server \
                     is too old"
                ));
            }
            Self::PayloadVersion => {
                "the value was damaged on its way, or has a version that it does not accept"
            }
            Self::PayloadFormat => "the value is inconsistent, or of a type that it does not know",
            Self::KeyExists | Self::Transient | Self::Other => return None,
        };
        Some(text.to_owned())
    }
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// What it means.
    pub cause: Cause,
    /// The line as the server sent it, escaped and cut.
    pub line: String,
}

/// Longer error lines are cut: some servers repeat arguments in them.
const SHOWN_BYTES: usize = 200;

impl ServerError {
    /// Reads an error line (without its leading `-`).
    pub fn parse(line: &[u8]) -> Self {
        let shown = line.get(..SHOWN_BYTES).unwrap_or(line);
        Self { cause: cause(line), line: readable(shown) }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

/// Error lines are text; control bytes in them are escaped, quotes stay as they are.
fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What EXEC puts before the reason that it was refused for.
const DISCARDED: &[u8] = b"EXECABORT Transaction discarded because of: ";

fn cause(line: &[u8]) -> Cause {
    let line = line.strip_prefix(DISCARDED).unwrap_or(line);
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    let says = |text: &str| line.windows(text.len()).any(|part| part == text.as_bytes());
    match word {
        b"BUSYKEY" => Cause::KeyExists,
        b"LOADING" | b"BUSY" | b"TRYAGAIN" | b"MASTERDOWN" | b"CLUSTERDOWN" | b"NOREPLICAS" => {
            Cause::Transient
        }
        b"NOAUTH" | b"WRONGPASS" => Cause::NotAuthenticated,
        b"NOPERM" if says("key") && !says("command") => Cause::KeyDenied,
        b"NOPERM" if says("to access one of the keys") => Cause::KeyDenied,
        b"NOPERM" => Cause::CommandDenied,
        b"OOM" => Cause::OutOfMemory,
        b"READONLY" => Cause::ReadOnly,
        b"MISCONF" => Cause::Misconfigured,
        b"MOVED" | b"ASK" | b"CROSSSLOT" => Cause::Cluster,
        b"ERR" if says("max number of clients reached") => Cause::TooManyClients,
        b"ERR" if says("unknown command") => Cause::UnknownCommand,
        b"ERR" if says("invalid password") || says("without any password configured") => {
            Cause::NotAuthenticated
        }
        b"ERR" if says("operation not permitted") => Cause::NotAuthenticated,
        b"ERR" if says("payload version or checksum") => Cause::PayloadVersion,
        b"ERR" if says("Bad data format") || says("Unsupported foreign data type") => {
            Cause::PayloadFormat
        }
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_versions_are_sorted() {
        let cases = [
            ("BUSYKEY Target key name already exists.", Cause::KeyExists),
            ("NOAUTH Authentication required.", Cause::NotAuthenticated),
            ("ERR invalid password", Cause::NotAuthenticated),
            ("NOPERM this user has no permissions to run the 'dump' command", Cause::CommandDenied),
            ("NOPERM User a has no permissions to run the 'dump' command", Cause::CommandDenied),
            ("NOPERM No permissions to access a key", Cause::KeyDenied),
            (
                "EXECABORT Transaction discarded because of: NOPERM this user has no permissions \
                 to run the 'exec' command",
                Cause::CommandDenied,
            ),
            (
                "NOPERM this user has no permissions to access one of the keys used as arguments",
                Cause::KeyDenied,
            ),
            ("OOM command not allowed when used memory > 'maxmemory'.", Cause::OutOfMemory),
            ("READONLY You can't write against a read only replica.", Cause::ReadOnly),
            ("ERR unknown command `PEXPIRETIME`, with args", Cause::UnknownCommand),
            ("ERR DUMP payload version or checksum are wrong", Cause::PayloadVersion),
            ("ERR Bad data format", Cause::PayloadFormat),
            ("LOADING Redis is loading the dataset in memory", Cause::Transient),
            ("BUSY Redis is busy running a script.", Cause::Transient),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Cause::Transient),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Cause::Transient,
            ),
            ("CLUSTERDOWN The cluster is down", Cause::Transient),
            ("NOREPLICAS Not enough good replicas to write.", Cause::Transient),
            ("MISCONF Redis is configured to save RDB snapshots", Cause::Misconfigured),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                Cause::NotAuthenticated,
            ),
            ("ERR max number of clients reached", Cause::TooManyClients),
            ("MOVED 13907 127.0.0.1:7001", Cause::Cluster),
            ("ERR syntax error", Cause::Other),
        ];
        for (line, cause) in cases {
            assert_eq!(ServerError::parse(line.as_bytes()).cause, cause, "{line}");
        }
    }

    #[test]
    fn a_line_is_cut_and_printable() {
        let error = ServerError::parse(&[b"ERR \x1b[31m".as_slice(), &[b'x'; 900]].concat());
        assert_eq!(error.line.len(), SHOWN_BYTES);
        assert!(!error.line.contains('\x1b'));
    }
}
