//! `plan` against `copy`, for pairs of servers and users: what plan calls clear, copy does; what one refuses,
//! the other refuses, too; and plan leaves both servers as they were.

use redis::cmd;

use super::rights::user_without;
use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

/// What would be another if somebody had written, be it a key that has expired and is kept.
pub(super) fn state(server: &Server) -> (String, Option<String>) {
    let keyspace: String = server.client(0).call(cmd("INFO").arg("keyspace"));
    // The average of what remains goes down by itself.
    let lines = keyspace.lines().map(|line| line.split(",avg_ttl").next().unwrap_or_default());
    let keyspace = lines.collect::<Vec<_>>().join("\n");
    (keyspace, server.client(0).info("persistence", "rdb_changes_since_last_save"))
}

/// A source with keys of several types, of two kinds of names.
fn source(kind: Kind) -> Server {
    let server = Server::start(kind);
    let mut client = server.client(0);
    for begins in ["a", "b"] {
        fill_strings(&mut client, begins, 60, 20);
        client.run(cmd("HSET").arg(format!("{begins}:hash")).arg("f").arg("v"));
        client.run(cmd("SADD").arg(format!("{begins}:set")).arg("m"));
        client.run(cmd("ZADD").arg(format!("{begins}:zset")).arg(1).arg("m"));
        client.run(cmd("SET").arg(format!("{begins}:expires")).arg("v").arg("EX").arg(10_000));
    }
    server
}

/// Plans, then copies; the target is empty afterwards.
#[track_caller]
fn agree((source, target): (&Server, &Server), urls: (&str, &str), options: &[&str]) {
    let before = [state(source), state(target)];
    source.reset_commands();
    target.reset_commands();
    let plan = Keyferry::plan(urls.0, urls.1).args(options).impatient().run();
    plan.assert_code(&[0, 4]);
    for server in [source, target] {
        assert_eq!(server.writes_done(), Vec::<String>::new(), "{options:?}{}", plan.frame());
    }
    assert_eq!([state(source), state(target)], before, "{options:?}{}", plan.frame());
    let held = target.client(0).dbsize();
    let copy = Keyferry::copy(urls.0, urls.1).args(options).impatient().run();
    let both = format!("{options:?}{}{}", plan.frame(), copy.frame());
    let clear = plan.stdout.contains("Nothing stands in the way");
    assert!(!clear || copy.code() == Some(0), "plan saw nothing: {both}");
    assert_eq!(plan.code() == Some(4), copy.code() == Some(4), "only one of them refuses: {both}");
    if copy.code() == Some(4) {
        assert_eq!(target.client(0).dbsize(), held, "it wrote before it refused: {both}");
    } else {
        copy.assert_code(&[0, 1]);
    }
    // A replica refuses that, and has got nothing.
    let _: Result<String, _> = target.client(0).try_call(&cmd("FLUSHALL"));
}

/// Both sides in turn, as users with these rules beside all rights.
#[track_caller]
fn agree_for(from: Kind, into: Kind, rules: &[&str], options: &[&str]) {
    let (source, target) = (source(from), Server::start(into));
    let user = user_without(&source, rules);
    agree((&source, &target), (&user, &target.url()), options);
    if options.contains(&"--delete-source") {
        // What it has moved.
        fill_strings(&mut source.client(0), "a", 60, 20);
    }
    let user = user_without(&target, rules);
    agree((&source, &target), (&source.url(), &user), options);
}

const RIGHTS: [&str; 21] = [
    "scan",
    "dump",
    "pttl",
    "pexpiretime",
    "type",
    "exists",
    "mget",
    "multi",
    "exec",
    "time",
    "info",
    "select",
    "restore",
    "set",
    "mset",
    "msetnx",
    "memory",
    "watch",
    "unlink",
    "sadd",
    "hexists",
];

/// Every right missing alone.
fn each_right(options: &[&str]) {
    for right in RIGHTS {
        agree_for(Kind::Redis70, Kind::Valkey91, &[&format!("-{right}")], options);
    }
}

#[test]
fn a_right_missing_alone() {
    each_right(&[]);
}

#[test]
fn a_right_missing_alone_where_values_are_compared() {
    each_right(&["--verify", "full"]);
}

#[test]
fn a_right_missing_alone_for_a_merge() {
    each_right(&["--if-exists", "merge"]);
}

#[test]
fn a_right_missing_alone_for_a_move() {
    each_right(&["--delete-source"]);
}

#[test]
fn the_rights_to_read_expiries() {
    let without = [
        &["-pttl", "-pexpiretime"][..],
        &["-pttl", "-time"],
        &["-pexpiretime", "-time"],
        &["-pttl", "-pexpiretime", "-multi"],
    ];
    for rules in without {
        for options in [&[][..], &["--verify", "full"], &["--fetch", "dump"]] {
            agree_for(Kind::Redis70, Kind::Redis82, rules, options);
        }
    }
    // One that does not know the other.
    for rules in [&["-pttl"][..], &["-time"]] {
        agree_for(Kind::Redis62, Kind::Redis62, rules, &[]);
        agree_for(Kind::Redis62, Kind::Redis62, rules, &["--verify", "full"]);
    }
    // Before the first write.
    let (source, target) = (source(Kind::Redis70), Server::start(Kind::Redis70));
    let reader = user_without(&source, &["-pttl", "-pexpiretime"]);
    Keyferry::plan(&reader, target.url()).expect(4);
    let run = Keyferry::copy(reader, target.url()).expect(4);
    run.assert_says(&["PEXPIRETIME", "PTTL", "+pttl"]);
    assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
}

/// Patterns of keys, some of which are those of keyferry's own trials, too.
const PATTERNS: [&[&str]; 11] = [
    &["resetkeys", "%R~*"],
    &["resetkeys", "%W~*"],
    &["resetkeys", "~a*"],
    &["resetkeys", "~a*", "~keyferry*"],
    &["resetkeys", "~a*", "~?keyferry*"],
    &["resetkeys", "~[^b]*"],
    &["resetkeys", "%R~*", "~a*"],
    &["resetkeys", "%R~*", "%W~?keyferry*"],
    &["resetkeys", "%R~*", "(%W~a* +@all)"],
    &["resetkeys", "(~* +@all)"],
    &["resetkeys"],
];

fn each_pattern(from: Kind, into: Kind, options: &[&str]) {
    for rules in PATTERNS {
        agree_for(from, into, rules, options);
    }
}

#[test]
fn patterns_of_keys() {
    each_pattern(Kind::Redis70, Kind::Valkey91, &[]);
}

#[test]
fn patterns_of_keys_where_values_are_compared() {
    each_pattern(Kind::Valkey81, Kind::Redis82, &["--verify", "full"]);
}

#[test]
fn patterns_of_keys_for_a_merge() {
    each_pattern(Kind::Redis82, Kind::Redis70, &["--if-exists", "merge"]);
}

#[test]
fn patterns_of_keys_for_a_move() {
    each_pattern(Kind::Redis70, Kind::Redis70, &["--delete-source"]);
}

#[test]
fn patterns_of_keys_without_transactions() {
    for rules in PATTERNS {
        let rules = [rules, &["-multi"]].concat();
        agree_for(Kind::Redis70, Kind::Redis70, &rules, &[]);
    }
    for pattern in ["~a*", "~[^b]*", "~*"] {
        agree_for(Kind::Redis62, Kind::Redis62, &["resetkeys", pattern], &[]);
    }
}

#[test]
fn users_who_may_touch_none_of_the_keys_are_refused() {
    let (source, target) = (source(Kind::Redis70), Server::start(Kind::Redis70));
    let says = ["none of the", "key pattern", "ACL SETUSER"];
    let reader = user_without(&source, &["resetkeys", "%W~*"]);
    Keyferry::copy(&reader, target.url()).expect(4).assert_says(&says);
    let mover = user_without(&source, &["resetkeys", "%R~*"]);
    Keyferry::copy(&mover, target.url()).arg("--delete-source").expect(4).assert_says(&says);
    Keyferry::copy(&mover, target.url()).expect(0);
    target.client(0).run(&cmd("FLUSHALL"));
    let writer = user_without(&target, &["resetkeys", "%W~*"]);
    let full = ["--verify", "full"];
    Keyferry::copy(source.url(), &writer).args(full).expect(4).assert_says(&says);
    assert_eq!(target.client(0).dbsize(), 0);
}

/// A part of a large keyspace may be touched, and the user may ask what its patterns are.
#[test]
fn patterns_that_a_sample_does_not_show_are_asked_for() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "a", 100_000, 2);
    source.client(0).set(b"b", b"the only one");
    let warned = ["keys-denied of source"];
    let reader = user_without(&source, &["resetkeys", "~[^b]*"]);
    let run = Keyferry::plan(reader, target.url()).expect(0);
    assert_eq!(run.findings("warning"), warned, "{}", run.frame());
    assert!(run.stdout.contains("~[^b]*"), "{}", run.frame());
    let reader = user_without(&source, &["resetkeys", "~*"]);
    let run = Keyferry::plan(reader, target.url()).expect(0);
    assert!(run.findings("warning").is_empty(), "{}", run.frame());
}

#[test]
fn states_and_limits() {
    let (source, primary) = (source(Kind::Redis70), Server::start(Kind::Redis70));
    let replica_of = format!("127.0.0.1 {}", primary.port);
    let new = || Setup::new(Kind::Redis70);
    let states = [
        ("--replicaof", replica_of.as_str()),
        ("--min-replicas-to-write", "1"),
        ("--maxmemory", "1"),
        ("--cluster-enabled", "yes"),
        ("--databases", "1"),
        ("--proto-max-bulk-len", "1mb"),
    ];
    let states = states.iter().map(|(name, value)| new().option(name, value));
    let unknown = ["RESTORE", "EXISTS", "SET", "MULTI", "SELECT", "TIME", "SCAN"];
    for target in states.chain(unknown.iter().map(|command| new().without(command))) {
        let target = target.start();
        agree((&source, &target), (&source.url(), &target.url()), &[]);
    }
}

/// Valkey 9.1 grants databases.
#[test]
fn a_database_that_is_not_permitted() {
    let (source, target) = (source(Kind::Redis70), Server::start(Kind::Valkey91));
    source.client(3).set(b"key", b"value");
    for rules in [&["resetdbs", "db=0"][..], &["resetdbs", "db=3"]] {
        let user = user_without(&target, rules);
        agree((&source, &target), (&source.url(), &user), &[]);
        agree((&source, &target), (&source.url(), &user), &["--db", "0:3"]);
        agree((&source, &target), (&source.url(), &user), &["--db", "0"]);
    }
    let user = user_without(&target, &["resetdbs", "db=0"]);
    let run = Keyferry::copy(source.url(), user).expect(4);
    run.assert_says(&["database 3 is not permitted", "db=3"]);
}
