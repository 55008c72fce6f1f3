//! Each kind of difference, planted alone after a copy by keyferry, is found, and nothing else.

use redis::{Cmd, cmd};

use crate::support::client::{Client, fill_strings};
use crate::support::dataset::noise;
use crate::support::keyferry::Keyferry;
use crate::support::now_ms;
use crate::support::server::{Kind, Server};

/// What is planted: its name, the command for the target, and what is to be found of which key.
type Case = (&'static str, Cmd, &'static str, &'static str);

/// The database that is compared; another one holds something, too.
const DB: u32 = 1;

fn command(words: &str) -> Cmd {
    let mut command = Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command
}

fn run(client: &mut Client, commands: &[&str]) {
    commands.iter().for_each(|words| client.run(&command(words)));
}

/// A key of each type, small and large, among strings that agree.
fn fill(server: &Server) {
    let mut client = server.client(DB);
    fill_strings(&mut client, "filler", 300, 50);
    fill_strings(&mut server.client(0), "elsewhere", 20, 50);
    run(
        &mut client,
        &[
            "SET string value",
            "SETBIT bitmap 777 1",
            "RPUSH list a b c d",
            "SADD set 1 2 3",
            "SADD set:text a b c",
            "HSET hash f 1 g 2 h 3",
            "ZADD zset 1 a 2 b 3.5 c",
            "XADD stream 1-1 f v",
            "XADD stream 2-1 f w",
            "XADD stream 3-1 f x",
            "XGROUP CREATE stream group 0",
            "XREADGROUP GROUP group alice COUNT 2 STREAMS stream >",
            "SET expiring value PX 7200000",
            "HSET expiring:hash f v",
            "PEXPIRE expiring:hash 7200000",
            "SET lasting value",
        ],
    );
    let mut large = cmd("HSET");
    large.arg("large:hash");
    for number in 0..3_000 {
        large.arg(format!("field {number}")).arg(format!("value {number}"));
    }
    client.run(&large);
    client.set(b"huge:string", &noise(1, 3_000_000));
    for number in 0..40 {
        client.run(cmd("RPUSH").arg("huge:list").arg(noise(number + 2, 100_000)));
    }
}

fn cases() -> Vec<Case> {
    vec![
        ("a missing key", command("DEL string"), "missing", "string"),
        ("an extra key", command("SET more value"), "extra", "more"),
        ("a changed string", command("SET string valuf"), "different", "string"),
        (
            "another type",
            command(
                "EVAL return{redis.call('del','string'),redis.call('sadd','string','value')} 0",
            ),
            "different",
            "string",
        ),
        ("a list element", command("LSET list 2 x"), "different", "list"),
        ("a list's order", command("LMOVE list list LEFT RIGHT"), "different", "list"),
        ("a hash field", command("HSET hash g 3"), "different", "hash"),
        ("a set member", command("SADD set 4"), "different", "set"),
        ("a set member of text", command("SREM set:text b"), "different", "set:text"),
        ("a score", command("ZADD zset 3.6 c"), "different", "zset"),
        ("a bit", command("SETBIT bitmap 5 1"), "different", "bitmap"),
        ("a stream entry", command("XDEL stream 3-1"), "different", "stream"),
        ("an acknowledged entry", command("XACK stream group 1-1"), "different", "stream"),
        ("a stream's group", command("XGROUP DESTROY stream group"), "different", "stream"),
        ("a lost expiry", command("PERSIST expiring"), "expiry", "expiring"),
        ("a new expiry", command("PEXPIRE lasting 7200000"), "expiry", "lasting"),
        ("a changed expiry", command("PEXPIRE expiring 7100000"), "expiry", "expiring"),
        (
            "a hash's changed expiry",
            command("PEXPIRE expiring:hash 7100000"),
            "expiry",
            "expiring:hash",
        ),
        ("a field of a large hash", command("HSET large:hash f 1"), "different", "large:hash"),
        (
            "a byte of a huge string",
            command("SETRANGE huge:string 1500000 !!"),
            "different",
            "huge:string",
        ),
        ("an element of a huge list", command("LSET huge:list 20 x"), "different", "huge:list"),
        ("an expiry of a huge list", command("PEXPIRE huge:list 7100000"), "expiry", "huge:list"),
        ("a small one instead of a huge one", command("SET huge:list x"), "different", "huge:list"),
        (
            "a huge one instead of a small one",
            command("SETRANGE string 3000000 x"),
            "different",
            "string",
        ),
    ]
}

/// Copies, and before each planting mends what the last one left.
fn copy(source: &Server, target: &Server) {
    target.client(0).run(&cmd("FLUSHALL"));
    Keyferry::copy(source.url(), target.url()).expect(0);
}

#[track_caller]
fn finds_each(from: Kind, to: Kind, cases: &[Case]) {
    let (source, target) = (Server::start(from), Server::start(to));
    fill(&source);
    copy(&source, &target);
    let agrees = Keyferry::verify(source.url(), target.url()).expect(0);
    assert_eq!(agrees.outcome(), "complete", "{}", agrees.frame());
    assert_eq!(agrees.count("compared"), agrees.count("scanned"), "{}", agrees.frame());
    for (name, plant, kind, key) in cases {
        copy(&source, &target);
        target.client(DB).run(plant);
        let run = Keyferry::verify(source.url(), target.url()).run();
        assert_eq!(
            run.differences(),
            [((*kind).to_owned(), (*key).to_owned())],
            "{name}, {from:?} to {to:?}{}",
            run.frame()
        );
        run.assert_code(&[1]);
        let found = &run.report()["verify"];
        assert_eq!((&found["mode"], &found[*kind]), (&"full".into(), &1.into()), "{name}");
        let all: u64 = ["missing", "extra", "different", "expiry"]
            .iter()
            .filter_map(|kind| found[*kind].as_u64())
            .sum();
        assert_eq!(all, 1, "{name}{}", run.frame());
        assert_eq!(run.report()["differences"][0]["db"], DB, "{name}{}", run.frame());
        assert!(run.stdout.contains(key), "the summary does not name {key}{}", run.frame());
    }
}

#[test]
fn between_equal_servers_first_half() {
    let cases = cases();
    finds_each(Kind::Redis70, Kind::Redis70, &cases[..cases.len() / 2]);
}

#[test]
fn between_equal_servers_second_half() {
    let cases = cases();
    finds_each(Kind::Redis70, Kind::Redis70, &cases[cases.len() / 2..]);
}

#[test]
fn from_an_old_redis_to_a_valkey_first_half() {
    let cases = cases();
    finds_each(Kind::Redis62, Kind::Valkey91, &cases[..cases.len() / 2]);
}

#[test]
fn from_an_old_redis_to_a_valkey_second_half() {
    let cases = cases();
    finds_each(Kind::Redis62, Kind::Valkey91, &cases[cases.len() / 2..]);
}

#[test]
fn where_the_target_tells_only_what_remains() {
    let some = ["an extra key", "a lost expiry", "a changed expiry", "an expiry of a huge list"];
    let mut cases = cases();
    cases.retain(|case| some.contains(&case.0));
    assert_eq!(cases.len(), some.len());
    finds_each(Kind::Redis62, Kind::Redis62, &cases);
}

/// A hash two of whose fields expire, made by commands alike on every server that can.
fn fill_fields(server: &Server, at: i64) {
    let mut client = server.client(0);
    run(&mut client, &["HSET hash f 1 g 2 h 3", "HSET same f 1", "SET string value"]);
    for (key, field, at) in [("hash", "f", at), ("hash", "g", at + 5_000), ("same", "f", at)] {
        let mut expire = cmd("HPEXPIREAT");
        client.run(expire.arg(key).arg(at).arg("FIELDS").arg(1).arg(field));
    }
}

#[test]
fn the_expiry_of_a_hash_field_also_across_families() {
    let kinds = [Kind::Redis82, Kind::Valkey91];
    for (from, to) in [(0, 0), (1, 1), (0, 1), (1, 0)].map(|(a, b)| (kinds[a], kinds[b])) {
        let (source, target) = (Server::start(from), Server::start(to));
        let at = now_ms() + 7_200_000;
        fill_fields(&source, at);
        fill_fields(&target, at);
        Keyferry::verify(source.url(), target.url()).expect(0);
        for plant in [
            format!("HPEXPIREAT hash {} FIELDS 1 f", at + 1_000),
            "HPERSIST hash FIELDS 1 g".into(),
        ] {
            target.client(0).run(&command(&plant));
            let run = Keyferry::verify(source.url(), target.url()).expect(1);
            let found = [("different".to_owned(), "hash".to_owned())];
            assert_eq!(run.differences(), found, "{plant}, {from:?} to {to:?}{}", run.frame());
            target.client(0).run(&cmd("FLUSHALL"));
            fill_fields(&target, at);
        }
    }
}

#[test]
fn a_key_in_the_wrong_database() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill(&source);
    copy(&source, &target);
    // To a database that the source does not use at all.
    target.client(DB).run(&command("MOVE string 7"));
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    let kinds = ["extra", "missing"].map(|kind| (kind.to_owned(), "string".to_owned()));
    assert_eq!(run.differences(), kinds, "{}", run.frame());
    let list = run.report()["differences"].as_array().cloned().unwrap_or_default();
    let of =
        |kind: &str| list.iter().find(|of| of["kind"] == kind).map(|of| of["target_db"].clone());
    assert_eq!((of("missing"), of("extra")), (Some(DB.into()), Some(7.into())), "{}", run.frame());
}

#[test]
fn several_at_once_are_all_counted() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey81));
    fill(&source);
    copy(&source, &target);
    let plants = ["DEL string", "SET more 1", "SET most 1", "LSET list 0 x", "PERSIST expiring"];
    run(&mut target.client(DB), &plants);
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    let verify = &run.report()["verify"];
    for (kind, count) in [("missing", 1), ("extra", 2), ("different", 1), ("expiry", 1)] {
        assert_eq!(verify[kind], count, "{kind}{}", run.frame());
    }
}

#[test]
fn a_key_that_is_of_the_type_on_one_side_only_differs() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Valkey91));
    for (server, one, other) in [(&source, "a", "b"), (&target, "b", "a")] {
        let mut client = server.client(0);
        fill_strings(&mut client, "filler", 300, 50);
        client.run(cmd("HSET").arg("both").arg("f").arg("v"));
        client.run(cmd("HSET").arg(one).arg("f").arg("v"));
        client.set(other.as_bytes(), b"value");
    }
    target.client(0).run(cmd("HSET").arg("more").arg("f").arg("v"));
    let verify = |kind: &str| Keyferry::verify(source.url(), target.url()).args(["--type", kind]);
    let run = verify("hash").expect(1);
    let expected = [("different", "a"), ("different", "b"), ("extra", "more")];
    let expected = expected.map(|(kind, key)| (kind.to_owned(), key.to_owned()));
    assert_eq!(run.differences(), expected, "{}", run.frame());
    let what = |at: usize| run.report()["differences"][at]["what"].as_str().unwrap_or_default();
    let mut told = [what(0), what(1), what(2)];
    told.sort_unstable();
    assert_eq!(
        told[..2],
        [
            "a hash on the source, a string on the target",
            "a string on the source, a hash on the target",
        ]
    );
    assert_eq!(verify("string").expect(1).differences(), expected[..2]);
    assert_eq!(verify("list").expect(0).differences(), []);
}
