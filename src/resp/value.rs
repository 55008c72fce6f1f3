//! A reply as an owned value: for the few commands that are not on the hot path.

use super::{Kind, Reply, Token};

/// A reply taken out of the read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A simple string, as text.
    Simple(String),
    /// An error line, as text.
    Error(String),
    /// An integer.
    Integer(i64),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// No value.
    Null,
    /// An array.
    Array(Vec<Self>),
}

impl Value {
    /// Copies a reply out of its buffer.
    pub fn of(reply: &Reply<'_>) -> Self {
        let mut tokens = reply.tokens().iter().copied();
        tokens.next().map_or(Self::Null, |head| Self::build(reply, head, &mut tokens))
    }

    /// The depth of the recursion is the decoder's depth limit.
    fn build(reply: &Reply<'_>, token: Token, rest: &mut impl Iterator<Item = Token>) -> Self {
        let text = || String::from_utf8_lossy(reply.body(token)).into_owned();
        match token.kind {
            Kind::Simple => Self::Simple(text()),
            Kind::Error => Self::Error(text()),
            Kind::Integer => Self::Integer(token.number),
            Kind::Bulk => Self::Bulk(reply.body(token).to_vec()),
            Kind::Null => Self::Null,
            Kind::Array => {
                let mut elements = Vec::new();
                for _ in 0..token.number {
                    let Some(element) = rest.next() else { break };
                    elements.push(Self::build(reply, element, rest));
                }
                Self::Array(elements)
            }
        }
    }

    /// The bytes of a bulk or simple string.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            Self::Simple(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// A bulk or simple string as text.
    pub fn text(&self) -> Option<&str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// An integer, also one sent as a string (as TIME does).
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            other => other.text()?.parse().ok(),
        }
    }

    /// The elements of an array.
    pub fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }
}
