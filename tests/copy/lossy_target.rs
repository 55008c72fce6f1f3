//! A move into a target that loses what it was given: a key is deleted only while the target keeps it.

use std::collections::BTreeSet;

use redis::{Cmd, cmd};

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, Running};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 4_000;
/// Slow enough that there is time to strike while keys are deleted.
const SLOW: [&str; 2] = ["--max-keys-rate", "2500"];

/// The keys that were deleted and may be lost, as the run names them.
#[track_caller]
fn in_doubt(run: &Run) -> BTreeSet<String> {
    let named = run.report()["deleted_in_doubt"].as_array().expect("a list");
    let key = |entry: &serde_json::Value| entry["key"].as_str().expect("a key").to_owned();
    let named: BTreeSet<String> = named.iter().map(key).collect();
    for key in &named {
        assert!(run.stdout.contains(&format!("\"{key}\"")), "{key} is not told{}", run.frame());
    }
    named
}

fn names(server: &Server) -> BTreeSet<String> {
    server.client(0).call::<Vec<String>>(cmd("KEYS").arg("*")).into_iter().collect()
}

/// Waits until the first keys have gone from the source, strikes the target, and waits for the end.
#[track_caller]
fn strike(source: &Server, mut running: Running, target: &Server, blow: &Cmd) -> Run {
    let mut client = source.client(0);
    wait_until("the first keys have gone", || client.dbsize() < KEYS || running.is_over());
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    target.client(0).run(blow);
    running.finish()
}

/// Fails unless nothing was deleted any more, and what was deleted in vain is counted and named.
#[track_caller]
fn has_stopped(run: &Run, source: &Server, why: &str) {
    run.assert_code(&[1]);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(&["target", why]);
    let left = names(source);
    assert!(left.len() > KEYS / 4, "it went on deleting{}", run.frame());
    let gone = (KEYS - left.len()) as u64;
    assert_eq!(run.count("deleted_from_source"), gone, "{}", run.frame());
    let doubtful = in_doubt(run);
    assert!(doubtful.is_disjoint(&left), "what is still there is not in doubt{}", run.frame());
    assert!(!run.stdout.contains("Verified"), "{}", run.frame());
}

fn flushall() -> Cmd {
    cmd("FLUSHALL").arg("SYNC").clone()
}

#[test]
fn one_that_is_flushed_while_keys_are_deleted_stops_the_move() {
    let swap = cmd("SWAPDB").arg(0).arg(1).clone();
    let blows = [(flushall(), "FLUSHALL"), (cmd("FLUSHDB"), "FLUSHDB"), (swap, "SWAPDB")];
    for (blow, why) in blows {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        let copy = Keyferry::copy(source.url(), target.url());
        let running = copy.args(SLOW).arg("--delete-source").start();
        let run = strike(&source, running, &target, &blow);
        has_stopped(&run, &source, why);
    }
}

#[test]
fn one_that_is_flushed_stops_a_clean_up() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let running = Keyferry::cleanup(source.url(), target.url()).args(SLOW).arg("--force").start();
    let run = strike(&source, running, &target, &flushall());
    has_stopped(&run, &source, "FLUSHALL");
}

#[test]
fn one_whose_keys_others_delete_stops_the_move() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    let running =
        Keyferry::copy(source.url(), target.url()).args(SLOW).arg("--delete-source").start();
    let script = "for n = 0, 3999 do redis.call('DEL', 'key:' .. n) end";
    let run = strike(&source, running, &target, cmd("EVAL").arg(script).arg(0));
    has_stopped(&run, &source, "lost");
}

#[test]
fn one_that_is_flushed_while_keys_are_copied_costs_no_key() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    let running =
        Keyferry::copy(source.url(), target.url()).args(SLOW).arg("--delete-source").start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > KEYS / 8);
    client.run(&flushall());
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["FLUSHALL", "nothing was deleted"]);
    assert_eq!(source.client(0).dbsize(), KEYS, "{}", run.frame());
}

#[test]
fn keys_that_expire_on_the_target_are_no_loss() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    // They go on both sides while keys are deleted.
    let mut short = redis::pipe();
    for number in 0..2_000 {
        let at = crate::support::now_ms() + 1_800 + number;
        short.cmd("SET").arg(format!("short:{number}")).arg("value").arg("PXAT").arg(at);
    }
    source.client(0).run_all(&short);
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--max-keys-rate", "4000", "--delete-source"])
        .expect(0);
    assert_eq!(source.client(0).dbsize(), 0, "{}", run.frame());
    assert!(target.client(0).dbsize() >= KEYS, "{}", run.frame());
}

/// A source, and an empty target that has memory for four fifths of its keys and evicts the rest.
fn evicting() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let used = |server: &Server| -> u64 {
        let used = server.client(0).info("memory", "used_memory").expect("used_memory");
        used.parse().expect("a number")
    };
    let empty = used(&source);
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    let limit = used(&target) + (used(&source) - empty) * 4 / 5;
    let mut set = target.client(0);
    set.run(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru"));
    set.run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit));
    (source, target)
}

#[test]
fn one_that_evicts_is_refused() {
    let (source, target) = evicting();
    let commands = [
        Keyferry::copy(source.url(), target.url()).arg("--delete-source"),
        Keyferry::copy(source.url(), target.url()).args(["--delete-source", "--dry-run"]),
        Keyferry::cleanup(source.url(), target.url()).arg("--force"),
    ];
    for command in commands {
        let run = command.expect(4);
        run.assert_says(&["evicts", "allkeys-lru", "noeviction", "--allow-evicting-target"]);
        assert_eq!(run.outcome(), "refused", "{}", run.frame());
    }
    let run = Keyferry::plan(source.url(), target.url()).arg("--delete-source").expect(4);
    assert!(
        run.findings("blocker").contains(&"target-evicts of target".to_owned()),
        "{}",
        run.frame()
    );
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (20_000, 0));
    // Nothing is deleted by a copy.
    Keyferry::copy(source.url(), target.url()).args(["--match", "key:1??"]).expect(0);
}

#[test]
fn one_that_hides_whether_it_evicts_is_asked_for_its_configuration() {
    use crate::support::rewriting_proxy::RewritingProxy;
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 100, 20);
    let hidden = RewritingProxy::of_info(&target, |info| {
        let told = |line: &&str| !line.starts_with("maxmemory");
        info.split("\r\n").filter(told).collect::<Vec<_>>().join("\r\n")
    });
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("writer").arg("on").arg("nopass").arg(&["~*", "+@all", "-config"]);
    target.client(0).run(&user);
    let url = format!("redis://writer:x@127.0.0.1:{}", hidden.port);
    let run = Keyferry::copy(source.url(), url).arg("--delete-source").expect(4);
    run.assert_says(&["whether it evicts", "--allow-evicting-target"]);
    Keyferry::copy(source.url(), hidden.url()).arg("--delete-source").expect(0);
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, 100));
}

#[test]
fn one_that_may_evict_by_leave_costs_no_key_that_is_not_named() {
    let (source, target) = evicting();
    let all = names(&source);
    let options = ["--delete-source", "--allow-evicting-target"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).run();
    let there: BTreeSet<String> = names(&source).union(&names(&target)).cloned().collect();
    let lost: BTreeSet<String> = all.difference(&there).cloned().collect();
    let named = in_doubt(&run);
    assert!(lost.is_subset(&named), "{} lost{}", lost.len(), run.frame());
    // It did evict, and that was not passed over.
    run.assert_code(&[1]);
    run.assert_says(&["evicted"]);
}

#[test]
fn one_that_has_room_is_moved_into_by_leave() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    let mut set = target.client(0);
    set.run(cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("volatile-lru"));
    set.run(cmd("CONFIG").arg("SET").arg("maxmemory").arg("100mb"));
    let options = ["--delete-source", "--allow-evicting-target"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    assert!(run.stdout.contains("Verified (full): of the 4,000 keys deleted"), "{}", run.frame());
    assert_eq!(run.report()["verify"]["mode"], "full", "{}", run.frame());
    assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (0, KEYS));
    assert!(in_doubt(&run).is_empty(), "{}", run.frame());
}
