//! What can go wrong, sorted by *who* is wrong, because that decides the exit code and the advice.
//!
//! An error is made where the cause is known, gains its side and endpoint on the way up, and is
//! printed once, by `cli`. It never holds a password or a value; keys come escaped and cut.

use std::fmt;

/// The result of everything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which of the two servers an error or an option speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server that is read.
    Source,
    /// The server that is written.
    Target,
}

impl Side {
    /// The word that options and messages use: `source` or `target`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// Who is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the operator asked for cannot be.
    Config,
    /// No connection: unreachable, not authenticated, or not trusted.
    Connect,
    /// A connection that stood broke, or stayed silent for too long.
    Transport,
    /// The peer's bytes are no RESP.
    Protocol,
    /// The server answered with an error that ends the run.
    Server,
    /// keyferry will not do this, and has written nothing.
    Refused,
    /// A local file of ours is damaged.
    State,
    /// A local file cannot be written or read.
    Local,
    /// The operator asked to stop.
    Cancelled,
}

impl Kind {
    /// The process's exit code for this kind (the contract's table).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Transport | Self::Protocol | Self::Server | Self::Local => 1,
            Self::Config => 2,
            Self::Connect => 3,
            Self::Refused => 4,
            Self::State => 5,
            Self::Cancelled => 130,
        }
    }
}

/// An error with its cause, its place and what to do about it.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    side: Option<Side>,
    endpoint: Option<String>,
    message: String,
    advice: Option<String>,
    passes: bool,
    not_yet: bool,
    no_room: bool,
}

impl Error {
    /// An error of this kind; `message` says what is wrong, without its place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            side: None,
            endpoint: None,
            message: message.into(),
            advice: None,
            passes: kind == Kind::Transport,
            not_yet: false,
            no_room: false,
        }))
    }

    /// The operator's input cannot be (exit 2).
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Refused for safety, nothing written (exit 4).
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// Says what the operator can do about it; the first advice given stays.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        if self.0.advice.is_none() {
            self.0.advice = Some(advice.into());
        }
        self
    }

    /// Says what the operator can do, where what was said of it is more than is possible.
    #[must_use]
    pub fn advise_instead(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Says where it happened, unless that is known already. `endpoint` is a redacted URL.
    #[must_use]
    pub fn at(mut self, side: Side, endpoint: &str) -> Self {
        if self.0.side.is_none() {
            self.0.side = Some(side);
            self.0.endpoint = Some(endpoint.to_owned());
        }
        self
    }

    /// The same error with another message.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    /// The same error as another kind: what breaks before a connection stands is [`Kind::Connect`].
    #[must_use]
    pub fn as_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Says that trying again later may help.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.0.passes = true;
        self
    }

    /// Says that the server answered that it is not ready yet: busy, loading, without its primary. That
    /// passes.
    #[must_use]
    pub fn not_yet(mut self) -> Self {
        self.0.not_yet = true;
        self.passing()
    }

    /// Says that the server takes no more connections. That passes.
    #[must_use]
    pub fn no_room(mut self) -> Self {
        self.0.no_room = true;
        self.not_yet()
    }

    /// Whether the server takes no more connections.
    pub fn is_no_room(&self) -> bool {
        self.0.no_room
    }

    /// Whether the server answered that it is not ready yet.
    pub fn is_not_yet(&self) -> bool {
        self.0.not_yet
    }

    /// Says that it was tried again for as long as anybody has patience.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.0.passes = false;
        self
    }

    /// Whether trying again later may help: a server that is away, or busy.
    pub fn passes(&self) -> bool {
        self.0.passes
    }

    /// Who is wrong.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Which server it speaks of, if that is known.
    pub fn side(&self) -> Option<Side> {
        self.0.side
    }

    /// What to do about it, if there is something.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// The message without place and advice, for a report's `failures`.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(side) = self.0.side {
            write!(out, "{side}")?;
            if let Some(endpoint) = &self.0.endpoint {
                write!(out, " {endpoint}")?;
            }
            out.write_str(": ")?;
        }
        out.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_and_the_first_advice_stay() {
        let error = Error::new(Kind::Transport, "the peer closed the connection")
            .at(Side::Source, "redis://a:1")
            .at(Side::Target, "redis://b:2")
            .advise("first")
            .advise("second");
        assert_eq!(error.to_string(), "source redis://a:1: the peer closed the connection");
        assert_eq!(error.advice(), Some("first"));
        assert_eq!(error.kind().exit_code(), 1);
    }
}
