//! A TCP proxy in front of a server that rewrites replies: for what INFO says where it is hidden, foreign or wrong.
//!
//! It reads RESP 2 both ways, so that it knows which reply belongs to which command. After `PSYNC` it
//! passes everything on as it comes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::server::Server;

/// What is to become of a reply: the command and its arguments, the reply as it came. `None`: it
/// passes as it is.
type Rewrite = dyn Fn(&[Vec<u8>], &[u8]) -> Option<Vec<u8>> + Send + Sync;

/// What one connection makes of each command and its reply.
pub(crate) type Hook = Box<dyn FnMut(&[Vec<u8>], &[u8]) -> Option<Passed> + Send>;

/// Makes the hook of a new connection.
type Hooks = dyn Fn() -> Hook + Send + Sync;

/// A command whose reply is awaited.
type Command = Vec<Vec<u8>>;

/// A proxy on a free loopback port, gone when dropped.
pub(crate) struct RewritingProxy {
    /// Where to connect.
    pub(crate) port: u16,
    stopped: Arc<AtomicBool>,
}

impl RewritingProxy {
    /// Before a server; `rewrite` sees every command and its whole reply in wire form.
    pub(crate) fn start(
        server: &Server,
        rewrite: impl Fn(&[Vec<u8>], &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let rewrite: Arc<Rewrite> = Arc::new(rewrite);
        Self::with(server.port, move || {
            let rewrite = Arc::clone(&rewrite);
            Box::new(move |command, reply| rewrite(command, reply).map(Passed::Instead))
        })
    }

    /// Before `127.0.0.1:port`, with a hook of its own for each connection.
    pub(crate) fn with(port: u16, hooks: impl Fn() -> Hook + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("the address of a listener").port();
        let stopped = Arc::new(AtomicBool::new(false));
        let (inner, hooks): (_, Arc<Hooks>) = (Arc::clone(&stopped), Arc::new(hooks));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if inner.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", port)) {
                    serve(client, server, hooks());
                }
            }
        });
        Self { port: own, stopped }
    }

    /// Before a server whose every answer to INFO is this text made of its own.
    pub(crate) fn of_info(
        server: &Server,
        rewrite: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start(server, move |command, reply| {
            let text = is_info(command).then(|| bulk(reply)).flatten()?;
            let text = rewrite(&String::from_utf8_lossy(text));
            Some(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
        })
    }

    /// Before a server whose every answer to INFO is this reply, in wire form.
    pub(crate) fn answering_info(server: &Server, reply: &'static [u8]) -> Self {
        Self::start(server, move |command, _| is_info(command).then(|| reply.to_vec()))
    }

    /// The proxy as an endpoint.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for RewritingProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// INFO's text without the lines that begin with one of these.
pub(crate) fn without_lines(text: &str, beginnings: &[&str]) -> String {
    let kept = |line: &&str| !beginnings.iter().any(|beginning| line.starts_with(beginning));
    text.split_inclusive("\r\n").filter(kept).collect()
}

/// INFO's text with this in place of everything that follows the line `# Keyspace`.
pub(crate) fn with_keyspace(text: &str, keyspace: &str) -> String {
    let before = text.split("# Keyspace").next().unwrap_or_default();
    if text.contains("# Keyspace") { format!("{before}{keyspace}") } else { text.to_owned() }
}

fn is_info(command: &[Vec<u8>]) -> bool {
    command.first().is_some_and(|name| name.eq_ignore_ascii_case(b"info"))
}

/// The content of a bulk string in wire form.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let start = reply.iter().position(|&byte| byte == b'\n')? + 1;
    reply.starts_with(b"$").then(|| reply.get(start..reply.len() - 2)).flatten()
}

/// One thread for each direction; they end with their connections.
fn serve(client: TcpStream, server: TcpStream, mut hook: Hook) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (Ok(replies_to), Ok(replies_from)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let awaited: Arc<Mutex<VecDeque<Command>>> = Arc::default();
    let asked = Arc::clone(&awaited);
    std::thread::spawn(move || {
        pass(client, server, |frame| {
            asked.lock().unwrap_or_else(PoisonError::into_inner).push_back(command_of(frame));
            None
        });
    });
    std::thread::spawn(move || {
        pass(replies_from, replies_to, |frame| {
            let command = awaited.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            let passed = hook(&command, frame);
            let is_sync = command.first().is_some_and(|name| name.eq_ignore_ascii_case(b"psync"));
            match passed {
                // What follows is a file, and no reply.
                None => is_sync.then_some(Passed::AsItIs),
                some => some,
            }
        });
    });
}

/// What is passed on of a frame that is not passed on alone.
pub(crate) enum Passed {
    /// This in its place.
    Instead(Vec<u8>),
    /// It, and everything behind it, whatever that is.
    AsItIs,
    /// Nothing: both connections end.
    Close,
}

/// Passes frames on until one of the connections ends.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    mut each: impl FnMut(&[u8]) -> Option<Passed>,
) -> Option<()> {
    let (mut held, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let mut raw = false;
    loop {
        let read = from.read(&mut buffer).ok().filter(|&read| read > 0);
        let Some(read) = read else {
            let _ = to.write_all(&held);
            let _ = to.shutdown(Shutdown::Write);
            return None;
        };
        held.extend_from_slice(&buffer[..read]);
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(length) = held.get(at..).filter(|_| !raw).and_then(frame) {
            let whole = &held[at..at + length];
            at += length;
            match each(whole) {
                Some(Passed::Instead(other)) => out.extend(other),
                Some(Passed::Close) => {
                    let _ = to.write_all(&out);
                    for stream in [&from, &to] {
                        let _ = stream.shutdown(Shutdown::Both);
                    }
                    return None;
                }
                passed => {
                    raw = matches!(passed, Some(Passed::AsItIs));
                    out.extend_from_slice(whole);
                }
            }
        }
        if raw {
            out.extend_from_slice(&held[at..]);
            at = held.len();
        }
        held.drain(..at);
        to.write_all(&out).ok()?;
    }
}

/// The length of the frame at the beginning, once all of it is there.
pub(crate) fn frame(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes.first()? {
        b'$' => match usize::try_from(number()?) {
            Ok(length) => Some(line + length + 2).filter(|&end| end <= bytes.len()),
            Err(_) => Some(line),
        },
        b'*' => (0..number()?).try_fold(line, |end, _| Some(end + frame(bytes.get(end..)?)?)),
        _ => Some(line),
    }
}

/// The words of a command in wire form.
fn command_of(wire: &[u8]) -> Command {
    let mut words = Vec::new();
    let mut rest =
        wire.iter().position(|&byte| byte == b'\n').map_or(&[][..], |at| &wire[at + 1..]);
    while let Some(length) = frame(rest) {
        words.push(bulk(&rest[..length]).unwrap_or_default().to_vec());
        rest = &rest[length..];
    }
    words
}
