//! A stream that comes in pieces is read as the same stream in one piece.
//!
//! The pieces are cut anywhere, and the buffer's front is taken off at any moment the caller may
//! choose: never, when nothing more is whole, or behind every single reply.
//!
//! And it is the same stream node by node and bulk string by bulk string, with long bulk strings taken off piece by piece.

use keyferry::resp::{Decoder, Kind, Limits, ProtocolError, Reply, Value};

use super::{small_number, steering_and_subject};

/// Some bytes arrive, and the caller deals with the replies that are whole now.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// How many bytes arrive; 0 counts as 1.
    pub arrives: usize,
    /// When the decoded front is taken off the buffer.
    pub taken: Taken,
}

/// When a caller takes decoded bytes off its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not in this step.
    Never,
    /// When the decoder asks for more.
    WhenOpen,
    /// Behind each reply, and when the decoder asks for more.
    AfterEach,
}

/// What a stream was read as: each reply with its bytes, then the error that ended it, if one did.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    replies: Vec<(Value, Vec<u8>)>,
    /// All tokens of all replies.
    nodes: Vec<Node>,
    error: Option<ProtocolError>,
}

/// The input is `STEPS|STREAM`. A step is a letter: its place in the alphabet is how many bytes
/// arrive; capital: the buffer keeps all, small: its front is taken when the decoder asks for more.
/// Punctuation and digits (`!` is 1) take it behind each reply. The steps are repeated.
pub fn check(input: &[u8]) {
    let (letters, stream) = steering_and_subject(input);
    let steps: Vec<Step> = letters.iter().map(|&letter| step(letter)).collect();
    compare(stream, &steps);
}

fn step(letter: u8) -> Step {
    let taken = match letter & 0x60 {
        0x60 => Taken::WhenOpen,
        0x20 => Taken::AfterEach,
        _ => Taken::Never,
    };
    Step { arrives: small_number(letter), taken }
}

/// Reads the stream in one piece and in steps, with wide and with narrow limits.
pub fn compare(stream: &[u8], steps: &[Step]) {
    let narrow = Limits { depth: 3, line: 12, bulk: 16, reply: 64, tokens: 8 };
    let bytewise = [Step { arrives: 1, taken: Taken::WhenOpen }];
    let steps = if steps.is_empty() { &bytewise } else { steps };
    let one_piece = [Step { arrives: stream.len(), taken: Taken::Never }];

    let expected = Reader::new(stream, Limits::default()).read(&one_piece);
    let actual = Reader::new(stream, Limits::default()).read(steps);
    assert_eq!(actual, expected, "cut by {steps:?}");

    // A caller of nodes meets no limit on depth or number, so it may get further.
    let nodes = nodes(stream, steps);
    let same = nodes.get(..expected.nodes.len());
    assert_eq!(same, Some(&expected.nodes[..]), "node by node, cut by {steps:?}");

    // Where two things are wrong with a line, the one that is seen first depends on the cut.
    let expected = Reader::new(stream, narrow).read(&one_piece);
    let actual = Reader::new(stream, narrow).read(steps);
    assert_eq!(actual.replies, expected.replies, "cut by {steps:?} under {narrow:?}");
    let refused = (actual.error.is_some(), expected.error.is_some());
    assert_eq!(refused.0, refused.1, "{actual:?} and {expected:?} cut by {steps:?}");
}

/// A token and its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    kind: Kind,
    number: i64,
    body: Vec<u8>,
}

/// Reads the stream node by node until it ends or is wrong. In a step that takes behind each reply,
/// a bulk string whose end is not there is taken off its stream without the decoder.
fn nodes(stream: &[u8], steps: &[Step]) -> Vec<Node> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut buffer, mut rest, mut nodes) = (Vec::new(), stream, Vec::new());
    for step in steps.iter().cycle() {
        let (arrives, behind) = rest.split_at(rest.len().min(step.arrives.max(1)));
        rest = behind;
        buffer.extend_from_slice(arrives);
        loop {
            // Bulk strings that are whole come one way as well as the other.
            let bulk = if nodes.len() % 3 > 0 { decoder.next_bulk(&buffer) } else { None };
            match bulk.map_or_else(|| decoder.next_node(&buffer), |bulk| Ok(Some(bulk))) {
                Err(_) => return nodes,
                Ok(Some(node)) => {
                    let body = node.body.of(&buffer).to_vec();
                    nodes.push(Node { kind: node.kind, number: node.number, body });
                    continue;
                }
                Ok(None) => {}
            }
            let Some(length) = decoder.announced().filter(|_| step.taken == Taken::AfterEach)
            else {
                break;
            };
            decoder.skip_header();
            buffer.drain(..decoder.consumed());
            decoder.taken();
            let whole = length + 2;
            let (arrives, behind) =
                rest.split_at(whole.saturating_sub(buffer.len()).min(rest.len()));
            rest = behind;
            buffer.extend_from_slice(arrives);
            if buffer.get(length..whole) != Some(b"\r\n") {
                return nodes;
            }
            let body = buffer.drain(..whole).take(length).collect();
            nodes.push(Node { kind: Kind::Bulk, number: 0, body });
        }
        if step.taken != Taken::Never {
            buffer.drain(..decoder.consumed());
            decoder.taken();
        }
        if rest.is_empty() {
            break;
        }
    }
    nodes
}

/// A caller as `net` is one: it owns the buffer and feeds the decoder.
struct Reader<'a> {
    stream: &'a [u8],
    arrived: usize,
    buffer: Vec<u8>,
    decoder: Decoder,
    reading: Reading,
}

impl<'a> Reader<'a> {
    fn new(stream: &'a [u8], limits: Limits) -> Self {
        Self {
            stream,
            arrived: 0,
            buffer: Vec::new(),
            decoder: Decoder::new(limits),
            reading: Reading { replies: Vec::new(), nodes: Vec::new(), error: None },
        }
    }

    fn read(mut self, steps: &[Step]) -> Reading {
        for step in steps.iter().cycle() {
            let until = self.stream.len().min(self.arrived + step.arrives.max(1));
            self.buffer.extend_from_slice(&self.stream[self.arrived..until]);
            self.arrived = until;
            if let Err(error) = self.decode(step.taken) {
                self.reading.error = Some(error);
                break;
            }
            if self.arrived == self.stream.len() {
                break;
            }
        }
        self.reading
    }

    /// Takes every reply that is whole.
    fn decode(&mut self, taken: Taken) -> Result<(), ProtocolError> {
        loop {
            let (wanted, consumed) = (self.decoder.wanted(), self.decoder.consumed());
            let Some(reply) = self.decoder.next(&self.buffer)? else { break };
            let enough = wanted.is_none_or(|wanted| wanted <= self.buffer.len());
            assert!(enough, "a reply before the {wanted:?} bytes that were wanted");
            let (value, range) = (Value::of(&reply), wire(&reply));
            self.reading.nodes.extend(reply.tokens().iter().map(|&token| Node {
                kind: token.kind,
                number: token.number,
                body: reply.body(token).to_vec(),
            }));
            self.reading.replies.push((value, self.buffer[range.clone()].to_vec()));
            assert_eq!(range.start, consumed, "a reply begins where the one before it ended");
            assert_eq!(self.decoder.consumed(), range.end, "consumed is the end of the reply");
            if taken == Taken::AfterEach {
                self.take();
            }
        }
        let wanted = self.decoder.wanted();
        let honest = wanted.is_none_or(|wanted| wanted > self.buffer.len());
        assert!(honest, "{wanted:?} bytes are wanted of {} that lie there", self.buffer.len());
        if taken != Taken::Never {
            self.take();
        }
        Ok(())
    }

    fn take(&mut self) {
        let (front, wanted) = (self.decoder.consumed(), self.decoder.wanted());
        self.buffer.drain(..front);
        self.decoder.taken();
        assert_eq!(self.decoder.consumed(), 0, "nothing is left to take");
        let moved = wanted.map(|wanted| wanted - front);
        assert_eq!(self.decoder.wanted(), moved, "what is wanted moves with the front");
    }
}

/// The bytes of a whole reply.
fn wire(reply: &Reply<'_>) -> std::ops::Range<usize> {
    let end = reply.tokens().last().map_or(0, |token| token.wire.range().end);
    reply.head().wire.range().start..end
}
