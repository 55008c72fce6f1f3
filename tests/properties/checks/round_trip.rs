//! What the encoder sends is what a server reads, however it is laid together and sent.
//!
//! Pieces are copied or chained, and part of the output leaves while the rest is still being
//! written. Then the wire spans of what was read are laid into a second output, as a copy run lays
//! the payload of a reply into a command: the bytes must be the same again.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use keyferry::resp::{Decoder, Kind, Output};

use super::{small_number, steering_and_subject};

/// One command: its arguments.
type Command = Vec<Vec<u8>>;

/// How an argument gets into the output, and what happens behind it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Laid as a range of a slab instead of copied.
    pub laid: bool,
    /// How many bytes are sent then.
    pub sent: usize,
}

/// The input is `CHAIN STEPS|COMMANDS`. The first letter says from how many bytes on pieces are
/// chained, the others are one step for each argument, repeated: its place in the alphabet is how
/// many bytes are sent behind it, small letters lay, capitals copy. Arguments end at a space,
/// commands at a `;`.
pub fn check(input: &[u8]) {
    let (letters, text) = steering_and_subject(input);
    let (chain_from, letters) = letters.split_first().unwrap_or((&b'@', &[]));
    let step = |&letter: &u8| Step { laid: letter & 0x20 != 0, sent: small_number(letter) };
    let steps: Vec<Step> = letters.iter().map(step).collect();
    let commands: Vec<Command> = text
        .split(|&byte| byte == b';')
        .map(|command| command.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect())
        .collect();
    compare(small_number(*chain_from), &steps, &commands);
}

/// Encodes the commands, sending as it goes, and reads back what was sent.
pub fn compare(chain_from: usize, steps: &[Step], commands: &[Command]) {
    let copied = [Step { laid: false, sent: 0 }];
    let steps = if steps.is_empty() { &copied } else { steps };
    let mut sender = Sender::new(chain_from);
    let mut steps_left = steps.iter().cycle();
    for command in commands {
        sender.output.begin(command.len());
        for (argument, step) in command.iter().zip(steps_left.by_ref()) {
            sender.argument(argument, *step);
        }
    }
    let sent = sender.finish();
    let expected: Vec<u8> = commands.iter().flat_map(wire).collect();
    assert_eq!(sent, expected, "chained from {chain_from} on, {steps:?}");
    assert_eq!(read(&sent), commands, "read back from {}", sent.escape_ascii());
    assert_eq!(relayed(chain_from, &sent), sent, "relayed, chained from {chain_from} on");
}

/// The wire form of a command, written down a second time and as simply as can be.
fn wire(command: &Command) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for argument in command {
        bytes.extend(bulk(argument));
    }
    bytes
}

fn bulk(argument: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", argument.len()).as_bytes(), argument, b"\r\n"].concat()
}

/// A connection's writing side.
struct Sender {
    output: Output,
    sent: Vec<u8>,
}

impl Sender {
    fn new(chain_from: usize) -> Self {
        Self { output: Output::new(chain_from), sent: Vec::new() }
    }

    fn argument(&mut self, argument: &[u8], step: Step) {
        let before = self.output.len();
        if step.laid {
            // Other bytes around it: a slab holds many replies.
            let wire = bulk(argument);
            let slab = Bytes::from([b"+OK\r\n", &wire[..], b":1\r\n"].concat());
            // An empty piece in the chain would look like the end of the output.
            self.output.lay(&slab, 5..5);
            self.output.lay(&slab, 5..5 + wire.len());
        } else if let Some(number) = number(argument) {
            self.output.number(number);
        } else {
            self.output.bulk(argument);
        }
        assert_eq!(self.output.len() - before, bulk(argument).len(), "the length that was added");
        self.send(step.sent);
    }

    /// Sends at most this many bytes of what waits, as a vectored write of few slices does.
    fn send(&mut self, count: usize) {
        const SLICES: usize = 3;
        let waiting = self.output.remaining();
        assert_eq!(self.output.chunk().is_empty(), waiting == 0, "the contract of `Buf::chunk`");
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.output.chunks_vectored(&mut slices);
        let ready: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
        assert!(ready.starts_with(self.output.chunk()), "both views begin with the same bytes");
        assert!(ready.len() == waiting || filled == SLICES, "a vectored write misses bytes");
        let count = count.min(ready.len());
        self.sent.extend_from_slice(&ready[..count]);
        self.output.advance(count);
        assert_eq!(self.output.remaining(), waiting - count, "what is left after {count} bytes");
        assert_eq!(self.output.is_empty(), waiting == count);
    }

    /// Sends the rest as a socket would that takes all it is given.
    fn finish(mut self) -> Vec<u8> {
        while self.output.has_remaining() {
            self.send(usize::MAX);
        }
        self.sent
    }
}

/// The number that an argument is, if it is written as the encoder would write it.
fn number(argument: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(argument).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == argument).then_some(number)
}

/// The commands as a server reads them: a command has the form of a reply.
fn read(bytes: &[u8]) -> Vec<Command> {
    let mut decoder = Decoder::default();
    let mut commands = Vec::new();
    while let Some(reply) = decoder.next(bytes).expect("a command has the form of a reply") {
        let arguments = &reply.tokens()[1..];
        assert!(arguments.iter().all(|token| token.kind == Kind::Bulk), "{arguments:?}");
        commands.push(arguments.iter().map(|token| reply.body(*token).to_vec()).collect());
    }
    assert_eq!(decoder.consumed(), bytes.len(), "nothing is left over");
    commands
}

/// Takes every command apart into wire spans and lays them into a new output.
fn relayed(chain_from: usize, bytes: &[u8]) -> Vec<u8> {
    let slab = Bytes::copy_from_slice(bytes);
    let mut decoder = Decoder::default();
    let mut sender = Sender::new(chain_from);
    while let Ok(Some(reply)) = decoder.next(&slab) {
        sender.output.begin(reply.tokens().len() - 1);
        for argument in &reply.tokens()[1..] {
            sender.output.lay(&slab, argument.wire.range());
        }
    }
    sender.finish()
}
