//! Keys that the target holds: those that keyferry wrote itself are told from those of other clients, after
//! a lost answer and in a resumed run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use redis::cmd;
use tempfile::TempDir;

use crate::support::client::{Client, fill_strings};
use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::now_ms;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// Keys that take seconds at the pace of `killed`.
const KEYS: usize = 12_000;

/// A copy with a state file that is killed half-way, then what `between` does, then the same copy.
#[track_caller]
fn resumed(
    source: &Server,
    target: &Server,
    options: &[&str],
    between: impl FnOnce(&mut Client),
) -> Run {
    resumed_at(&source.url(), target, options, between)
}

fn resumed_at(
    source: &str,
    target: &Server,
    options: &[&str],
    between: impl FnOnce(&mut Client),
) -> Run {
    let directory = TempDir::new().expect("a temporary directory");
    let state = directory.path().join("state.json");
    let copy = || {
        let copy = Keyferry::copy(source, target.url()).arg("--state").arg(&state);
        copy.args(options).args(["--connections", "2"])
    };
    let mut there = target.client(0);
    let before = there.dbsize();
    let mut running = copy().args(["--max-keys-rate", "6000"]).start();
    wait_until("a third has arrived", || there.dbsize() > before + KEYS / 3 || running.is_over());
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    running.signal("KILL");
    assert_eq!(running.finish().code(), None);
    between(&mut there);
    copy().run()
}

/// `HPEXPIREAT` of the field `f`.
fn expire_field(client: &mut Client, key: &str, at: i64) {
    client.run(cmd("HPEXPIREAT").arg(key).arg(at).arg("FIELDS").arg(1).arg("f"));
}

/// How the run counts keys of other clients under a policy, and how it ends.
const POLICIES: [(&str, &str, i32); 2] = [("skip", "skipped", 0), ("fail", "failed", 1)];

#[test]
fn an_equal_value_that_expires_at_another_time_is_not_ours_in_a_resumed_run() {
    for (policy, count, code) in POLICIES {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        let theirs = KEYS as u64 / 50;
        let mut equal = redis::pipe();
        for number in (0..KEYS).step_by(50) {
            let value = noise(number as u64 + 1, 20);
            equal.cmd("SET").arg(format!("key:{number}")).arg(value).arg("EX").arg(5_000);
        }
        target.client(0).run_all(&equal);
        let run = resumed(&source, &target, &["--if-exists", policy], |_| {});
        run.assert_code(&[code]);
        run.assert_counts(&[("copied", KEYS as u64 - theirs), (count, theirs)]);
        for number in (0..KEYS).step_by(50) {
            let left: i64 = target.client(0).call(cmd("TTL").arg(format!("key:{number}")));
            assert!(left > 4_000, "key:{number} expires in {left} s");
        }
    }
}

#[test]
fn a_hash_whose_fields_expire_at_another_time_is_not_ours() {
    for kind in [Kind::Redis82, Kind::Valkey91] {
        let (source, target) = (Server::start(kind), Server::start(kind));
        let (mut here, mut there) = (source.client(0), target.client(0));
        fill_strings(&mut here, "key", KEYS, 20);
        let at = now_ms() + 3_600_000;
        for number in 0..200 {
            let name = format!("hash:{number}");
            for client in [&mut here, &mut there] {
                client.run(cmd("HSET").arg(&name).arg("f").arg("v").arg("g").arg("w"));
            }
            expire_field(&mut here, &name, at);
            expire_field(&mut there, &name, at + 60_000);
        }
        let run = resumed(&source, &target, &["--if-exists", "skip"], |_| {});
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", KEYS as u64), ("skipped", 200)]);
    }
}

/// A lane whose answers to all of these keys are lost, once; some of them are equal keys of others that
/// expire at another time.
#[test]
fn an_equal_value_that_expires_at_another_time_is_not_ours_after_a_broken_connection() {
    for (policy, count, code) in POLICIES {
        for fetch in ["auto", "dump"] {
            let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
            let (mut here, mut there) = (source.client(0), target.client(0));
            fill_strings(&mut here, "key", 100, 20);
            for number in 0..10 {
                let name = format!("key:{number}");
                there.run(cmd("SET").arg(&name).arg(noise(number + 1, 20)).arg("EX").arg(900));
            }
            // Its value goes only where the key is written.
            let value: &[u8] = noise(51, 20).leak();
            let behaviour = Behaviour {
                for_answer_to: Some((value, Fault::CloseOnce)),
                ..Behaviour::default()
            };
            let proxy = FaultProxy::start(target.port, behaviour);
            let copy = Keyferry::copy(source.url(), proxy.url());
            let run = copy.args(["--if-exists", policy, "--fetch", fetch]).expect(code);
            assert!(proxy.struck(), "nothing broke{}", run.frame());
            run.assert_counts(&[("copied", 90), (count, 10)]);
        }
    }
}

#[test]
fn a_lost_answer_and_then_a_busy_target_leave_a_key_ours() {
    let large = noise(1, 3_000_000);
    for (fetch, value) in [("auto", &b"value"[..]), ("dump", b"value"), ("auto", &large)] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        source.client(0).set(b"the-key", value);
        // The second time that the key is written the target says that it is busy.
        let times = AtomicU32::new(0);
        let busy = RewritingProxy::start(&target, move |command, _| {
            let writes = matches!(command[0].as_slice(), b"SET" | b"RESTORE");
            // What is only tried on the key holds no value.
            let value = if command[0] == b"SET" { command.get(2) } else { command.get(3) };
            let counts = writes && command[1] == b"the-key" && value.is_some_and(|v| !v.is_empty());
            let second = counts && times.fetch_add(1, Ordering::SeqCst) == 1;
            second.then(|| b"-BUSY Redis is busy running a script\r\n".to_vec())
        });
        let is_large = value.len() > 100;
        let needle: &[u8] = if is_large { b"\r\n$2\r\nNX\r\n" } else { b"value" };
        let behaviour = Behaviour {
            for_answer_to: Some((needle, Fault::CloseOnce)),
            // What is asked before a large value comes has such an end, too.
            spared: if is_large { 1_000_000 } else { 0 },
            ..Behaviour::default()
        };
        let proxy = FaultProxy::start(busy.port, behaviour);
        let copy = Keyferry::copy(source.url(), proxy.url());
        let run = copy.args(["--if-exists", "fail", "--fetch", fetch]).run();
        assert!(proxy.struck(), "nothing broke{}", run.frame());
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", 1)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

#[test]
fn looking_at_many_keys_takes_few_connections() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    // Every other key is somebody else's.
    let mut theirs = redis::pipe();
    for number in (0..KEYS).step_by(2) {
        theirs.cmd("SET").arg(format!("key:{number}")).arg("theirs");
    }
    target.client(0).run_all(&theirs);
    let before = Mutex::new(0);
    let made = |client: &mut Client| -> u64 {
        let made = client.info("stats", "total_connections_received").expect("a number");
        made.parse().expect("a number")
    };
    let run = resumed(&source, &target, &["--if-exists", "skip"], |there| {
        *before.lock().unwrap() = made(there);
    });
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", KEYS as u64 / 2), ("skipped", KEYS as u64 / 2)]);
    let made = made(&mut target.client(0)) - *before.lock().unwrap();
    assert!(made < 40, "{made} connections{}", run.frame());
}

/// Of each type so many.
const LARGE: u64 = 3;

/// Values that go in pieces because they are large, or because the target takes nothing as long at once.
fn fill_large(client: &mut Client) {
    for number in 0..LARGE {
        client.set(format!("large:{number}").as_bytes(), &noise(number, 2_000_000));
        for (command, key) in [("SADD", "set"), ("HSET", "hash")] {
            let mut large = cmd(command);
            large.arg(format!("large:{key}:{number}"));
            for member in 0..30_000 {
                large.arg(format!("{number} {member} {}", "m".repeat(40)));
                if command == "HSET" {
                    large.arg(member);
                }
            }
            client.run(&large);
        }
    }
}

#[test]
fn large_values_of_our_own_are_recognised_in_a_resumed_run() {
    for (limit, policy) in [("512mb", "skip"), ("1mb", "fail")] {
        let source = Server::start(Kind::Redis70);
        let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", limit).start();
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        fill_large(&mut source.client(0));
        // As if the killed run had written all of them and not come to keep that.
        let run = resumed(&source, &target, &["--if-exists", policy], |there| {
            // Of a value that was under way; it would go by itself, within the hour.
            let temporary: Vec<String> = there.call(cmd("KEYS").arg("keyferry:tmp:*"));
            temporary.iter().for_each(|name| there.run(cmd("DEL").arg(name)));
            let rest = Keyferry::copy(source.url(), target.url());
            rest.args(["--if-exists", "skip", "--verify", "none"]).expect(0);
        });
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", KEYS as u64 + 3 * LARGE)]);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

/// Other values under all names that a killed copy has not written.
fn foreign(there: &mut Client) -> u64 {
    let mut other = redis::pipe();
    for number in 0..KEYS {
        other.cmd("SETNX").arg(format!("key:{number}")).arg("other");
    }
    other.cmd("SETNX").arg("large").arg("other");
    there.call_all::<u64>(&other).into_iter().sum()
}

#[test]
fn a_resumed_run_overwrites_nothing() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    source.client(0).set(b"large", &noise(1, 2_000_000));
    let theirs = Mutex::new(0);
    let run = resumed(&source, &target, &[], |there| *theirs.lock().unwrap() = foreign(there));
    run.assert_code(&[1]);
    let theirs = *theirs.lock().unwrap();
    assert!(theirs > 100, "{theirs}");
    assert_eq!((run.count("failed"), run.count("replaced")), (theirs, 0), "{}", run.frame());
    assert!(run.stdout.contains("appeared on the target"), "{}", run.frame());
    let script = "local n = 0 for _, key in ipairs(redis.call('KEYS', '*')) do \
                  if redis.call('GET', key) == 'other' then n = n + 1 end end return n";
    let kept: u64 = target.client(0).call(cmd("EVAL").arg(script).arg(0));
    assert_eq!(kept, theirs, "{}", run.frame());
}

#[test]
fn what_a_run_replaces_that_begins_again_is_told() {
    let source = Mutex::new(Server::start(Kind::Redis70));
    let target = Server::start(Kind::Redis70);
    {
        let source = source.lock().unwrap();
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        source.client(0).set(b"large", &noise(1, 2_000_000));
        source.client(0).run(&cmd("SAVE"));
    }
    let theirs = Mutex::new(0);
    let before = source.lock().unwrap().url();
    let run = resumed_at(&before, &target, &[], |there| {
        *theirs.lock().unwrap() = foreign(there);
        let mut source = source.lock().unwrap();
        source.kill();
        source.start_again();
    });
    run.assert_code(&[0]);
    assert_eq!(run.count("replaced"), *theirs.lock().unwrap(), "{}", run.frame());
    run.assert_says(&["keys that were on the target already were replaced"]);
    assert_equal(&source.lock().unwrap(), &target, &[(0, 0)]);
}
