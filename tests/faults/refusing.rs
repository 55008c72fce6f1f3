//! Servers that refuse everything from some moment on: the run ends with the cause and advice, what is
//! in flight is waited for, and every key is accounted for.

use redis::cmd;

use super::{PAIRS, half_way, source};
use crate::support::compare::assert_target_is_a_part;
use crate::support::keyferry::{Run, SECRET};
use crate::support::server::{Kind, Server, Setup};
use crate::support::wait_until;

/// Which side refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// Adds the user `mover`, who may do everything.
fn mover(server: &Server) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}"));
    server.client(0).run(user.arg(&["~*", "&*", "+@all"]));
    format!("redis://mover:{SECRET}@127.0.0.1:{}", server.port)
}

/// Copies as `mover` and breaks one side half-way.
#[track_caller]
fn ends(side: Side, target: Setup, codes: &[i32], says: &[&str], fault: impl Fn(&Server)) -> Run {
    let (source, target) = (source(), target.start());
    let (from, to) = (mover(&source), mover(&target));
    let options = ["--retry-budget", "2s", "--delete-source"];
    let running = half_way(&from, &to, &target, &options);
    fault(if side == Side::Source { &source } else { &target });
    let run = running.finish();
    run.assert_code(codes);
    assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
    run.assert_says(says);
    let arrived = target.client(0).dbsize() + target.client(1).dbsize();
    assert_eq!(run.count("copied"), arrived as u64, "copied, and on the target{}", run.frame());
    let missing = run.count("scanned") - run.count("copied");
    assert_eq!(run.count("failed"), missing, "what was read and not written{}", run.frame());
    assert!(run.count("deleted_from_source") <= run.count("copied"), "{}", run.frame());
    run
}

fn redis() -> Setup {
    Setup::new(Kind::Redis70)
}

fn permit(server: &Server, rules: &[&str]) {
    server.client(0).run(cmd("ACL").arg("SETUSER").arg("mover").arg(rules));
}

#[test]
fn a_target_out_of_memory() {
    let run = ends(Side::Target, redis(), &[1], &["OOM", "maxmemory"], |target| {
        target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    });
    assert!(run.count("failed") > 0, "{}", run.frame());
}

#[test]
fn a_valkey_out_of_memory() {
    let target = Setup::new(Kind::Valkey91);
    ends(Side::Target, target, &[1], &["OOM", "maxmemory"], |target| {
        target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    });
}

#[test]
fn a_target_that_takes_a_permission_away() {
    ends(Side::Target, redis(), &[1], &["target", "NOPERM", "ACL SETUSER"], |target| {
        permit(target, &["-restore", "-set", "-mset", "-msetnx"]);
    });
}

#[test]
fn a_source_that_takes_a_permission_away() {
    ends(Side::Source, redis(), &[1], &["source", "NOPERM", "ACL SETUSER"], |source| {
        permit(source, &["-dump", "-mget"]);
    });
}

#[test]
fn a_source_that_forbids_to_ask_for_expiries() {
    ends(Side::Source, redis(), &[1], &["source", "NOPERM", "+pexpiretime"], |source| {
        permit(source, &["-pexpiretime"]);
    });
}

#[test]
fn a_source_that_forbids_to_scan_on() {
    ends(Side::Source, redis(), &[1], &["source", "NOPERM", "+scan"], |source| {
        permit(source, &["-scan"]);
    });
}

/// Another password, and the connections are closed: what an administrator does who locks us out.
fn lock_out(server: &Server) {
    permit(server, &["resetpass", ">another"]);
    server.client(0).run(cmd("CLIENT").arg("KILL").arg("USER").arg("mover"));
}

#[test]
fn a_target_that_locks_us_out() {
    ends(Side::Target, redis(), &[3], &["target", "WRONGPASS", "password"], lock_out);
}

#[test]
fn a_source_that_locks_us_out() {
    ends(Side::Source, redis(), &[3], &["source", "WRONGPASS", "password"], lock_out);
}

#[test]
fn a_target_that_cannot_save_any_more() {
    let target = redis().option("--dbfilename", "blocked.rdb");
    ends(Side::Target, target, &[1], &["target", "MISCONF", "disk"], |target| {
        let mut client = target.client(0);
        // A directory in place of the file makes every save fail, and writes are refused from then on.
        let directory: Vec<String> = client.call(cmd("CONFIG").arg("GET").arg("dir"));
        std::fs::create_dir(format!("{}/blocked.rdb", directory[1])).expect("a directory");
        client.run(cmd("CONFIG").arg("SET").arg("save").arg("3600 1"));
        client.run(cmd("BGSAVE").arg("SCHEDULE"));
        wait_until("the save has failed", || {
            client.info("persistence", "rdb_last_bgsave_status").as_deref() == Some("err")
        });
    });
}

#[test]
fn what_arrived_is_whole() {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let running = half_way(&source.url(), &target.url(), &target, &["--if-exists", "replace"]);
    target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
    running.finish().assert_code(&[1]);
    assert_target_is_a_part(&source, &target, &PAIRS);
}
