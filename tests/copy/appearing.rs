//! A target that was empty when the copy began: what other clients put there meanwhile stays.

use std::collections::BTreeSet;
use std::sync::Mutex;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

const STRINGS: usize = 6_000;
const HASHES: usize = 600;
const ALL: u64 = (STRINGS + HASHES) as u64;
/// What another client writes.
const NEWER: &[u8] = b"newer";
/// What slows the copy down.
const SLOW: [&str; 2] = ["--max-keys-rate", "3000"];

/// Strings, of which some expire, and hashes.
fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    let mut client = source.client(0);
    fill_strings(&mut client, "key", STRINGS, 50);
    let mut more = redis::pipe();
    for number in 0..HASHES {
        more.cmd("HSET").arg(format!("hash:{number}")).arg("field").arg(number);
        more.cmd("EXPIRE").arg(format!("key:{}", number * 7)).arg(5_000);
    }
    client.run_all(&more);
    source
}

fn names() -> Vec<String> {
    let strings = (0..STRINGS).map(|number| format!("key:{number}"));
    strings.chain((0..HASHES).map(|number| format!("hash:{number}"))).collect()
}

/// The keys that a run names as failed.
fn failed(run: &Run) -> BTreeSet<String> {
    let failures = run.report()["failures"].as_array().cloned().unwrap_or_default();
    failures.iter().map(|failure| failure["key"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_foreign_key_is_never_overwritten() {
    for fetch in ["auto", "dump"] {
        let (source, target) = (source(), Server::start(Kind::Redis70));
        let copy = Keyferry::copy(source.url(), target.url()).args(SLOW).args(["--fetch", fetch]);
        let mut running = copy.start();
        let mut there = target.client(0);
        wait_until("the first keys have arrived", || there.dbsize() > 100 || running.is_over());
        // Some names that are not there yet, all over the keyspace.
        let mut foreign = BTreeSet::new();
        for name in names().into_iter().step_by(13) {
            if there.call(cmd("SETNX").arg(&name).arg(NEWER)) {
                foreign.insert(name);
            }
        }
        let run = running.finish();
        assert!(foreign.len() > 50, "the copy was too fast: {}", foreign.len());
        for name in &foreign {
            let held = there.get(name.as_bytes());
            assert_eq!(held.as_deref(), Some(NEWER), "{name} was overwritten{}", run.frame());
        }
        run.assert_code(&[1]);
        run.assert_counts(&[
            ("copied", ALL - foreign.len() as u64),
            ("failed", foreign.len() as u64),
        ]);
        assert_eq!(failed(&run), foreign, "{}", run.frame());
        let why = run.report()["failures"][0]["error"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("appeared on the target during the copy"), "{why}");
    }
}

/// Runs two copies into one target at the same time; again, should one of them find the other's keys at
/// its begin.
fn at_once(sources: [&Server; 2], target: &Server) -> [Run; 2] {
    for _ in 0..20 {
        let copy = |source: &Server| {
            Keyferry::copy(source.url(), target.url()).args(SLOW).args(["--verify", "none"]).start()
        };
        let running = sources.map(copy);
        let runs = running.map(|running| running.finish());
        if runs.iter().all(|run| run.code() != Some(4)) {
            return runs;
        }
        target.client(0).run(&cmd("FLUSHALL"));
    }
    panic!("the two copies never began together");
}

#[test]
fn two_copies_at_once_do_not_overwrite_each_other() {
    let (one, other) = (source(), Server::start(Kind::Redis70));
    let mut client = other.client(0);
    // The same names, other values.
    fill_strings(&mut client, "key", STRINGS, 51);
    let target = Server::start(Kind::Redis70);
    let runs = at_once([&one, &other], &target);
    let mut there = target.client(0);
    let (mut from_one, mut from_other) = (0, 0);
    for number in 0..STRINGS {
        let held = there.get(format!("key:{number}").as_bytes()).expect("it is there");
        match held.len() {
            50 => from_one += 1,
            51 => from_other += 1,
            length => panic!("a value of {length} bytes"),
        }
    }
    let [one, other] = &runs;
    assert_eq!(one.count("copied"), from_one + HASHES as u64, "{}", one.frame());
    assert_eq!(other.count("copied"), from_other, "{}", other.frame());
    assert_eq!(one.count("failed"), from_other, "{}", one.frame());
    assert_eq!(other.count("failed"), from_one, "{}", other.frame());
}

#[test]
fn two_copies_of_the_same_keys_at_once_both_succeed() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    source.client(0).set(b"large", &noise(1, 3_000_000));
    let mut members = cmd("SADD");
    members.arg("large:set");
    members.arg((0..60_000).map(|number| format!("member {number}")).collect::<Vec<_>>());
    source.client(0).run(&members);
    for run in at_once([&source, &source], &target) {
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", ALL + 2)]);
    }
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn large_values_and_values_in_pieces_of_other_clients_stay() {
    let source = Server::start(Kind::Redis70);
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "4mb").start();
    let mut client = source.client(0);
    fill_strings(&mut client, "key", 3_000, 50);
    for number in 0..4 {
        client.set(format!("large:{number}").as_bytes(), &noise(number, 3_000_000));
        client.set(format!("pieces:{number}").as_bytes(), &noise(number, 6_000_000));
    }
    let mut running = Keyferry::copy(source.url(), target.url())
        .args(["--connections", "1", "--max-rate", "8MiB"])
        .start();
    let mut there = target.client(0);
    wait_until("the first keys have arrived", || there.dbsize() > 10 || running.is_over());
    let mut foreign = BTreeSet::new();
    for number in 0..4 {
        for kind in ["large", "pieces"] {
            let name = format!("{kind}:{number}");
            if there.call(cmd("SETNX").arg(&name).arg(NEWER)) {
                foreign.insert(name);
            }
        }
    }
    let run = running.finish();
    assert!(!foreign.is_empty(), "the copy was too fast");
    assert_eq!(failed(&run), foreign, "{}", run.frame());
    for name in &foreign {
        assert_eq!(there.get(name.as_bytes()).as_deref(), Some(NEWER), "{name}");
    }
    run.assert_code(&[1]);
}

#[test]
fn strings_go_several_at_once_if_the_user_may() {
    for (denied, several) in [("+@all", true), ("-msetnx", false), ("-mset", true)] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", 500, 20);
        target.client(0).run(cmd("ACL").arg("SETUSER").arg("default").arg(denied));
        target.reset_commands();
        Keyferry::copy(source.url(), target.url()).expect(0).assert_counts(&[("copied", 500)]);
        // What is left of a batch may be a single one.
        let one_by_one = target.calls("set");
        assert_eq!(one_by_one < 100, several, "{one_by_one} with {denied}");
        target.client(0).run(cmd("ACL").arg("SETUSER").arg("default").arg("+@all"));
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

/// The header and the names of a page of SCAN, both in wire form, and how many names there are.
fn page(reply: &[u8]) -> (&[u8], &[u8], usize) {
    let line_end = |from: usize| from + reply[from..].iter().position(|&b| b == b'\n').unwrap() + 1;
    // `*2`, the cursor's length, the cursor, `*N`.
    let count_at = line_end(line_end(line_end(0)));
    let names_at = line_end(count_at);
    let count = std::str::from_utf8(&reply[count_at + 1..names_at - 2]).expect("a number");
    (&reply[..count_at], &reply[names_at..], count.parse().expect("a number"))
}

#[test]
fn a_name_that_scan_repeats_is_no_foreign_key() {
    for policy in [&[][..], &["--if-exists", "fail"]] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", 5_000, 20);
        let writer = Mutex::new(source.client(0));
        let last = Mutex::new(None::<(Vec<u8>, usize)>);
        // Each page names those of the page before once more, whose values were changed since.
        let proxy = RewritingProxy::start(&source, move |command, reply| {
            if command[0] != b"SCAN" || reply.first() != Some(&b'*') {
                return None;
            }
            let (head, names, count) = page(reply);
            let before = last.lock().unwrap().replace((names.to_vec(), count));
            let (names_before, count_before) = before.unwrap_or_default();
            let mut changes = redis::pipe();
            for name in names_before.split(|&b| b == b'\n').filter(|line| line.starts_with(b"key"))
            {
                changes.cmd("APPEND").arg(&name[..name.len() - 1]).arg("x");
            }
            if count_before > 0 {
                writer.lock().unwrap().run_all(&changes);
            }
            let header = format!("*{}\r\n", count + count_before).into_bytes();
            Some([head, &header, &names_before, names].concat())
        });
        // The pages of other databases, which are looked at, too, name the same keys.
        let copy =
            Keyferry::copy(proxy.url(), target.url()).args(["--verify", "none", "--db", "0"]);
        let run = copy.args(policy).expect(0);
        run.assert_counts(&[("copied", 5_000)]);
    }
}
