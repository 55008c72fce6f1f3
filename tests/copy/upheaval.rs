//! Databases that are exchanged, emptied or restarted beside a run, on either side, told or not.

use std::sync::{Arc, Mutex};

use redis::{Cmd, cmd};
use tempfile::TempDir;

use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, Run, Running};
use crate::support::rewriting_proxy::{RewritingProxy, with_keyspace, without_lines};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 4_000;
/// Slow enough that there is time to strike.
const SLOW: [&str; 2] = ["--max-keys-rate", "2500"];

fn redis() -> Server {
    Server::start(Kind::Redis70)
}

fn filled() -> Server {
    let server = redis();
    fill_strings(&mut server.client(0), "key", KEYS, 20);
    server.wait_for_certain_counters();
    server
}

fn swap() -> Cmd {
    cmd("SWAPDB").arg(0).arg(1).clone()
}

fn reset() -> Cmd {
    cmd("CONFIG").arg("RESETSTAT").clone()
}

fn flushall() -> Cmd {
    cmd("FLUSHALL").arg("SYNC").clone()
}

/// Strikes once a part of the keys is where `half_way` says, and waits for the end.
#[track_caller]
fn strike(
    mut running: Running,
    mut half_way: impl FnMut() -> bool,
    at: &Server,
    blows: &[Cmd],
) -> Run {
    wait_until("a part is done", || half_way() || running.is_over());
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    for blow in blows {
        at.client(0).run(blow);
    }
    running.finish()
}

/// A target with other values of the same names in another database: names cannot tell them apart.
fn twins() -> Server {
    let target = redis();
    fill_strings(&mut target.client(1), "key", KEYS, 10);
    target
}

#[test]
fn exchanged_databases_of_the_target_are_told() {
    for policy in ["replace", "skip", "merge"] {
        for (blows, why) in [(vec![swap()], "SWAPDB"), (vec![swap(), reset()], "RESETSTAT")] {
            let (source, target) = (filled(), twins());
            let copy = Keyferry::copy(source.url(), target.url());
            let running = copy.args(SLOW).args(["--db", "0", "--if-exists", policy]).start();
            let mut client = target.client(0);
            let run = strike(running, || client.dbsize() > KEYS / 8, &target, &blows);
            run.assert_code(&[1]);
            run.assert_says(&["target", why]);
            assert!(!run.stdout.contains("Verified"), "{policy}{}", run.frame());
            let different = run.report()["verify"]["different"].as_u64().unwrap_or_default();
            assert!(different > 0, "{policy}{}", run.frame());
        }
    }
}

#[test]
fn what_may_have_been_exchanged_is_compared_by_value_and_not_accused() {
    let others = cmd("SWAPDB").arg(2).arg(3).clone();
    for (of_source, blow) in [(false, reset()), (false, others), (true, reset())] {
        let (source, target) = (redis(), redis());
        fill_strings(&mut source.client(0), "key", KEYS, 20);
        let running = Keyferry::copy(source.url(), target.url()).args(SLOW).start();
        let mut client = target.client(0);
        let at = if of_source { &source } else { &target };
        // A write, or the source's count of changes would show that nothing happened.
        let touch = cmd("SET").arg("key:0").arg("other").clone();
        let blows = if of_source { vec![touch, blow] } else { vec![blow] };
        let run = strike(running, || client.dbsize() > KEYS / 8, at, &blows);
        if !of_source {
            run.assert_code(&[0]);
            assert_eq!(run.report()["verify"]["mode"], "full", "{}", run.frame());
        }
        run.assert_says_one_of(&["not known", "SWAPDB"]);
    }
}

#[test]
fn exchanged_databases_of_a_source_that_hides_it_are_told() {
    let (source, target) = (filled(), redis());
    fill_strings(&mut source.client(1), "key", KEYS, 10);
    let running = Keyferry::copy(source.url(), target.url()).args(SLOW).args(["--db", "0"]).start();
    let mut client = target.client(0);
    let run = strike(running, || client.dbsize() > KEYS / 8, &source, &[swap(), reset()]);
    run.assert_code(&[1]);
    run.assert_says(&["source", "RESETSTAT"]);
}

#[test]
fn a_target_that_hides_what_the_watch_needs_is_refused() {
    for hidden in ["cmdstat_", "evicted_keys", "expired_keys", "# Keyspace"] {
        let (source, target) = (filled(), redis());
        let beginnings: &'static [&'static str] =
            Vec::leak(vec![hidden, if hidden == "# Keyspace" { "db" } else { hidden }]);
        let proxy = RewritingProxy::of_info(&target, move |info| without_lines(info, beginnings));
        for run in [
            Keyferry::copy(source.url(), proxy.url()).arg("--delete-source"),
            Keyferry::copy(source.url(), proxy.url()).args(["--delete-source", "--dry-run"]),
            Keyferry::cleanup(source.url(), proxy.url()).arg("--force"),
        ] {
            let run = run.expect(4);
            run.assert_says(&["target", "cannot be seen"]);
        }
        let plan = Keyferry::plan(source.url(), proxy.url()).arg("--delete-source").expect(4);
        let found = plan.findings("blocker");
        assert!(found.contains(&"target-not-watchable of target".to_owned()), "{found:?}");
        assert_eq!((source.client(0).dbsize(), target.client(0).dbsize()), (KEYS, 0));
        // A copy needs nothing of that.
        Keyferry::copy(source.url(), proxy.url()).expect(0);
    }
}

/// What must not go on, whatever the target is made to say: each key is on one side, or named.
#[track_caller]
fn costs_no_key(run: &Run, source: &Server, why: &str) {
    run.assert_code(&[1]);
    run.assert_says(&["target", why]);
    let left = source.client(0).dbsize();
    assert!(left > KEYS / 4, "it went on deleting{}", run.frame());
    let doubtful = run.report()["deleted_in_doubt"].as_array().expect("a list").len();
    assert!(doubtful > 0, "{}", run.frame());
    assert_eq!(run.count("kept_on_source") as usize, left, "{}", run.frame());
}

#[test]
fn a_target_that_tells_only_what_it_told_before_stops_the_move() {
    let (source, target) = (filled(), redis());
    let told: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let proxy = RewritingProxy::start(&target, move |command, reply| {
        let of_commands = command.get(1).is_some_and(|section| section == b"commandstats");
        let mut told = told.lock().expect("no panic");
        of_commands.then(|| told.get_or_insert_with(|| reply.to_vec()).clone())
    });
    let copy = Keyferry::copy(source.url(), proxy.url());
    let run = copy.args(SLOW).arg("--delete-source").run();
    costs_no_key(&run, &source, "reported before");
}

#[test]
fn a_target_that_denies_its_keys_stops_the_move() {
    let (source, target) = (filled(), redis());
    let proxy = RewritingProxy::of_info(&target, |info| {
        with_keyspace(info, "# Keyspace\r\ndb7:keys=3,expires=0\r\n")
    });
    let copy = Keyferry::copy(source.url(), proxy.url());
    let run = copy.args(SLOW).arg("--delete-source").run();
    costs_no_key(&run, &source, "no keys in database 0");
}

#[test]
fn a_target_that_is_flushed_and_filled_by_others_stops_the_move() {
    let (source, target) = (filled(), redis());
    let refill = "for n = 1, 4000 do redis.call('SET', 'other:' .. n, '') end";
    let refill = cmd("EVAL").arg(refill).arg(0).clone();
    let running =
        Keyferry::copy(source.url(), target.url()).args(SLOW).arg("--delete-source").start();
    let mut client = source.client(0);
    let blows = [flushall(), reset(), refill];
    let run = strike(running, || client.dbsize() < KEYS, &target, &blows);
    costs_no_key(&run, &source, "may have been lost");
}

#[test]
fn keys_that_come_into_another_database_meanwhile_are_not_called_moved() {
    let script = "for _, key in ipairs(redis.call('KEYS', '*7')) do redis.call('MOVE', key, 1) end";
    let moves = cmd("EVAL").arg(script).arg(0).clone();
    let mut sets = cmd("EVAL");
    sets.arg("redis.call('SELECT', 3) redis.call('SET', 'new', 1)").arg(0);
    for (blow, cleans) in [(&moves, false), (&sets, false), (&sets, true)] {
        let (source, target) = (filled(), redis());
        let running = match cleans {
            false => Keyferry::copy(source.url(), target.url()).arg("--delete-source"),
            true => {
                Keyferry::copy(source.url(), target.url()).expect(0);
                Keyferry::cleanup(source.url(), target.url()).arg("--force")
            }
        };
        let running = running.args(SLOW).start();
        let (mut there, mut here) = (target.client(0), source.client(0));
        let half_way = || if cleans { here.dbsize() < KEYS / 2 } else { there.dbsize() > KEYS / 8 };
        let run = strike(running, half_way, &source, std::slice::from_ref(blow));
        run.assert_code(&[1]);
        run.assert_says(&["source", "still holds"]);
    }
}

#[test]
fn a_source_that_is_emptied_while_it_is_deleted_from_is_not_called_moved() {
    for restarts in [false, true] {
        let (mut source, target) = (filled(), redis());
        let copy = Keyferry::copy(source.url(), target.url()).args(SLOW);
        let mut running = copy.arg("--delete-source").start();
        let mut client = source.client(0);
        wait_until("a part is done", || client.dbsize() < KEYS * 3 / 4 || running.is_over());
        assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
        if restarts {
            source.kill();
            source.start_again();
        } else {
            client.run(&flushall());
        }
        let run = running.finish();
        run.assert_code(&[1]);
        run.assert_says_one_of(&["FLUSHALL", "restarted while keys were deleted"]);
        assert_eq!(target.client(0).dbsize(), KEYS);
    }
}

/// A copy that is killed half-way, and what it goes on with.
struct Killed {
    source: Server,
    target: Server,
    directory: TempDir,
}

impl Killed {
    fn copy(&self, options: &[&str]) -> Keyferry {
        let state = self.directory.path().join("state.json");
        Keyferry::copy(self.source.url(), self.target.url()).arg("--state").arg(state).args(options)
    }

    #[track_caller]
    fn half_way(options: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let killed = Self { source: filled(), target: redis(), directory };
        let mut running = killed.copy(options).args(SLOW).start();
        let mut client = killed.target.client(0);
        wait_until("a part is there", || client.dbsize() > KEYS / 8 || running.is_over());
        running.signal("KILL");
        assert_eq!(running.finish().code(), None);
        killed
    }
}

#[test]
fn a_source_that_lost_its_keys_before_a_resume_is_told() {
    for options in
        [vec![], vec!["--if-exists", "skip"], vec!["--if-exists", "merge"], vec!["--delete-source"]]
    {
        for (blow, why) in
            [(swap(), "SWAPDB"), (flushall(), "FLUSHALL"), (cmd("FLUSHDB"), "FLUSHDB")]
        {
            let killed = Killed::half_way(&options);
            killed.source.client(0).run(&blow);
            let run = killed.copy(&options).expect(5);
            run.assert_says(&["other data", why, "state.json"]);
        }
        let mut killed = Killed::half_way(&options);
        killed.source.kill();
        killed.source.start_again();
        let run = killed.copy(&options).expect(5);
        run.assert_says(&["other data", "restarted", "0 of 4000 keys"]);
    }
}

#[test]
fn a_source_that_lost_its_keys_while_a_move_was_away_is_told() {
    for restarts in [false, true] {
        let directory = TempDir::new().expect("a temporary directory");
        let mut killed = Killed { source: filled(), target: redis(), directory };
        let mut running = killed.copy(&["--delete-source"]).args(SLOW).start();
        let mut client = killed.source.client(0);
        wait_until("some are gone", || client.dbsize() < KEYS * 3 / 4 || running.is_over());
        running.signal("KILL");
        assert_eq!(running.finish().code(), None);
        if restarts {
            killed.source.kill();
            killed.source.start_again();
        } else {
            client.run(&flushall());
        }
        let run = killed.copy(&["--delete-source"]).expect(5);
        run.assert_says(&["other data", "state.json"]);
        assert_eq!(killed.target.client(0).dbsize(), KEYS);
    }
}

#[test]
fn a_source_that_is_as_it_was_is_gone_on_with() {
    let killed = Killed::half_way(&[]);
    // It says less now, and its count of changes stands.
    killed.source.client(0).run(&reset());
    let run = killed.copy(&[]).expect(0);
    assert!(!run.stderr.contains("anew"), "{}", run.frame());
    let mut killed = Killed::half_way(&[]);
    killed.source.client(0).run(&cmd("SAVE"));
    killed.source.kill();
    killed.source.start_again();
    let run = killed.copy(&[]).expect(0);
    run.assert_says(&["restarted", "anew"]);
    assert_eq!(killed.target.client(0).dbsize(), KEYS, "{}", run.frame());
}

#[test]
fn a_source_whose_databases_are_exchanged_while_it_is_deleted_from_is_told() {
    for cleans in [false, true] {
        let (source, target) = (filled(), redis());
        if cleans {
            Keyferry::copy(source.url(), target.url()).expect(0);
        }
        let running = match cleans {
            false => Keyferry::copy(source.url(), target.url()).arg("--delete-source"),
            true => Keyferry::cleanup(source.url(), target.url()).arg("--force"),
        };
        let running = running.args(SLOW).args(["--db", "0"]).start();
        let mut client = source.client(0);
        let run = strike(running, || client.dbsize() < KEYS, &source, &[swap()]);
        run.assert_code(&[1]);
        run.assert_says(&["source", "SWAPDB"]);
    }
}

#[test]
fn a_source_that_comes_back_while_it_is_deleted_from_is_not_called_moved() {
    let (mut source, target) = (filled(), redis());
    source.client(0).run(&cmd("SAVE"));
    let mut running =
        Keyferry::copy(source.url(), target.url()).args(SLOW).arg("--delete-source").start();
    let mut client = source.client(0);
    wait_until("most keys have gone", || client.dbsize() < KEYS / 2 || running.is_over());
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    source.kill();
    source.start_again();
    let run = running.finish();
    let left = source.client(0).dbsize();
    assert_eq!(run.code() == Some(0), left == 0, "{left}{}", run.frame());
    assert_eq!(target.client(0).dbsize(), KEYS);
}

#[test]
fn a_restarted_source_has_not_lost_what_was_not_selected() {
    let (mut source, target) = (redis(), redis());
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    fill_strings(&mut source.client(0), "other", KEYS, 20);
    source.wait_for_certain_counters();
    let copy = Keyferry::copy(source.url(), target.url()).args(["--match", "key:*"]);
    let mut running = copy.args(SLOW).arg("--delete-source").start();
    let mut client = source.client(0);
    wait_until("a part is done", || client.dbsize() < KEYS * 7 / 4 || running.is_over());
    assert!(!running.is_over(), "it was over too soon{}", running.finish().frame());
    // It has what it had at that moment.
    client.run(&cmd("SAVE"));
    source.kill();
    source.start_again();
    let run = running.finish();
    assert!(!run.stderr.contains("gone from it"), "{}", run.frame());
    assert!(source.client(0).dbsize() >= KEYS, "{}", run.frame());
}

#[test]
fn a_key_that_is_made_while_others_are_deleted_is_told() {
    let (source, target) = (filled(), redis());
    let running =
        Keyferry::copy(source.url(), target.url()).args(SLOW).arg("--delete-source").start();
    let mut client = source.client(0);
    // Some of them lie behind the scan, some before it.
    let make = "for n = 1, 100 do redis.call('SET', 'late:' .. n, '') end";
    let make = cmd("EVAL").arg(make).arg(0).clone();
    let run = strike(running, || client.dbsize() < KEYS / 2, &source, &[make]);
    run.assert_code(&[1]);
    assert_eq!(source.client(0).dbsize(), 100);
    assert_eq!(run.count("kept_on_source"), 100, "{}", run.frame());
    assert_eq!(run.count("deleted_from_source") as usize, KEYS, "{}", run.frame());
}
