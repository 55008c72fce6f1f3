//! Clients that give keys an expiry and take it away again while something reads them. The values tell what
//! they were set with, so that a value beside an expiry which it never had shows, wherever it ends up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::{Pipeline, cmd};

use super::now_ms;
use super::reading::{Content, Expiry, Reader};
use super::server::Server;
use super::shown;

/// Names are so long: a TCP segment then holds some ten commands.
const NAME: usize = 70;

/// Lives that clients give, in seconds: none ends while a test runs.
const LIVES: std::ops::Range<i64> = 1_000..2_000;

/// The life of a lock, in seconds.
const LOCK: i64 = 30;

/// How much later than the client's clock says the server may have carried a command out, in milliseconds.
const LATE: i64 = 20_000;

/// One kind of clients and their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `SET k v`, `SET k v EX n`, `SET k v PXAT t`.
    Flips,
    /// `EXPIRE`, `PERSIST`.
    Persists,
    /// `SET k v NX EX 30`, and `DEL` soon after; none is left at the end.
    Locks,
    /// A hash that is written anew in a transaction, with an expiry or without.
    Hashes,
    /// Never touched: neither kind has an expiry.
    Lasting,
}

impl Family {
    /// The name of its key of this number.
    pub(crate) fn key(self, number: usize) -> String {
        let family = format!("moment:{self:?}:");
        format!("{family}{number:0>width$}", width = NAME - family.len())
    }
}

/// Is it a key of these clients, whose value and expiry change all the time?
pub(crate) fn is_moving(key: &[u8]) -> bool {
    key.starts_with(b"moment:") && !key.starts_with(b"moment:Lasting")
}

/// The keys of some families, so many of each, in one database.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) families: Vec<(Family, usize)>,
    pub(crate) db: u32,
    /// How long each client rests behind 100 commands.
    pub(crate) rest: Duration,
}

/// Clients at work, until they are stopped.
pub(crate) struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Keys {
    /// Sets them all, without an expiry.
    #[track_caller]
    pub(crate) fn fill(&self, server: &Server) {
        const BATCH: usize = 1_000;
        let mut client = server.client(self.db);
        for &(family, count) in self.families.iter().filter(|(of, _)| *of != Family::Locks) {
            for from in (0..count).step_by(BATCH) {
                let mut batch = redis::pipe();
                for number in from..count.min(from + BATCH) {
                    let key = family.key(number);
                    match family {
                        Family::Hashes => batch.cmd("HSET").arg(key).arg("v").arg("p:0"),
                        Family::Persists => batch.cmd("SET").arg(key).arg("x:0"),
                        _ => batch.cmd("SET").arg(key).arg("p:0"),
                    };
                }
                client.run_all(&batch);
            }
        }
    }

    /// Starts one client for each family that is touched.
    #[track_caller]
    pub(crate) fn start(&self, server: &Server) -> Clients {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for &(family, count) in &self.families {
            if family == Family::Lasting || count == 0 {
                continue;
            }
            let (mut client, over, rest) = (server.client(self.db), Arc::clone(&over), self.rest);
            threads.push(std::thread::spawn(move || {
                let mut dice = fastrand::Rng::with_seed(count as u64);
                let mut rounds = 0;
                while !over.load(Ordering::SeqCst) {
                    let mut batch = redis::pipe();
                    for _ in 0..100 {
                        add(&mut batch, family, dice.usize(..count), &mut dice);
                    }
                    client.run_all(&batch);
                    rounds += 1;
                    std::thread::sleep(rest);
                }
                if family == Family::Locks {
                    let locks: Vec<String> = (0..count).map(|number| family.key(number)).collect();
                    client.run(cmd("DEL").arg(locks));
                }
                rounds
            }));
        }
        Clients { over, threads }
    }

    /// Each key on a server that has a value beside an expiry which never belonged to it. The clients have
    /// worked from `start` on.
    #[track_caller]
    pub(crate) fn wrong_on(&self, server: &Server, start: i64) -> Vec<String> {
        let mut reader = Reader::new(server, self.db);
        let slack = if reader.absolute { 50 } else { 1_000 };
        let names: Vec<Vec<u8>> =
            reader.keys().into_iter().filter(|key| key.starts_with(b"moment:")).collect();
        let expiries = reader.expiries(&names);
        let contents = reader.contents(&names);
        let mut wrong = Vec::new();
        for ((name, content), expiry) in names.iter().zip(contents).zip(expiries) {
            let value = match content {
                Some(Content::Bytes(bytes)) => bytes,
                Some(Content::Hash(mut fields)) => fields.remove(&b"v"[..]).expect("one field").0,
                // A lock that has expired since.
                None => continue,
                Some(other) => panic!("{} holds {other:?}", shown(name)),
            };
            let value = String::from_utf8(value).expect("text");
            if !fits(&value, expiry, start, slack) {
                let (family, number) = name.split_at(name.len() - 10);
                let family = String::from_utf8_lossy(family);
                let number = String::from_utf8_lossy(number);
                wrong.push(format!("{}…{number}: {value} expires {expiry:?}", &family[..16]));
            }
        }
        wrong
    }
}

impl Clients {
    /// Ends them.
    pub(crate) fn stop(self) {
        self.over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            let rounds = thread.join().expect("a client does not panic");
            assert!(rounds > 0, "a client has written nothing");
        }
    }
}

/// What a client of this family does to one key.
fn add(batch: &mut Pipeline, family: Family, number: usize, dice: &mut fastrand::Rng) {
    let (key, now, life) = (family.key(number), now_ms(), dice.i64(LIVES));
    let at = now + life * 1_000;
    match (family, dice.u8(..4)) {
        (Family::Flips, 0) => {
            batch.cmd("SET").arg(key).arg(format!("s:{at}")).arg("EX").arg(life);
        }
        (Family::Flips, 1) => {
            batch.cmd("SET").arg(key).arg(format!("e:{at}")).arg("PXAT").arg(at);
        }
        (Family::Flips, _) => {
            batch.cmd("SET").arg(key).arg(format!("p:{now}"));
        }
        (Family::Persists, 0 | 1) => {
            batch.cmd("EXPIRE").arg(key).arg(life);
        }
        (Family::Persists, _) => {
            batch.cmd("PERSIST").arg(key);
        }
        (Family::Locks, 0 | 1) => {
            let value = format!("s:{}", now + LOCK * 1_000);
            batch.cmd("SET").arg(key).arg(value).arg("NX").arg("EX").arg(LOCK);
        }
        (Family::Locks, _) => {
            batch.cmd("DEL").arg(key);
        }
        (Family::Hashes, choice) => {
            let value = if choice > 1 { format!("p:{now}") } else { format!("e:{at}") };
            batch.cmd("MULTI");
            batch.cmd("DEL").arg(&key);
            batch.cmd("HSET").arg(&key).arg("v").arg(value);
            if choice < 2 {
                batch.cmd("PEXPIREAT").arg(&key).arg(at);
            }
            batch.cmd("EXEC");
        }
        (Family::Lasting, _) => unreachable!("nobody touches them"),
    }
}

/// May a value have this expiry? `p`: set without; `e:AT`, `s:AT`: set with that one, exactly or as counted
/// from the client's clock; `x`: given one and deprived of it.
fn fits(value: &str, expiry: Expiry, start: i64, slack: i64) -> bool {
    let (kind, number) = value.split_once(':').expect("a kind and a number");
    let number: i64 = number.parse().expect("a number");
    match (kind, expiry) {
        ("p" | "x", Expiry::Never) => true,
        ("e", Expiry::At(at)) => at.abs_diff(number) <= slack.unsigned_abs(),
        ("s", Expiry::At(at)) => (number - 1_000..number + LATE).contains(&at),
        ("x", Expiry::At(at)) => {
            let (first, last) = (start + LIVES.start * 1_000, now_ms() + LIVES.end * 1_000);
            (first - 1_000..last + 1_000).contains(&at)
        }
        // A lock that has expired between two looks.
        ("s", Expiry::Missing) => true,
        _ => false,
    }
}

/// Deletes from `server` the keys of the families that `source` does not hold: a copy leaves what was deleted
/// in the meantime.
#[track_caller]
pub(crate) fn delete_what_is_gone(source: &Server, server: &Server, db: u32) -> usize {
    let (mut from, mut to) = (Reader::new(source, db), Reader::new(server, db));
    let (held, mut client) = (from.keys(), server.client(db));
    let gone: Vec<Vec<u8>> =
        to.keys().into_iter().filter(|key| is_moving(key) && !held.contains(key)).collect();
    for names in gone.chunks(1_000) {
        client.run(cmd("DEL").arg(names));
    }
    gone.len()
}
