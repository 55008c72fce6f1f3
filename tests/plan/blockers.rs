//! Planted blockers, each found by itself.

use redis::cmd;

use super::{is_blocked, servers};
use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

#[test]
fn the_same_database_on_both_sides() {
    let (source, _) = servers();
    let run = is_blocked(Keyferry::plan(source.url(), source.url()), "same-database");
    assert_eq!(run.report()["findings"][0]["side"], serde_json::Value::Null);
}

#[test]
fn a_cluster() {
    let (source, _) = servers();
    let target = Setup::new(Kind::Redis70).option("--cluster-enabled", "yes").start();
    is_blocked(Keyferry::plan(source.url(), target.url()), "cluster of target");
    is_blocked(Keyferry::plan(target.url(), source.url()), "cluster of source");
}

#[test]
fn a_target_that_is_a_replica() {
    let (source, primary) = servers();
    let replica_of = format!("127.0.0.1 {}", primary.port);
    let target = Setup::new(Kind::Redis70).option("--replicaof", &replica_of).start();
    is_blocked(Keyferry::plan(source.url(), target.url()), "target-read-only of target");
}

#[test]
fn a_target_that_holds_keys() {
    let (source, target) = servers();
    target.client(0).set(b"mine", b"x");
    is_blocked(Keyferry::plan(source.url(), target.url()), "target-not-empty of target");
    Keyferry::plan(source.url(), target.url()).args(["--if-exists", "skip"]).expect(0);
}

#[test]
fn a_target_with_too_few_databases() {
    let (source, _) = servers();
    fill_strings(&mut source.client(5), "key", 10, 20);
    let target = Setup::new(Kind::Redis70).option("--databases", "2").start();
    let run = is_blocked(Keyferry::plan(source.url(), target.url()), "no-database of target");
    let cause = run.report()["findings"][0]["cause"].as_str().expect("a cause").to_owned();
    assert!(cause.contains("no database 5"), "{cause}");
    // Where it is mapped, it is no blocker.
    Keyferry::plan(source.url(), target.url()).args(["--db", "5:1", "--db", "0"]).expect(0);
}

/// A source of some 12 MB, and a target of 8 MB with this policy.
fn a_small_target(policy: &str) -> (Server, Server) {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 10_000, 1_000);
    let target = Setup::new(Kind::Redis70)
        .option("--maxmemory", "8mb")
        .option("--maxmemory-policy", policy)
        .start();
    (source, target)
}

#[test]
fn a_target_that_would_refuse_the_rest() {
    let (source, target) = a_small_target("noeviction");
    is_blocked(Keyferry::plan(source.url(), target.url()), "target-memory of target");
    // What is there already cannot make room enough.
    target.client(0).set(b"mine", b"x");
    let plan = Keyferry::plan(source.url(), target.url()).args(["--if-exists", "replace"]);
    is_blocked(plan, "target-memory of target");
    target.client(0).run(cmd("FLUSHDB").arg("SYNC"));
    // A part of the keys fits.
    let part = ["--match", "key:1??"];
    Keyferry::plan(source.url(), target.url()).args(part).expect(0);
}

/// What a server takes beside its keys is more than these.
#[test]
fn few_keys_that_fit_into_little() {
    for (from, into) in [(Kind::Redis70, Kind::Redis70), (Kind::Valkey81, Kind::Redis82)] {
        let source = Server::start(from);
        fill_strings(&mut source.client(0), "key", 1_000, 200);
        let target = Setup::new(into).option("--maxmemory", "2mb").start();
        let run = Keyferry::plan(source.url(), target.url()).expect(0);
        assert!(run.findings("warning").is_empty(), "{}", run.frame());
        Keyferry::copy(source.url(), target.url()).expect(0);
    }
}

#[test]
fn a_target_that_would_throw_keys_away() {
    let (source, target) = a_small_target("allkeys-lru");
    let run = is_blocked(Keyferry::plan(source.url(), target.url()), "target-memory of target");
    assert!(run.stdout.contains("throw keys away"), "{}", run.frame());
}

#[test]
fn a_target_that_is_full_now() {
    let (_, target) = servers();
    // A source without keys: the room is no question, the state is.
    let source = Server::start(Kind::Redis70);
    target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg("1"));
    let plan = Keyferry::plan(source.url(), target.url()).args(["--match", "x"]);
    is_blocked(plan, "target-out-of-memory of target");
}

#[test]
fn a_target_that_cannot_save() {
    let (source, _) = servers();
    let target = Setup::new(Kind::Redis70).option("--dbfilename", "blocked.rdb").start();
    let mut client = target.client(0);
    let directory: Vec<String> = client.call(cmd("CONFIG").arg("GET").arg("dir"));
    std::fs::create_dir(format!("{}/blocked.rdb", directory[1])).expect("a directory");
    client.run(cmd("CONFIG").arg("SET").arg("save").arg("3600 1"));
    client.run(cmd("BGSAVE").arg("SCHEDULE"));
    crate::support::wait_until("the save has failed", || {
        client.info("persistence", "rdb_last_bgsave_status").as_deref() == Some("err")
    });
    is_blocked(Keyferry::plan(source.url(), target.url()), "target-cannot-save of target");
}

#[test]
fn a_target_without_its_replicas() {
    let (source, _) = servers();
    let target = Setup::new(Kind::Valkey91).option("--min-replicas-to-write", "1").start();
    is_blocked(Keyferry::plan(source.url(), target.url()), "target-lacks-replicas of target");
}

#[test]
fn functions_that_the_target_does_not_know() {
    let (source, _) = servers();
    let target = Server::start(Kind::Redis62);
    load_library(&source);
    let plan = || Keyferry::plan(source.url(), target.url());
    is_blocked(plan().arg("--with-functions"), "functions of target");
    let run = plan().expect(0);
    assert!(run.findings("warning").contains(&"functions-stay of source".to_owned()));
}

#[test]
fn a_library_that_is_there_already() {
    let (source, target) = servers();
    load_library(&source);
    load_library(&target);
    let plan = || Keyferry::plan(source.url(), target.url()).arg("--with-functions");
    is_blocked(plan(), "functions of target");
    plan().args(["--if-exists", "replace"]).expect(0);
}

fn load_library(server: &Server) {
    let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    server.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
}

#[test]
fn two_databases_into_one() {
    let (source, target) = servers();
    fill_strings(&mut source.client(1), "key", 10, 20);
    let plan = Keyferry::plan(source.url(), target.url()).args(["--db", "0:3", "--db", "1:3"]);
    is_blocked(plan, "several-into-one");
    let plan = Keyferry::plan(source.url(), target.url_of(3));
    is_blocked(plan, "several-into-one");
    Keyferry::plan(source.url(), target.url())
        .args(["--db", "0:3", "--db", "1:3", "--if-exists", "replace"])
        .expect(0);
}

#[test]
fn several_at_once_are_all_told() {
    let (source, target) = servers();
    fill_strings(&mut source.client(20 - 5), "key", 10, 20);
    target.client(0).set(b"mine", b"x");
    let few = Setup::new(Kind::Redis70).option("--databases", "2").start();
    few.client(0).set(b"mine", b"x");
    let run = Keyferry::plan(source.url(), few.url()).expect(4);
    let expected = ["no-database of target", "target-not-empty of target"];
    assert_eq!(run.findings("blocker"), expected, "{}", run.frame());
}
