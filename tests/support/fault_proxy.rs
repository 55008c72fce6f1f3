//! A TCP proxy in front of a server that misbehaves as told: cuts, resets, stalls, dribbles, slows down.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::server::Server;

/// What happens once enough bytes have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// All connections end, and new ones are closed at once: the server is gone.
    Close,
    /// As `Close`, but connections end with a reset instead of an orderly end.
    Reset,
    /// This one connection ends, the rest goes on undisturbed: a hiccup.
    CloseOnce,
    /// Nothing moves any more, but all stays open.
    Stall,
    /// As `CloseOnce`, with a reset.
    ResetOnce,
    /// The receiver of this direction sees the end of this one connection; the other direction goes on.
    HalfClose,
    /// Nothing moves any more in this direction of this one connection, but all stays open.
    StallOnce,
    /// All connections end, and new ones are closed at once for so long: a failover, a restart.
    Away(Duration),
    /// The next so many bytes pass one by one.
    Dribble(u64),
    /// Each of the next so many pieces waits for so long.
    Lag(u64, Duration),
}

/// One fault of several, once so many bytes have passed in a direction since the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) direction: Direction,
    pub(crate) after: u64,
    pub(crate) fault: Fault,
}

/// How a proxy behaves; `Behaviour::default()` passes everything on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    /// The fault after so many bytes of replies, over all connections.
    pub(crate) after_replies: Option<(u64, Fault)>,
    /// The fault after so many bytes of requests, over all connections.
    pub(crate) after_requests: Option<(u64, Fault)>,
    /// The fault once a request that holds these bytes was passed on, before its answer: the server
    /// does as it is told, the client never hears of it. Only the first such request.
    pub(crate) for_answer_to: Option<(&'static [u8], Fault)>,
    /// Requests of so many bytes are no such request, whatever they hold.
    pub(crate) spared: u64,
    /// The largest piece in which bytes are passed on, each at once: segments, as a network carries them.
    pub(crate) piece: Option<usize>,
    /// A pause before each piece.
    pub(crate) delay: Option<Duration>,
    /// Bytes a second, both ways and all connections together.
    pub(crate) rate: Option<u64>,
}

/// A proxy on a free loopback port, gone when dropped.
pub(crate) struct FaultProxy {
    /// Where to connect.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    /// The server behind it.
    server: AtomicU16,
    replies: AtomicU64,
    requests: AtomicU64,
    state: Mutex<State>,
    stopped: AtomicBool,
    /// When the next piece may pass, for `rate`.
    next: Mutex<Instant>,
    /// Faults to come, one after the other.
    script: Mutex<VecDeque<Step>>,
    /// Bytes that pass one by one, and pieces that wait.
    dribbling: AtomicU64,
    lagging: Mutex<(u64, Duration)>,
}

#[derive(Default)]
struct State {
    struck: Option<Fault>,
    away_until: Option<Instant>,
    connections: Vec<Weak<TcpStream>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Requests,
    Replies,
}

impl FaultProxy {
    /// Before one of two servers, where it cuts a connection once after so many bytes of values; and the
    /// URLs of both, by the proxy.
    pub(crate) fn cut_between(
        source: &Server,
        target: &Server,
        of_source: bool,
        at: u64,
    ) -> (Self, [String; 2]) {
        let cut = Some((at, Fault::CloseOnce));
        if of_source {
            let behaviour = Behaviour { after_replies: cut, ..Behaviour::default() };
            let proxy = Self::start(source.port, behaviour);
            let urls = [proxy.url(), target.url()];
            (proxy, urls)
        } else {
            let behaviour = Behaviour { after_requests: cut, ..Behaviour::default() };
            let proxy = Self::start(target.port, behaviour);
            let urls = [source.url(), proxy.url()];
            (proxy, urls)
        }
    }

    /// A proxy in front of `127.0.0.1:port`.
    pub(crate) fn start(port: u16, behaviour: Behaviour) -> Self {
        Self::start_with(port, behaviour, Vec::new())
    }

    /// A proxy in front of `127.0.0.1:port` that does all of this, one after the other.
    pub(crate) fn scripted(port: u16, script: Vec<Step>) -> Self {
        Self::start_with(port, Behaviour::default(), script)
    }

    /// Likewise, and it behaves like that all the time.
    pub(crate) fn start_with(port: u16, behaviour: Behaviour, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("the address of a listener").port();
        let shared = Arc::new(Shared {
            behaviour,
            server: AtomicU16::new(port),
            replies: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            state: Mutex::new(State::default()),
            stopped: AtomicBool::new(false),
            next: Mutex::new(Instant::now()),
            script: Mutex::new(script.into()),
            dribbling: AtomicU64::new(0),
            lagging: Mutex::default(),
        });
        let inner = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &inner));
        Self { port: own, shared }
    }

    /// The proxy as an endpoint.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Has the fault happened? A test whose fault never came proves nothing.
    pub(crate) fn struck(&self) -> bool {
        self.shared.state().struck.is_some()
    }

    /// From now on new connections lead to `127.0.0.1:port`, as an address that moves with a failover.
    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.server.store(port, Ordering::SeqCst);
    }

    /// Does all of this, too, from now on.
    pub(crate) fn then(&self, steps: &[Step]) {
        self.shared.script.lock().expect("no thread panics with the lock").extend(steps);
    }

    /// The faults that have not happened yet.
    pub(crate) fn to_come(&self) -> usize {
        self.shared.script.lock().expect("no thread panics with the lock").len()
    }

    /// The bytes of requests passed so far.
    pub(crate) fn request_bytes(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The bytes of replies passed so far.
    pub(crate) fn reply_bytes(&self) -> u64 {
        self.shared.replies.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.end_all(Fault::Close);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with the lock")
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn struck(&self) -> Option<Fault> {
        self.state().struck
    }

    /// How many of the next `count` bytes may pass before the fault, and the fault if it is due.
    fn allow(&self, direction: Direction, count: usize) -> (usize, Option<Fault>) {
        let (limit, counter) = match direction {
            Direction::Requests => (self.behaviour.after_requests, &self.requests),
            Direction::Replies => (self.behaviour.after_replies, &self.replies),
        };
        let before = counter.fetch_add(count as u64, Ordering::SeqCst);
        match limit {
            Some((at, fault)) if before + count as u64 > at && before <= at => {
                (usize::try_from(at - before).expect("less than a piece"), Some(fault))
            }
            _ => self.follow_script(direction, count),
        }
    }

    fn follow_script(&self, direction: Direction, count: usize) -> (usize, Option<Fault>) {
        let mut script = self.script.lock().expect("no thread panics with the lock");
        match script.front_mut() {
            Some(step) if step.direction == direction => {
                if let Some(rest) = step.after.checked_sub(count as u64) {
                    step.after = rest;
                    return (count, None);
                }
                let due = (usize::try_from(step.after).expect("less than a piece"), step.fault);
                script.pop_front();
                (due.0, Some(due.1))
            }
            _ => (count, None),
        }
    }

    fn is_away(&self) -> bool {
        self.state().away_until.is_some_and(|until| Instant::now() < until)
    }

    /// The fault that is to happen instead of the answer to these requests. They are small and are
    /// sent in one piece, so a needle across two pieces isn't looked for.
    fn unanswered(&self, requests: &[u8]) -> Option<Fault> {
        let (needle, fault) = self.behaviour.for_answer_to?;
        if self.requests.load(Ordering::Relaxed) < self.behaviour.spared {
            return None;
        }
        let asked = requests.windows(needle.len()).any(|window| window == needle);
        (asked && self.struck().is_none()).then_some(fault)
    }

    fn strike(&self, fault: Fault, ends: [&TcpStream; 2]) {
        self.state().struck = Some(fault);
        match fault {
            Fault::Close | Fault::Reset => self.end_all(fault),
            Fault::CloseOnce | Fault::ResetOnce => {
                ends.iter().for_each(|stream| end(stream, fault));
            }
            Fault::Stall => {}
            Fault::HalfClose => {
                let _ = ends[1].shutdown(Shutdown::Write);
            }
            Fault::StallOnce => {
                while !self.is_stopped() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Fault::Away(time) => {
                self.state().away_until = Some(Instant::now() + time);
                self.end_all(Fault::Close);
            }
            Fault::Dribble(bytes) => self.dribbling.store(bytes, Ordering::SeqCst),
            Fault::Lag(pieces, time) => {
                *self.lagging.lock().expect("no thread panics with the lock") = (pieces, time);
            }
        }
    }

    fn end_all(&self, fault: Fault) {
        let connections = std::mem::take(&mut self.state().connections);
        for stream in connections.iter().filter_map(Weak::upgrade) {
            end(&stream, fault);
        }
    }

    /// Writes bytes as they were read, or one by one.
    fn pass(&self, mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        let less = |left: u64| Some(left.saturating_sub(bytes.len() as u64));
        let left = self.dribbling.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        let slow = left.unwrap_or_default().min(bytes.len() as u64);
        let (one_by_one, rest) = bytes.split_at(usize::try_from(slow).expect("less than a piece"));
        for byte in one_by_one.chunks(1) {
            to.write_all(byte)?;
        }
        to.write_all(rest)
    }

    fn pace(&self, bytes: usize) {
        if let Some(delay) = self.behaviour.delay {
            std::thread::sleep(delay);
        }
        let lag = {
            let mut lagging = self.lagging.lock().expect("no thread panics with the lock");
            let lag = (lagging.0 > 0).then_some(lagging.1);
            lagging.0 = lagging.0.saturating_sub(1);
            lag
        };
        std::thread::sleep(lag.unwrap_or_default());
        let Some(rate) = self.behaviour.rate else { return };
        let until = {
            let mut next = self.next.lock().expect("no thread panics with the lock");
            let share = Duration::from_secs_f64(bytes as f64 / rate as f64);
            *next = (*next).max(Instant::now()) + share;
            *next
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

fn end(stream: &TcpStream, fault: Fault) {
    if matches!(fault, Fault::Reset | Fault::ResetOnce) {
        // Closing without lingering sends a reset; ending only the reading lets the threads let go.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        let _ = stream.shutdown(Shutdown::Read);
    } else {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        if shared.is_stopped() {
            return;
        }
        match shared.struck() {
            // Dropping the connection closes it.
            Some(Fault::Close | Fault::Reset) => {}
            _ if shared.is_away() => {}
            _ => connect(client, shared),
        }
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) {
    let port = shared.server.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (client, server) = (Arc::new(client), Arc::new(server));
    shared.state().connections.extend([Arc::downgrade(&client), Arc::downgrade(&server)]);
    let there = (Arc::clone(&client), Arc::clone(&server), Arc::clone(shared));
    let back = (server, client, Arc::clone(shared));
    std::thread::spawn(move || pump(&there.0, &there.1, Direction::Requests, &there.2));
    std::thread::spawn(move || pump(&back.0, &back.1, Direction::Replies, &back.2));
}

/// Passes bytes on in one direction until an end, a fault, or the end of the proxy.
fn pump(from: &Arc<TcpStream>, to: &Arc<TcpStream>, direction: Direction, shared: &Shared) {
    const PIECE: usize = 16 * 1024;
    let mut buffer = vec![0; shared.behaviour.piece.unwrap_or(PIECE)];
    loop {
        let count = match (&**from).read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        while shared.struck() == Some(Fault::Stall) && !shared.is_stopped() {
            std::thread::sleep(Duration::from_millis(20));
        }
        shared.pace(count);
        let (allowed, mut fault) = shared.allow(direction, count);
        if matches!(direction, Direction::Requests) {
            fault = fault.or_else(|| shared.unanswered(&buffer[..allowed]));
        }
        if shared.pass(to, &buffer[..allowed]).is_err() {
            break;
        }
        match fault {
            None => {}
            Some(fault @ Fault::Stall) => shared.strike(fault, [from, to]),
            Some(fault @ (Fault::Dribble(_) | Fault::Lag(..))) => {
                shared.strike(fault, [from, to]);
                if shared.pass(to, &buffer[allowed..count]).is_err() {
                    break;
                }
            }
            Some(fault) => {
                shared.strike(fault, [from, to]);
                return;
            }
        }
    }
    let is_reset = SockRef::from(&**to).linger().is_ok_and(|linger| linger.is_some());
    if !is_reset && !matches!(shared.struck(), Some(Fault::Reset)) {
        let _ = to.shutdown(Shutdown::Write);
    }
}
