//! A resumable decoder over the read buffer: every byte is looked at once.
//!
//! The caller owns the buffer and appends to it; [`Decoder::next`] goes on where it stopped. A
//! finished reply stays in the buffer until the caller takes [`Decoder::consumed`] bytes off its
//! front, so several replies can be taken at once, as one slab that their spans point into.

use super::header::{self, Line};
use super::{Kind, Limits, ProtocolError, Span, Token};

/// The state between two looks at the buffer.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Nodes of the reply at hand, in wire order.
    tokens: Vec<Token>,
    /// How many elements each open array still lacks, outermost first.
    open: Vec<usize>,
    /// Where the next node starts.
    at: usize,
    /// Where the reply at hand starts: everything before it is decoded.
    start: usize,
    /// How far the line of the node at `at` was searched for its end (0: not at all).
    scanned: usize,
    /// The bulk string at `at` whose header is read: offset and length of its body.
    bulk: Option<(usize, usize)>,
    /// The last call ended a reply: the next one begins a new.
    ended: bool,
}

const NOTHING: Token = Token { kind: Kind::Null, wire: Span::NONE, body: Span::NONE, number: 0 };

/// One decoded reply and the buffer it lies in.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    tokens: &'a [Token],
    buffer: &'a [u8],
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Decoder {
    /// A decoder that refuses what goes past `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tokens: Vec::new(),
            open: Vec::new(),
            at: 0,
            start: 0,
            scanned: 0,
            bulk: None,
            ended: false,
        }
    }

    /// The next whole reply, or `None` until more bytes have come.
    ///
    /// # Errors
    /// The bytes are no RESP2 or go past a limit; the decoder is of no more use then.
    pub fn next<'a>(&'a mut self, buffer: &'a [u8]) -> Result<Option<Reply<'a>>, ProtocolError> {
        if self.ended {
            self.tokens.clear();
            self.ended = false;
        }
        while let Some(token) = self.node(buffer)? {
            self.keep(token)?;
            if self.open.is_empty() {
                self.reply_fits(self.at)?;
                self.start = self.at;
                self.ended = true;
                return Ok(Some(Reply { tokens: &self.tokens, buffer }));
            }
        }
        self.reply_fits(buffer.len())?;
        Ok(None)
    }

    /// The next node: a reply, but of an array its header alone. What it announces comes as nodes,
    /// too, so that a long array need not be held whole. Not in the middle of a reply that
    /// [`Self::next`] began.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_node(&mut self, buffer: &[u8]) -> Result<Option<Token>, ProtocolError> {
        let token = self.node(buffer)?;
        match token {
            Some(_) => self.start = self.at,
            None => self.reply_fits(buffer.len())?,
        }
        Ok(token)
    }

    /// The next node, if it is a bulk string that has come whole; anything else is left to
    /// [`Self::next_node`].
    pub fn next_bulk(&mut self, buffer: &[u8]) -> Option<Token> {
        match self.node(buffer) {
            Ok(Some(token)) if token.kind == Kind::Bulk => {
                self.start = self.at;
                Some(token)
            }
            _ => {
                self.at = self.start;
                None
            }
        }
    }

    /// Passes over replies that are exactly `line`, one after the other, at most so many; answers how
    /// many there were. Not in the middle of a reply that [`Self::next`] began.
    pub fn skip_repeats(&mut self, buffer: &[u8], line: &[u8], most: usize) -> usize {
        let mut passed = 0;
        while passed < most && buffer.get(self.at..).is_some_and(|rest| rest.starts_with(line)) {
            self.at += line.len();
            passed += 1;
        }
        if passed > 0 {
            self.start = self.at;
            self.scanned = 0;
        }
        passed
    }

    /// The length of the bulk string at hand, if it is the outermost node and its header is read.
    pub fn announced(&self) -> Option<usize> {
        self.bulk.filter(|_| self.open.is_empty()).map(|(_, length)| length)
    }

    /// Counts the header of the [`announced`](Self::announced) bulk string as consumed, and leaves
    /// its body and line end to the caller, who takes them off the buffer before the next reply.
    pub fn skip_header(&mut self) {
        if let Some((body, _)) = self.bulk.take() {
            self.at = body;
            self.start = body;
            self.scanned = 0;
            self.tokens.clear();
        }
    }

    /// Whether the reply at hand, which reaches `end` at least, is within its limit.
    fn reply_fits(&self, end: usize) -> Result<(), ProtocolError> {
        if end.saturating_sub(self.start) > self.limits.reply {
            return Err(ProtocolError(format!("a reply of at most {} bytes", self.limits.reply)));
        }
        Ok(())
    }

    /// How many bytes at the front of the buffer belong to replies that were handed out.
    pub fn consumed(&self) -> usize {
        self.start
    }

    /// The caller took the [`consumed`](Self::consumed) bytes off the front of the buffer.
    pub fn taken(&mut self) {
        let taken = std::mem::take(&mut self.start);
        self.at -= taken;
        self.scanned = self.scanned.saturating_sub(taken);
        self.bulk = self.bulk.map(|(body, length)| (body - taken, length));
        for token in &mut self.tokens {
            token.wire = shifted(token.wire, taken);
            token.body = shifted(token.body, taken);
        }
    }

    /// How long the buffer must be at least before the next node can be whole, as far as a bulk
    /// header tells. A peer's claim: reserve it in steps, as bytes really come.
    pub fn wanted(&self) -> Option<usize> {
        self.bulk.map(|(body, length)| body + length + 2)
    }

    /// Reads one node, if it is whole.
    #[inline]
    fn node(&mut self, buffer: &[u8]) -> Result<Option<Token>, ProtocolError> {
        if self.bulk.is_some() {
            return self.bulk_body(buffer);
        }
        let Some(&mark) = buffer.get(self.at) else { return Ok(None) };
        let kind = match mark {
            b'+' => return self.line(buffer, Kind::Simple),
            b'-' => return self.line(buffer, Kind::Error),
            b':' => Kind::Integer,
            b'$' => Kind::Bulk,
            b'*' => Kind::Array,
            other => {
                return Err(ProtocolError(format!(
                    "a reply that begins with one of + - : $ *, not with '{}'",
                    other.escape_ascii()
                )));
            }
        };
        let Some((number, end)) = header::number(buffer, self.at + 1)? else { return Ok(None) };
        match kind {
            Kind::Bulk | Kind::Array if number == -1 => {
                self.token(Kind::Null, end, Span::default(), 0)
            }
            Kind::Bulk => {
                self.bulk = Some((end, self.bulk_length(number)?));
                self.bulk_body(buffer)
            }
            Kind::Array => {
                self.elements(number)?;
                self.token(kind, end, Span::default(), number)
            }
            _ => self.token(kind, end, Span::default(), number),
        }
    }

    fn line(&mut self, buffer: &[u8], kind: Kind) -> Result<Option<Token>, ProtocolError> {
        let text = self.at + 1;
        match header::line_end(buffer, self.scanned.max(text))? {
            Line::Ends(end) if end - text <= self.limits.line => {
                self.token(kind, end + 2, span(text, end)?, 0)
            }
            Line::Open(scanned) if scanned - text <= self.limits.line => {
                self.scanned = scanned;
                Ok(None)
            }
            _ => Err(ProtocolError(format!("a line of at most {} bytes", self.limits.line))),
        }
    }

    fn bulk_length(&self, length: i64) -> Result<usize, ProtocolError> {
        usize::try_from(length).ok().filter(|&length| length <= self.limits.bulk).ok_or_else(|| {
            ProtocolError(format!("a bulk string of 0 to {} bytes, not {length}", self.limits.bulk))
        })
    }

    #[inline]
    fn bulk_body(&mut self, buffer: &[u8]) -> Result<Option<Token>, ProtocolError> {
        let Some((body, length)) = self.bulk else { return Ok(None) };
        let end = body + length;
        let Some(line_end) = buffer.get(end..end + 2) else { return Ok(None) };
        if line_end != b"\r\n" {
            return Err(ProtocolError("CR LF at the end of a bulk string".into()));
        }
        self.bulk = None;
        self.token(Kind::Bulk, end + 2, span(body, end)?, 0)
    }

    /// The length of an array.
    fn elements(&self, length: i64) -> Result<usize, ProtocolError> {
        usize::try_from(length).ok().filter(|&elements| elements <= self.limits.tokens).ok_or_else(
            || {
                let most = self.limits.tokens;
                ProtocolError(format!("an array of 0 to {most} elements, not {length}"))
            },
        )
    }

    /// The node from `at` to `end` is read.
    fn token(
        &mut self,
        kind: Kind,
        end: usize,
        body: Span,
        number: i64,
    ) -> Result<Option<Token>, ProtocolError> {
        let wire = span(self.at, end)?;
        self.at = end;
        self.scanned = 0;
        Ok(Some(Token { kind, wire, body, number }))
    }

    /// Keeps a node of the reply at hand.
    fn keep(&mut self, token: Token) -> Result<(), ProtocolError> {
        let too_deep = token.kind == Kind::Array && self.open.len() == self.limits.depth;
        if too_deep || self.tokens.len() == self.limits.tokens {
            // It is refused again, whenever it is read.
            self.at = token.wire.range().start;
            let Limits { depth, tokens, .. } = self.limits;
            return Err(ProtocolError(match too_deep {
                true => format!("arrays nested at most {depth} deep"),
                false => format!("a reply of at most {tokens} elements"),
            }));
        }
        self.tokens.push(token);
        match token.kind {
            // It takes its place among its siblings when its own last element is read.
            Kind::Array => self.open.push(self.elements(token.number)?),
            _ => self.open.last_mut().into_iter().for_each(|lacking| *lacking -= 1),
        }
        self.close_full();
        Ok(())
    }

    /// Closes the arrays that lack nothing any more; each then counts as an element of its parent.
    fn close_full(&mut self) {
        while self.open.last() == Some(&0) {
            self.open.pop();
            if let Some(lacking) = self.open.last_mut() {
                *lacking -= 1;
            }
        }
    }
}

impl<'a> Reply<'a> {
    /// All nodes in wire order.
    pub fn tokens(&self) -> &'a [Token] {
        self.tokens
    }

    /// The outermost node.
    pub fn head(&self) -> Token {
        // A handed-out reply has at least one node; an empty one reads as null.
        self.tokens.first().copied().unwrap_or(NOTHING)
    }

    /// The content of a node: text or bytes.
    pub fn body(&self, token: Token) -> &'a [u8] {
        token.body.of(self.buffer)
    }

    /// The text of an error reply.
    pub fn error(&self) -> Option<&'a [u8]> {
        let head = self.head();
        (head.kind == Kind::Error).then(|| self.body(head))
    }

    /// The value of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        let head = self.head();
        (head.kind == Kind::Integer).then_some(head.number)
    }
}

fn span(start: usize, end: usize) -> Result<Span, ProtocolError> {
    Span::new(start, end).ok_or_else(|| ProtocolError("a reply below 4 GiB".into()))
}

fn shifted(span: Span, by: usize) -> Span {
    let by = u32::try_from(by).unwrap_or(u32::MAX);
    Span { start: span.start.saturating_sub(by), end: span.end.saturating_sub(by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(bytes: &[u8]) -> Result<Vec<Kind>, ProtocolError> {
        let mut decoder = Decoder::default();
        let mut kinds = Vec::new();
        while let Some(reply) = decoder.next(bytes)? {
            kinds.extend(reply.tokens().iter().map(|token| token.kind));
        }
        Ok(kinds)
    }

    #[test]
    fn a_bulk_string_keeps_its_wire_form() {
        let bytes = b":7\r\n$5\r\nhello\r\n";
        let mut decoder = Decoder::default();
        assert_eq!(decoder.next(bytes).unwrap().unwrap().integer(), Some(7));
        let bulk = decoder.next(bytes).unwrap().unwrap().head();
        assert_eq!(bulk.wire.of(bytes), b"$5\r\nhello\r\n");
        assert_eq!(bulk.body.of(bytes), b"hello");
        assert_eq!(decoder.consumed(), bytes.len());
    }

    #[test]
    fn nested_and_empty_arrays_end_where_they_should() {
        use Kind::{Array, Bulk, Integer, Null};
        let bytes = b"*3\r\n*0\r\n*2\r\n:1\r\n*1\r\n$-1\r\n$0\r\n\r\n*-1\r\n";
        let expected = vec![Array, Array, Array, Integer, Array, Null, Bulk, Null];
        assert_eq!(kinds(bytes).unwrap(), expected);
    }

    #[test]
    fn spans_follow_when_the_front_is_taken() {
        let mut buffer = b"+OK\r\n$3\r\nab".to_vec();
        let mut decoder = Decoder::default();
        assert!(decoder.next(&buffer).unwrap().is_some());
        assert!(decoder.next(&buffer).unwrap().is_none());
        assert_eq!(decoder.wanted(), Some(5 + 9));
        buffer.drain(..decoder.consumed());
        decoder.taken();
        assert_eq!(decoder.wanted(), Some(9));
        buffer.extend_from_slice(b"c\r\n");
        let head = decoder.next(&buffer).unwrap().unwrap().head();
        assert_eq!(head.body.of(&buffer), b"abc");
    }

    #[test]
    fn nodes_come_one_by_one_and_a_large_one_can_be_left_to_the_caller() {
        let mut buffer = b"*3\r\n$1\r\na\r\n$-1\r\n$9\r\n123".to_vec();
        let mut decoder = Decoder::default();
        let mut kinds = Vec::new();
        while let Some(node) = decoder.next_node(&buffer).unwrap() {
            kinds.push((node.kind, node.number));
        }
        assert_eq!(kinds, [(Kind::Array, 3), (Kind::Bulk, 0), (Kind::Null, 0)]);
        assert_eq!(decoder.announced(), Some(9));
        decoder.skip_header();
        buffer.drain(..decoder.consumed());
        decoder.taken();
        assert_eq!((buffer.as_slice(), decoder.wanted()), (&b"123"[..], None));
        buffer.clear();
        buffer.extend_from_slice(b"+OK\r\n");
        assert!(decoder.next(&buffer).unwrap().is_some());
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { depth: 2, line: 4, bulk: 3, reply: 64, tokens: 4 };
        for bad in [
            &b"*1\r\n*1\r\n*1\r\n"[..],
            b"+12345",
            b"+12345\r\n",
            b"$4\r\n",
            b"$-2\r\n",
            b"*5\r\n",
            b"*-2\r\n",
            b"*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
            b"HTTP/1.1 400\r\n",
            b"$1\r\nabc",
            b"+a\nb\r\n",
        ] {
            let mut decoder = Decoder::new(limits);
            let mut result = decoder.next(bad).map(|reply| reply.is_some());
            while result == Ok(true) {
                result = decoder.next(bad).map(|reply| reply.is_some());
            }
            assert!(result.is_err(), "{}", bad.escape_ascii());
        }
    }
}
