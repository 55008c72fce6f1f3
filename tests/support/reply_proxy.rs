//! A TCP proxy in front of a server that pairs requests with replies, also inside of transactions, and
//! answers some of the requests wrongly: the server's own reply is swallowed, the stream stays in step.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::rewriting_proxy::{Passed, RewritingProxy, frame};

/// Where the reply to a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// By itself.
    Direct,
    /// `QUEUED`, inside of a transaction.
    Queued,
    /// One element of the reply to `EXEC`.
    Element,
}

/// The replies to one command in one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// In capitals; with the second word for commands that have subcommands.
    pub(crate) command: String,
    pub(crate) place: Place,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.command.replace(' ', "_");
        write!(out, "{command}.{}", format!("{:?}", self.place).to_lowercase())
    }
}

/// What is answered instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    Busy,
    Loading,
    NoPermission,
    Error,
    /// `$-1`
    Nil,
    /// `*-1`
    NilArray,
    EmptyArray,
    /// A string for an integer, an integer for everything else.
    OtherType,
    /// Nothing: the connection is closed.
    Close,
}

impl Wrong {
    /// All there are.
    pub(crate) const ALL: [Self; 9] = [
        Self::Busy,
        Self::Loading,
        Self::NoPermission,
        Self::Error,
        Self::Nil,
        Self::NilArray,
        Self::EmptyArray,
        Self::OtherType,
        Self::Close,
    ];

    /// The bytes in the place of this reply; none: the connection ends.
    fn bytes(self, reply: &[u8]) -> Option<&'static [u8]> {
        Some(match self {
            Self::Busy => {
                b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n"
            }
            Self::Loading => b"-LOADING Redis is loading the dataset in memory\r\n",
            Self::NoPermission => {
                b"-NOPERM this user has no permissions to run this command or its subcommand\r\n"
            }
            Self::Error => b"-ERR something went wrong\r\n",
            Self::Nil => b"$-1\r\n",
            Self::NilArray => b"*-1\r\n",
            Self::EmptyArray => b"*0\r\n",
            Self::OtherType if reply.starts_with(b":") => b"$3\r\nfoo\r\n",
            Self::OtherType => b":7\r\n",
            Self::Close => return None,
        })
    }
}

/// Which of the replies to a command are wrong, counted from 0 over all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Nth(usize),
    All,
}

/// A proxy on a free loopback port, gone when dropped.
pub(crate) struct ReplyProxy {
    proxy: RewritingProxy,
    shared: Arc<Shared>,
}

struct Shared {
    lie: Option<(Point, Which, Wrong)>,
    seen: Mutex<BTreeMap<Point, usize>>,
    told: AtomicBool,
    is_honest: AtomicBool,
}

impl ReplyProxy {
    /// In front of `127.0.0.1:port`; without a lie it only counts.
    pub(crate) fn start(port: u16, lie: Option<(Point, Which, Wrong)>) -> Self {
        let shared = Arc::new(Shared {
            lie,
            seen: Mutex::default(),
            told: AtomicBool::new(false),
            is_honest: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        let proxy = RewritingProxy::with(port, move || {
            let mut replies = Replies { shared: Arc::clone(&inner), queued: None };
            Box::new(move |command, reply| match replies.answer(&name(command), reply) {
                Some(bytes) if bytes == reply => None,
                Some(bytes) => Some(Passed::Instead(bytes)),
                None => Some(Passed::Close),
            })
        });
        Self { proxy, shared }
    }

    /// The proxy as an endpoint.
    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    /// How often each command was answered so far.
    pub(crate) fn seen(&self) -> BTreeMap<Point, usize> {
        self.shared.seen.lock().expect("no thread panics with the lock").clone()
    }

    /// From now on every reply is the server's own.
    pub(crate) fn tell_the_truth(&self) {
        self.shared.is_honest.store(true, Ordering::SeqCst);
    }

    /// Was a wrong reply given? A case whose reply never came proves nothing.
    pub(crate) fn told(&self) -> bool {
        self.shared.told.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// The reply to this command, or a wrong one; `None`: the connection ends instead.
    fn answer<'a>(&self, command: &str, place: Place, reply: &'a [u8]) -> Option<&'a [u8]> {
        let point = Point { command: command.to_owned(), place };
        let number = {
            let mut seen = self.seen.lock().expect("no thread panics with the lock");
            let count = seen.entry(point.clone()).or_default();
            *count += 1;
            *count - 1
        };
        match &self.lie {
            Some((at, which, wrong))
                if *at == point
                    && [Which::All, Which::Nth(number)].contains(which)
                    && !self.is_honest.load(Ordering::SeqCst) =>
            {
                self.told.store(true, Ordering::SeqCst);
                wrong.bytes(reply)
            }
            _ => Some(reply),
        }
    }
}

/// The replies of one connection.
struct Replies {
    shared: Arc<Shared>,
    /// The commands of the transaction that is open.
    queued: Option<Vec<String>>,
}

impl Replies {
    /// The bytes for the client; `None`: the connection ends.
    fn answer(&mut self, command: &str, reply: &[u8]) -> Option<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let whole = match (command, &mut self.queued) {
            ("MULTI", queued) => {
                *queued = reply.starts_with(b"+").then(Vec::new);
                return shared.answer(command, Place::Direct, reply).map(<[u8]>::to_vec);
            }
            ("EXEC", queued) => {
                let commands = queued.take().unwrap_or_default();
                self.elements(&commands, reply)?
            }
            ("DISCARD", queued) => {
                *queued = None;
                reply.to_vec()
            }
            (_, Some(queued)) if reply == b"+QUEUED\r\n" => {
                queued.push(command.to_owned());
                return shared.answer(command, Place::Queued, reply).map(<[u8]>::to_vec);
            }
            _ => reply.to_vec(),
        };
        shared.answer(command, Place::Direct, &whole).map(<[u8]>::to_vec)
    }

    /// The reply to EXEC, each of its elements as the reply to its command.
    fn elements(&self, commands: &[String], reply: &[u8]) -> Option<Vec<u8>> {
        let head = format!("*{}\r\n", commands.len());
        if commands.is_empty() || !reply.starts_with(head.as_bytes()) {
            return Some(reply.to_vec());
        }
        let (mut whole, mut at) = (head.clone().into_bytes(), head.len());
        for command in commands {
            let end = at + frame(&reply[at..]).expect("the reply is whole");
            let element = self.shared.answer(command, Place::Element, &reply[at..end])?;
            whole.extend_from_slice(element);
            at = end;
        }
        Some(whole)
    }
}

/// The name of a command: with its second word where that is a subcommand.
fn name(command: &[Vec<u8>]) -> String {
    const CONTAINERS: [&str; 10] = [
        "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "MEMORY", "OBJECT",
        "SCRIPT",
    ];
    let word = |at: usize| {
        let word = command.get(at).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(word).to_ascii_uppercase()
    };
    if CONTAINERS.contains(&word(0).as_str()) && command.len() > 1 {
        format!("{} {}", word(0), word(1))
    } else {
        word(0)
    }
}
