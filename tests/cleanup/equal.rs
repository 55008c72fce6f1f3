//! Exactly the equal keys go.

use std::collections::BTreeSet;

use redis::{Cmd, cmd};

use crate::support::client::{Client, fill_strings};
use crate::support::compare::assert_equal;
use crate::support::dataset::{DATABASES, SAME_NUMBERS, fill, noise};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::now_ms;
use crate::support::server::{Kind, Server, Setup};

fn command(words: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command
}

fn run_each(client: &mut Client, commands: &[&str]) {
    commands.iter().for_each(|words| client.run(&command(words)));
}

fn keys(client: &mut Client) -> BTreeSet<String> {
    client.call::<Vec<String>>(cmd("KEYS").arg("*")).into_iter().collect()
}

fn total_keys(server: &Server) -> u64 {
    DATABASES.iter().map(|&db| server.client(db).dbsize() as u64).sum()
}

/// Each compared key is deleted or kept, and each kept one is told with its reason.
#[track_caller]
fn assert_settled(run: &Run, deleted: u64, [missing, different, expiry]: [u64; 3]) {
    let kept = missing + different + expiry;
    run.assert_counts(&[("compared", deleted + kept), ("deleted_from_source", deleted)]);
    assert_eq!(run.count("kept_on_source"), kept, "{}", run.frame());
    let verify = &run.report()["verify"];
    for (name, count) in
        [("missing", missing), ("different", different), ("expiry", expiry), ("extra", 0)]
    {
        assert_eq!(verify[name], count, "verify.{name}{}", run.frame());
    }
    assert_eq!(verify["mode"], "one-way", "{}", run.frame());
    assert_eq!(run.report()["command"], "cleanup");
}

/// A key of each type, small and longer than what is held whole.
fn some_of_all(server: &Server) {
    let mut client = server.client(0);
    fill_strings(&mut client, "filler", 300, 50);
    run_each(
        &mut client,
        &[
            "SET string value",
            "RPUSH list a b c d",
            "SADD set 1 2 3",
            "HSET hash f 1 g 2 h 3",
            "ZADD zset 1 a 2 b",
            "XADD stream 1-1 f v",
            "SET expiring value PX 7200000",
            "HSET expiring:hash f v",
            "PEXPIRE expiring:hash 7200000",
            "SET lasting value",
        ],
    );
    client.set(b"huge:string", &noise(1, 3_000_000));
    for number in 0..40 {
        client.run(cmd("RPUSH").arg("huge:list").arg(noise(number + 2, 100_000)));
    }
}

#[test]
fn after_writes_to_some_keys_exactly_the_equal_ones_go() {
    for (from, to) in [(Kind::Redis70, Kind::Redis70), (Kind::Redis62, Kind::Valkey91)] {
        let (source, target) = (Server::start(from), Server::start(to));
        some_of_all(&source);
        let before = source.client(0).dbsize() as u64;
        Keyferry::copy(source.url(), target.url()).expect(0);
        run_each(
            &mut source.client(0),
            &[
                "SET string changed",
                "HSET hash f 2",
                "RPUSH list e",
                "PEXPIRE expiring 7100000",
                "PERSIST expiring:hash",
                "PEXPIRE lasting 7200000",
                "SET new value",
                "DEL set",
                "SET set another-type",
                "SETRANGE huge:string 1500000 !!",
            ],
        );
        run_each(&mut target.client(0), &["DEL zset", "SET mine value"]);
        let kept = [
            ("different", "hash"),
            ("different", "huge:string"),
            ("different", "list"),
            ("different", "set"),
            ("different", "string"),
            ("expiry", "expiring"),
            ("expiry", "expiring:hash"),
            ("expiry", "lasting"),
            ("missing", "new"),
            ("missing", "zset"),
        ];
        let names: BTreeSet<String> = kept.iter().map(|(_, key)| (*key).to_owned()).collect();
        let on_target = target.client(0).dbsize();
        target.reset_commands();
        let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
        assert_settled(&run, before + 1 - 10, [2, 5, 3]);
        let mut told = kept.map(|(kind, key)| (kind.to_owned(), key.to_owned()));
        told.sort_by(|one, other| one.1.cmp(&other.1));
        assert_eq!(run.differences(), told, "{}", run.frame());
        assert_eq!(keys(&mut source.client(0)), names, "{}", run.frame());
        assert_eq!(source.client(0).get(b"string").as_deref(), Some(&b"changed"[..]));
        // Nothing is written there.
        assert_eq!(target.client(0).dbsize(), on_target);
        assert_eq!(target.write_commands(), Vec::<String>::new(), "{}", run.frame());
    }
}

#[test]
fn all_of_several_databases_go_across_versions() {
    for (from, to) in [
        (Kind::Redis62, Kind::Valkey91),
        (Kind::Redis82, Kind::Redis82),
        (Kind::Valkey91, Kind::Valkey81),
    ] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill(&source);
        // Where fields of hashes cannot expire they are no part of this.
        let lossy = to == Kind::Valkey81;
        let options: &[&str] = if lossy { &["--exclude", "*field*"] } else { &[] };
        let copied = Keyferry::copy(source.url(), target.url()).args(options).run();
        let keys = copied.count("copied");
        let unlike = total_keys(&source) - keys;
        let witness = Server::start(to);
        Keyferry::copy(target.url(), witness.url()).expect(0);
        let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").run();
        run.assert_code(if unlike > 0 { &[1] } else { &[0] });
        assert_eq!(run.count("deleted_from_source"), keys, "{from:?} to {to:?}{}", run.frame());
        assert_eq!(total_keys(&source), unlike, "{}", run.frame());
        assert_equal(&witness, &target, &SAME_NUMBERS);
    }
}

#[test]
fn databases_mapping_and_filters_are_those_of_the_copy() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(3), "a", 50, 20);
    fill_strings(&mut source.client(3), "b", 50, 20);
    source.client(3).run(cmd("SADD").arg("a:set").arg(1));
    fill_strings(&mut source.client(5), "other", 9, 20);
    let all = ["--db", "3:1", "--db", "5:5"];
    Keyferry::copy(source.url(), target.url()).args(all).expect(0);
    let options = ["--force", "--db", "3:1", "--match", "*", "--exclude", "b*", "--type", "string"];
    let run = Keyferry::cleanup(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("compared", 50), ("deleted_from_source", 50), ("filtered", 51)]);
    assert_eq!(source.client(3).dbsize(), 51);
    assert_eq!(source.client(5).dbsize(), 9);
    // To the same number nothing is there: all that is left of database 3 is missing.
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    assert_settled(&run, 9, [51, 0, 0]);
    assert_eq!(source.client(3).dbsize(), 51);
}

#[test]
fn two_databases_may_be_held_against_one() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(1), "a", 500, 20);
    fill_strings(&mut source.client(2), "b", 500, 20);
    let options = ["--db", "1:0", "--db", "2:0"];
    let copied = Keyferry::copy(source.url(), target.url()).args(options);
    copied.args(["--if-exists", "skip"]).expect(0);
    let run = Keyferry::cleanup(source.url(), target.url()).args(options).arg("--force").expect(0);
    assert_settled(&run, 1_000, [0, 0, 0]);
}

#[test]
fn other_encodings_of_equal_values_go_too() {
    let source = Server::start(Kind::Redis62);
    let target = Setup::new(Kind::Redis70)
        .option("--hash-max-listpack-entries", "0")
        .option("--set-max-intset-entries", "0")
        .option("--rdbcompression", "no")
        .start();
    for server in [&source, &target] {
        for (name, count) in [("small", 5), ("long", 20_000)] {
            let mut batch = redis::pipe();
            for number in 0..count {
                batch.cmd("SADD").arg(format!("set:{name}")).arg(number * 7);
                batch.cmd("HSET").arg(format!("hash:{name}")).arg(format!("f{number}")).arg(number);
                batch.cmd("APPEND").arg(format!("string:{name}")).arg("compressible ");
            }
            server.client(0).run_all(&batch);
        }
    }
    target.client(0).run(cmd("HSET").arg("hash:long").arg("f1").arg("changed"));
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    assert_settled(&run, 5, [0, 1, 0]);
    assert!(source.client(0).exists(b"hash:long"), "{}", run.frame());
}

#[test]
fn expiries_within_the_tolerance_are_equal() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    let at = now_ms() + 7_200_000;
    for (server, at) in [(&source, at), (&target, at + 900)] {
        server.client(0).run(cmd("SET").arg("key").arg("value").arg("PXAT").arg(at));
    }
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    assert_settled(&run, 0, [0, 0, 1]);
    let tolerant = ["--force", "--ttl-tolerance", "1s"];
    let run = Keyferry::cleanup(source.url(), target.url()).args(tolerant).expect(0);
    assert_settled(&run, 1, [0, 0, 0]);
    // And with nothing left there is nothing to do.
    Keyferry::cleanup(source.url(), target.url()).expect(0);
}
