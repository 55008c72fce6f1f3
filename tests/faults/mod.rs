//! What breaks half-way, with a copy that is slowed down so that it is really half-way.

mod breaking;
mod failing_over;
mod given_up;
mod moves;
mod random;
mod refusing;
mod replies;
mod source_restarting;
mod target_restarting;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// Keys of database 0, which take some seconds at the pace below.
const KEYS: usize = 5_000;
/// Keys of database 1, which is done at once.
const FEW: usize = 20;
/// Both databases.
const PAIRS: [(u32, u32); 2] = [(0, 0), (1, 1)];
/// Keys that have arrived when something breaks.
const ARRIVED: usize = 500;
/// What slows the copy down.
const SLOW: [&str; 2] = ["--max-keys-rate", "1500"];

/// A source with keys in two databases.
fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    fill(&source);
    source
}

fn fill(source: &Server) {
    fill_strings(&mut source.client(0), "key", KEYS, 100);
    fill_strings(&mut source.client(1), "few", FEW, 100);
    // Beside the strings, which go by value.
    let mut lists = redis::pipe();
    for number in 0..KEYS / 10 {
        lists.cmd("RPUSH").arg(format!("list:{number}")).arg(number).arg("b");
    }
    source.client(0).run_all(&lists);
}

/// The keys of both databases.
const ALL: u64 = (KEYS + KEYS / 10 + FEW) as u64;

/// Starts the copy and waits until it is half-way: database 1 is done, database 0 is not.
#[track_caller]
fn half_way(source: &str, target_url: &str, target: &Server, options: &[&str]) -> Running {
    let mut running = Keyferry::copy(source, target_url).args(SLOW).args(options).start();
    let (mut zero, mut one) = (target.client(0), target.client(1));
    wait_until("the first keys have arrived", || {
        assert!(!running.is_over(), "it ended before it was half-way");
        zero.dbsize() >= ARRIVED && one.dbsize() == FEW
    });
    running
}

/// A database and a key.
type Key = (u32, Vec<u8>);

/// The keys in a file of dead letters, and why each was not copied.
#[track_caller]
fn letters(path: &Path) -> Vec<(Key, String)> {
    let text = std::fs::read_to_string(path).expect("the file of failures can be read");
    let read = |line: &str| {
        let letter: Value = serde_json::from_str(line).expect("a line of JSON");
        let db = letter["db"].as_u64().expect("a database");
        let name = from_hex(letter["hex"].as_str().expect("the key in hexadecimal digits"));
        let why = letter["error"].as_str().expect("a reason").to_owned();
        ((u32::try_from(db).expect("small"), name), why)
    };
    text.lines().map(read).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A whole number from the environment.
fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no whole number")))
}

/// Works on all of these, so many at once, each thread with servers of its own, and answers what came of
/// them; panics with those that failed.
fn work_on<Case: Display + Sync, Place, Made: Send>(
    cases: &[Case],
    at_once: usize,
    place: impl Fn() -> Place + Sync,
    work: impl Fn(&mut Place, &Case) -> Made + Sync,
) -> Vec<Made> {
    let next = AtomicUsize::new(0);
    let (made, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(cases.len()) {
            scope.spawn(|| {
                let mut place = place();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(number) else { return };
                    match catch_unwind(AssertUnwindSafe(|| work(&mut place, case))) {
                        Ok(one) => made.lock().expect("nobody panics with it").push((number, one)),
                        Err(why) => {
                            let why = first_line(why.downcast_ref::<String>());
                            eprintln!("FAILED: {case}: {why}");
                            let mut failed = failed.lock().expect("nobody panics with it");
                            failed.push(format!("{case}: {why}"));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    let list = failed.join("\n  ");
    assert!(failed.is_empty(), "{} of {} failed:\n  {list}", failed.len(), cases.len());
    let mut made = made.into_inner().expect("nobody panics with it");
    made.sort_by_key(|(number, _)| *number);
    made.into_iter().map(|(_, one)| one).collect()
}

fn first_line(text: Option<&String>) -> String {
    const LONGEST: usize = 300;
    let line = text.and_then(|text| text.lines().next()).unwrap_or("a panic without words");
    line.chars().take(LONGEST).collect()
}
