//! Reads a value of the source page by page, and a page node by node.
//!
//! A page is asked for by a command; its reply is not held whole. A node that is longer than the
//! caller holds is announced and then taken in pieces, so that one element of hundreds of MB costs
//! a read buffer. Nothing here writes.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::command::ServerError;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Pieces};
use crate::resp::{self, Value};
use crate::units;

/// Elements longer than this pass in pieces, in bytes: it is a quarter of a read buffer.
pub const HELD: usize = 64 << 10;
/// The longest name of a field, member of a sorted set or id, in bytes: such a name has to be sent
/// before or after something else, so it is held whole. Nobody was seen to use longer ones.
const LONGEST_NAME: usize = 8 << 20;

/// One node of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// So many nodes follow.
    Array(usize),
    /// A string.
    Bytes(Vec<u8>),
    /// A string of so many bytes, which is still to be taken by [`Pages::piece`].
    Long(usize),
    /// A number.
    Integer(i64),
    /// Nothing.
    Null,
}

/// A connection to the source whose replies are read node by node.
#[derive(Debug)]
pub struct Pages {
    /// The connection; every command but those asked here is its caller's business.
    pub connection: Connection,
    stop: CancellationToken,
    asked: Vec<u8>,
    long: Option<Pieces>,
    /// What a page should come to, in bytes.
    page_bytes: usize,
    /// Nodes that were asked for or announced, and have not come.
    left: usize,
}

impl Pages {
    /// Reads through `connection`; `stop` shortens the waiting for a silent source.
    pub fn new(connection: Connection, page_bytes: usize, stop: CancellationToken) -> Self {
        Self { connection, stop, asked: Vec::new(), long: None, page_bytes, left: 0 }
    }

    /// What a page should come to, in bytes.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The size of a first page: one element, since it may be of hundreds of MB.
    pub fn page_size(&self) -> PageSize {
        PageSize::beginning_with(1, self.page_bytes)
    }

    /// Queues a command, whose reply is then read by the calls below.
    pub fn ask(&mut self, arguments: &[&[u8]]) {
        self.asked = arguments.first().copied().unwrap_or_default().to_vec();
        self.connection.output().command(arguments);
        self.connection.expect_replies();
        self.left += 1;
    }

    /// The next node; a string of more than `hold` bytes is only announced.
    ///
    /// # Errors
    /// The connection broke or is silent; the source refused what it was asked.
    pub async fn node(&mut self, hold: usize) -> Result<Node> {
        loop {
            if let Some(head) = self.connection.next_node()? {
                self.left = self.left.saturating_sub(1);
                let node = match head.kind {
                    resp::Kind::Array => {
                        let length = usize::try_from(head.number).unwrap_or(0);
                        self.left = self.left.saturating_add(length);
                        Node::Array(length)
                    }
                    resp::Kind::Bulk | resp::Kind::Simple => {
                        Node::Bytes(self.connection.body(head).to_vec())
                    }
                    resp::Kind::Integer => Node::Integer(head.number),
                    resp::Kind::Null => Node::Null,
                    resp::Kind::Error => {
                        let error = ServerError::parse(self.connection.body(head));
                        return Err(self.connection.refused(&self.asked, &error));
                    }
                };
                return Ok(node);
            }
            if let Some(length) = self.connection.announced().filter(|&length| length > hold) {
                self.long = Some(self.connection.begin_pieces());
                self.left = self.left.saturating_sub(1);
                return Ok(Node::Long(length));
            }
            if self.connection.decoded() > 0 {
                drop(self.connection.take_slab());
            }
            self.connection.turn_within(&self.stop).await?;
        }
    }

    /// The next piece of what [`Node::Long`] announced; `None` when all of it has come.
    ///
    /// # Errors
    /// The connection broke or is silent.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        let Some(long) = &mut self.long else { return Ok(None) };
        let piece = self.connection.next_piece(long, &self.stop).await?;
        if piece.is_none() {
            self.long = None;
        }
        Ok(piece)
    }

    /// The header of an array; nil counts as an empty one.
    ///
    /// # Errors
    /// As [`Self::node`]; another node came.
    pub async fn array(&mut self) -> Result<usize> {
        match self.node(HELD).await? {
            Node::Array(length) => Ok(length),
            Node::Null => Ok(0),
            _ => Err(self.unexpected("an array")),
        }
    }

    /// A string that is held whole: a name, an id, a number.
    ///
    /// # Errors
    /// As [`Self::node`]; another node came, or the name is longer than is held here.
    pub async fn name(&mut self) -> Result<Vec<u8>> {
        match self.node(LONGEST_NAME).await? {
            Node::Bytes(bytes) => Ok(bytes),
            Node::Integer(number) => Ok(number.to_string().into_bytes()),
            Node::Long(length) => {
                let (length, most) =
                    (units::bytes(length as u64), units::bytes(LONGEST_NAME as u64));
                let text = format!("it holds a name of {length}; {most} is the most that is moved");
                Err(self.connection.place(Error::new(Kind::Server, text)))
            }
            _ => Err(self.unexpected("a string")),
        }
    }

    /// Reads over the next node and all that belongs to it.
    ///
    /// # Errors
    /// As [`Self::node`].
    pub async fn skip(&mut self) -> Result<()> {
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            match self.node(HELD).await? {
                Node::Array(length) => left = left.saturating_add(length),
                Node::Long(_) => while self.piece().await?.is_some() {},
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads over all that was asked for and has not come, so that the connection can be used for
    /// other commands again.
    ///
    /// # Errors
    /// The connection broke or is silent.
    pub async fn skip_rest(&mut self) -> Result<()> {
        while self.piece().await?.is_some() {}
        while self.left > 0 {
            match self.node(HELD).await {
                Ok(Node::Long(_)) => while self.piece().await?.is_some() {},
                Err(error) if error.kind() != Kind::Server => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// What to say of a whole answer that does not belong there.
    pub fn unfit(&self, command: &[u8], expected: &str, answer: &Value) -> Error {
        let command = String::from_utf8_lossy(command);
        let what = match answer {
            Value::Simple(_) | Value::Bulk(_) => "a string",
            Value::Error(_) => "an error",
            Value::Integer(_) => "a number",
            Value::Null => "nil",
            Value::Array(_) => "an array of another length",
        };
        let text = format!("{command} answered {what} and not {expected}");
        self.connection.place(Error::new(Kind::Protocol, text))
    }

    /// The error for a value whose parts contradict each other.
    pub fn inconsistent(&self, what: &str) -> Error {
        self.connection
            .place(Error::new(Kind::Protocol, format!("the value is inconsistent: {what}")))
    }

    /// What to say of a node that does not belong there.
    pub fn unexpected(&self, expected: &str) -> Error {
        let command = String::from_utf8_lossy(&self.asked).into_owned();
        let text = format!("{command} answered something else than {expected}");
        self.connection.place(Error::new(Kind::Protocol, text))
    }
}

/// How many elements a page is asked for: learned from those that came, so that a page of large
/// elements is not more than a source should hold for us.
#[derive(Clone, Copy, Debug)]
pub struct PageSize {
    count: usize,
    bytes: usize,
}

/// What a page should come to, in bytes: a read buffer.
pub const PAGE_BYTES: usize = 256 << 10;
/// The least of it, for a source that closes connections when it is asked for more.
pub const LEAST_PAGE: usize = 8 << 10;
/// The most elements of a page: what is more makes clients of the source wait.
const MOST_ELEMENTS: usize = 1_000;

impl PageSize {
    /// So many elements at first; what a page should come to, in bytes.
    pub fn beginning_with(count: usize, bytes: usize) -> Self {
        Self { count, bytes }
    }

    /// A page was too large: a quarter of it next. False: it was of one element.
    pub fn shrink(&mut self) -> bool {
        let was = self.count;
        self.count = (self.count / 4).max(1);
        was > 1
    }

    /// The elements to ask for.
    pub fn count(self) -> usize {
        self.count
    }

    /// Takes in what a page came to.
    pub fn learn(&mut self, elements: usize, bytes: usize) {
        let fitting = self.bytes.saturating_mul(elements.max(1)) / bytes.max(1);
        self.count = fitting.min(self.count * 2).clamp(1, MOST_ELEMENTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_by_twice_and_shrink_at_once() {
        let mut size = PageSize { count: 1, bytes: PAGE_BYTES };
        let mut counts = Vec::new();
        for _ in 0..11 {
            size.learn(size.count(), 10 * size.count());
            counts.push(size.count());
        }
        assert_eq!(counts, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000]);
        size.learn(1_000, 1_000 * PAGE_BYTES);
        assert_eq!(size.count(), 1);
        // A page may come out empty.
        size.learn(0, 0);
        assert_eq!(size.count(), 2);
    }
}
