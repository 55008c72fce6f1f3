//! Copies through faults that a seed chooses: whatever happens, a run ends with equal data, or with an
//! error and the names of exactly the keys that differ. Where a server goes away for good nobody can
//! know all of these: then with what can be known, and with that said.
//!
//! `make soak` runs hundreds of them; `KEYFERRY_SEED=N make soak` runs one again.

mod check;
mod data;
mod plan;
mod upheaval;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::from_environment;
use crate::support::fault_proxy::FaultProxy;
use crate::support::keyferry::Keyferry;
use crate::support::server::Server;
use check::End;
use data::Sources;
use plan::Plan;

/// Runs at once: each keeps two servers, a proxy and keyferry busy.
const AT_ONCE: usize = 2;

/// Bytes of replies after which a server has greeted at least once: three greetings of the longest.
const GREETINGS: u64 = 400;

/// One run; panics with what is wrong.
fn run(seed: u64, keys: usize, sources: &Sources) -> (End, String) {
    let plan = Plan::of(seed, keys);
    let source = sources.get(plan.kinds[0]);
    let mut target = Server::start(plan.kinds[1]);
    let present = data::add_short_lived(source, &plan);
    let [at_source, at_target] = [source.port, target.port];
    let from = FaultProxy::scripted(at_source, plan.at_source.clone());
    let into = FaultProxy::scripted(at_target, plan.at_target.clone());
    let copy = Keyferry::copy(from.url(), into.url()).args(&plan.options);
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let failures = directory.path().join("failures.jsonl");
    let moving = data::moving(keys);
    let clients = moving.start(source);
    let mut running = copy.arg("--failures").arg(&failures).start();
    upheaval::cause(&plan, &into, &mut target, &mut running);
    let run = running.finish_within(plan::LIMIT);
    clients.stop();
    let wrong = moving.wrong_on(&target, sources.since);
    assert!(wrong.is_empty(), "expiries of another moment: {wrong:#?}{}", run.frame());
    let greeted = [&from, &into].iter().all(|proxy| proxy.reply_bytes() >= GREETINGS);
    let (end, told) = check::check(&plan, &run, source, &target, &failures, (present, greeted));
    let left = [from.to_come(), into.to_come()];
    (end, format!("{told}; faults that did not come: {left:?}"))
}

/// The seeds from `first` on, with so many of which no server goes away for good; the others come on top.
fn seeds(first: u64, runs: u64, keys: usize) -> Vec<u64> {
    let mut left = runs;
    (first..)
        .take_while(|&seed| {
            let more = left > 0;
            left -= u64::from(more && Plan::of(seed, keys).deadly.is_none());
            more
        })
        .collect()
}

/// Runs these seeds; panics with those that failed.
fn run_all(seeds: &[u64], keys: usize) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let ends = Mutex::new(BTreeMap::<(End, bool), usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(seeds.len()) {
            scope.spawn(|| {
                // Its own: a run adds keys to its source.
                let sources = Sources::new(keys);
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let one = || run(seed, keys, &sources);
                    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(one)) {
                        Ok((end, told)) => {
                            let deadly = Plan::of(seed, keys).deadly.is_some();
                            *ends.lock().expect("no panic").entry((end, deadly)).or_default() += 1;
                            eprintln!("seed {seed}: {told}");
                        }
                        Err(_) => {
                            eprintln!("seed {seed} FAILED: {:#?}", Plan::of(seed, keys));
                            failed.lock().expect("nobody panics with it").push(seed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics with it");
    let count = seeds.len();
    assert!(
        failed.is_empty(),
        "{} of {count} runs failed; each runs again by KEYFERRY_SEED=N make soak, N of {failed:?}",
        failed.len()
    );
    let ends = ends.into_inner().expect("nobody panics with it");
    for deadly in [false, true] {
        let of = |end| ends.get(&(end, deadly)).copied().unwrap_or_default();
        eprintln!(
            "{}: {} ended with equal data, {} with exactly the keys named that differ, {} with what is \
             known of them, {} before a server had answered",
            if deadly { "a server went away for good" } else { "whoever went came back" },
            of(End::Equal),
            of(End::Named),
            of(End::Gone),
            of(End::Unmet),
        );
    }
}

#[test]
fn a_few_runs() {
    // Few enough that no server moves its keys to a larger table meanwhile, and SCAN names them once.
    run_all(&[1, 2, 3, 4, 5, 6, 7, 8], 2_700);
}

#[test]
#[ignore = "takes a quarter of an hour: make soak"]
fn soak() {
    let keys = from_environment("KEYFERRY_KEYS").unwrap_or(30_000);
    let keys = usize::try_from(keys).expect("a number that fits");
    if let Some(seed) = from_environment("KEYFERRY_SEED") {
        return run_all(&[seed], keys);
    }
    let first = from_environment("KEYFERRY_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    let runs = from_environment("KEYFERRY_RUNS").unwrap_or(200);
    run_all(&seeds(first, runs, keys), keys);
}
