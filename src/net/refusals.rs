//! What a server's error replies mean for the run.

use super::connection::Connection;
use crate::command::{Cause, ServerError};
use crate::error::{Error, Kind, Side};
use crate::resp::Value;

impl Connection {
    /// A server that closes a connection may have said why before.
    pub(super) fn last_words(&self, error: Error, replies: &[Value]) -> Error {
        let Some(Value::Error(line)) = replies.last() else { return error };
        let line = ServerError::parse(line.as_bytes());
        if line.cause.passes() {
            return self.refused(b"a connection", &line);
        }
        error.saying(format!("the server closed the connection and said: {line}"))
    }

    /// The error of the run that an error reply to `command` means, with advice.
    pub fn refused(&self, command: &[u8], error: &ServerError) -> Error {
        let command = String::from_utf8_lossy(command);
        let text = format!("{command} was refused: {error}");
        let mut error_here = self.place(Error::new(Kind::Server, text));
        match error.cause {
            Cause::Transient => error_here = error_here.not_yet(),
            Cause::TooManyClients => error_here = error_here.no_room(),
            Cause::ReadOnly => error_here = error_here.passing(),
            _ => {}
        }
        match error.cause.advice(&command, self.server().side) {
            Some(advice) => error_here.advise(advice),
            None => error_here,
        }
    }

    /// What an error reply to `SELECT database` means.
    pub fn no_database(&self, database: u32, line: &str) -> Error {
        let error = ServerError::parse(line.as_bytes());
        let refused = |text: String| self.place(Error::refused(text));
        match error.cause {
            cause if cause.passes() => self.refused(b"SELECT", &error),
            Cause::CommandDenied if line.contains("access database") => {
                refused(format!("database {database} is not permitted: {error}"))
                    .advise(format!("grant it there: ACL SETUSER <user> db={database}"))
            }
            Cause::Other if line.contains("cluster mode") => {
                refused(format!("it is a cluster node and has no database {database}: {error}"))
                    .advise("map with --db N:0")
            }
            Cause::UnknownCommand => {
                refused(format!("it has no database {database}, since it knows no SELECT: {error}"))
                    .advise("map with --db N:0")
            }
            Cause::Other => refused(format!("it has no database {database}: {error}")).advise(
                match self.server().side {
                    Side::Source => "name a database that it has",
                    Side::Target => "raise 'databases' in its configuration, or map with --db N:M",
                },
            ),
            _ => self.refused(b"SELECT", &error).as_kind(Kind::Refused),
        }
    }
}
