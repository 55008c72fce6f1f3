//! Clients that have nothing to do with the copy: what they wait is what a copy costs the others.
//!
//! Ten threads, each with a plain blocking connection, write and read small values, each value at its
//! time by a schedule. What an operation waits counts from when it was due, not from when it could be
//! sent: while the source is away for a second, a hundred operations of each connection wait, and not
//! one (coordinated omission). That includes what this machine takes to wake a thread, as for any
//! client that shares it. Ten, and not one of ten times the pace: that one would wait for itself as
//! soon as the source answers in more than a millisecond, and no source is asked to be faster.
//!
//! They use a database of their own, so that the keys to be copied stay as they are.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::outcome::Measured;
use super::server::OWN_NAME;
use crate::report::Percentiles;

/// The database that the client uses; the copies beside it take another one.
const DATABASE: u32 = 1;
/// Connections, and from one operation to the next on each: 1,000 a second together, one percent of
/// what a source can do.
const CONNECTIONS: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(10);
/// Keys of each, and the size of their values.
const KEYS: usize = 100;
const SIZE: usize = 100;
/// A source that stays away for longer breaks the measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// Fewer operations do not tell what the slowest hundredth of them waits.
pub(super) const TRUSTED_OPERATIONS: u64 = 1_000;

/// What the clients waited in one run, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// Operations, half of them SET, half GET.
    pub operations: u64,
    /// Half of them waited no longer than this since they were due.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// All.
    pub max: f64,
    /// 99 of 100, from when they were sent: without what they waited for another one.
    pub sent_p99: f64,
}

/// The run in the middle, by what 99 of 100 operations waited.
pub(super) fn middle(runs: &[Measured]) -> Option<Waits> {
    let mut waits: Vec<Waits> = runs.iter().filter_map(|run| run.client_ms).collect();
    waits.sort_by(|a, b| a.p99.total_cmp(&b.p99));
    waits.get(waits.len() / 2).copied()
}

/// Every wait.
#[derive(Default)]
struct Log {
    since_due: Percentiles,
    since_sent: Percentiles,
}

impl Log {
    fn record(&mut self, due: Instant, sent: Instant) {
        self.since_due.record(due.elapsed(), 1);
        self.since_sent.record(sent.elapsed(), 1);
    }

    fn add(&mut self, other: &Self) {
        self.since_due.add(&other.since_due);
        self.since_sent.add(&other.since_sent);
    }

    fn waits(&self) -> Waits {
        Waits {
            operations: self.since_due.count(),
            p50: self.since_due.ms(0.5),
            p99: self.since_due.ms(0.99),
            max: self.since_due.ms(1.0),
            sent_p99: self.since_sent.ms(0.99),
        }
    }
}

/// Clients at work, until they are asked what they waited, or dropped.
pub(super) struct Clients {
    threads: Vec<JoinHandle<Result<Log>>>,
    /// When it is over: what is due by then is still done.
    end: Arc<OnceLock<Instant>>,
}

impl Clients {
    /// Begins to work; returns once the schedules run.
    pub(super) async fn start(address: (String, u16)) -> Result<Self> {
        let end = Arc::new(OnceLock::new());
        let (ready, is_ready) = channel();
        let thread = |number| {
            let (address, end, ready) = (address.clone(), end.clone(), ready.clone());
            std::thread::spawn(move || {
                let mut wire = Wire::open(&address, number)?;
                let log = wire.work(&end, &ready);
                // What is left would be copied by the next contestant that takes all databases.
                let removed = wire.remove();
                log.and_then(|log| removed.map(|()| log))
            })
        };
        let clients = Self { threads: (0..CONNECTIONS).map(thread).collect(), end };
        drop(ready);
        let all = move || (0..CONNECTIONS).all(|_| is_ready.recv().is_ok());
        // Without a word from one of them there is an error to be had from its end.
        match tokio::task::spawn_blocking(all).await {
            Ok(true) => Ok(clients),
            _ => clients.end().await.and_then(|_| Err(Error::other("they have no schedule"))),
        }
    }

    /// What they waited until now.
    pub(super) async fn end(mut self) -> Result<Waits> {
        let ended = tokio::task::spawn_blocking(move || self.join()).await;
        ended.unwrap_or_else(|error| Err(Error::other(error)))
    }

    fn join(&mut self) -> Result<Waits> {
        self.end.get_or_init(Instant::now);
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        let mut sum = Log::default();
        for log in ended {
            sum.add(&log.map_err(|_| Error::other("a thread panicked"))??);
        }
        Ok(sum.waits())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // They must not write after the servers were left empty.
        let _ = self.join();
    }
}

/// The replies of SET and the like, and of GET, without and with their values.
const OK: usize = "+OK\r\n".len();
const NOTHING: &[u8] = b"$-1\r\n";
const VALUE: usize = "$100\r\n".len() + SIZE + "\r\n".len();

/// A blocking connection.
struct Wire {
    number: u32,
    stream: TcpStream,
    reply: Vec<u8>,
}

impl Wire {
    fn open(address: &(String, u16), number: u32) -> Result<Self> {
        let stream = TcpStream::connect((address.0.as_str(), address.1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut wire = Self { number, stream, reply: Vec::new() };
        wire.call(&[b"CLIENT", b"SETNAME", OWN_NAME.as_bytes()], OK)?;
        wire.call(&[b"SELECT", DATABASE.to_string().as_bytes()], OK)?;
        Ok(wire)
    }

    /// Sends a command and waits for its reply, which has so many bytes unless it is an error.
    fn call(&mut self, command: &[&[u8]], expected: usize) -> Result<()> {
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command {
            request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request)?;
        self.reply.clear();
        let mut piece = [0; 512];
        while self.reply.len() < expected {
            let count = self.stream.read(&mut piece)?;
            self.reply.extend_from_slice(piece.get(..count).unwrap_or_default());
            let refused = self.reply.starts_with(b"-") || self.reply.starts_with(NOTHING);
            if count == 0 || refused {
                let said = crate::units::printable(&self.reply);
                return Err(Error::other(format!("the source answered '{said}'")));
            }
        }
        Ok(())
    }

    fn key(&self, number: usize) -> String {
        format!("foreground:{}:{:03}", self.number, number % KEYS)
    }

    /// One operation: the keys in turn, SET and GET by chance.
    fn operate(&mut self, number: usize, write: bool, value: &[u8]) -> Result<()> {
        let key = self.key(number);
        match write {
            true => self.call(&[b"SET", key.as_bytes(), value], OK),
            false => self.call(&[b"GET", key.as_bytes()], VALUE),
        }
    }

    fn remove(&mut self) -> Result<()> {
        let keys: Vec<String> = (0..KEYS).map(|number| self.key(number)).collect();
        let mut command: Vec<&[u8]> = vec![b"DEL"];
        command.extend(keys.iter().map(String::as_bytes));
        self.call(&command, format!(":{KEYS}\r\n").len())
    }

    fn work(&mut self, end: &OnceLock<Instant>, ready: &Sender<()>) -> Result<Log> {
        let mut random = fastrand::Rng::with_seed(u64::from(self.number));
        let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(SIZE).collect();
        for number in 0..KEYS {
            self.operate(number, true, &value)?;
        }
        let mut log = Log::default();
        // Whoever waited for it may be gone: then the end is near.
        let _ = ready.send(());
        // One after the other, not all at the same time.
        let mut due = Instant::now() + INTERVAL * self.number / CONNECTIONS;
        for number in 0.. {
            due += INTERVAL;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if end.get().is_some_and(|end| due > *end) {
                break;
            }
            let sent = Instant::now();
            self.operate(number, random.bool(), &value)?;
            log.record(due, sent);
        }
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says OK or a value, and stays away for `pause` on every connection once.
    fn slow_server(pause: Duration) -> (String, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    for number in 0.. {
                        let count = stream.read(&mut bytes).unwrap_or(0);
                        if count == 0 {
                            return;
                        }
                        if number == KEYS + 20 {
                            std::thread::sleep(pause);
                        }
                        let reply = match bytes[..count].windows(3).find(|part| part[2] == b'T') {
                            Some(b"GET") => {
                                [b"$100\r\n".as_slice(), &[b'x'; SIZE], b"\r\n"].concat()
                            }
                            _ if bytes.starts_with(b"*101\r\n") => b":100\r\n".to_vec(),
                            _ => b"+OK\r\n".to_vec(),
                        };
                        stream.write_all(&reply).unwrap();
                    }
                });
            }
        });
        ("127.0.0.1".into(), port)
    }

    #[tokio::test]
    async fn operations_that_wait_for_another_one_count_from_when_they_were_due() {
        let pause = Duration::from_millis(300);
        let clients = Clients::start(slow_server(pause)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let waits = clients.end().await.unwrap();
        // What a loaded machine delays shows in the waits, not in the number.
        assert!(waits.operations >= 900, "{waits:?}");
        // Ten operations were away for 300 ms; some 300 were due while they were.
        assert!(waits.max >= 300.0 && waits.p99 > 200.0, "{waits:?}");
    }

    #[tokio::test]
    async fn a_server_that_refuses_ends_it_with_what_it_said() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(b"-NOAUTH no\r\n");
                let _ = stream.read(&mut [0; 64]);
            }
        });
        let error = Clients::start(("127.0.0.1".into(), port)).await.err().unwrap();
        assert!(error.to_string().contains("NOAUTH"), "{error}");
    }

    #[test]
    fn the_run_in_the_middle_speaks_for_all() {
        let run = |p99| Measured {
            client_ms: Some(Waits { p99, ..Waits::default() }),
            ..Measured::default()
        };
        assert_eq!(middle(&[run(9.0), run(1.0), run(4.0)]).unwrap().p99, 4.0);
        assert!(middle(&[Measured::default()]).is_none());
    }
}
