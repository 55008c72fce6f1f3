//! Servers whose clocks differ: all times move by that, those of keys and those inside of values.

use redis::{Value, cmd};

use crate::support::keyferry::Keyferry;
use crate::support::now_ms;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};
use crate::support::streams::deliveries;

const HOUR: i64 = 3_600_000;
/// How exactly clocks can be compared here.
const UNSURE: u64 = 100;

/// The server, with a clock that is so many milliseconds ahead.
fn ahead(server: &Server, by_ms: i64) -> RewritingProxy {
    RewritingProxy::start(server, move |command, reply| {
        let asked = command.first()?.eq_ignore_ascii_case(b"time");
        let text = std::str::from_utf8(reply).ok().filter(|_| asked)?;
        let mut lines = text.split("\r\n");
        let seconds: i64 = lines.nth(2)?.parse().ok()?;
        let moved = (seconds + by_ms / 1_000).to_string();
        let rest: Vec<&str> = lines.collect();
        Some(format!("*2\r\n${}\r\n{moved}\r\n{}", moved.len(), rest.join("\r\n")).into_bytes())
    })
}

/// A key that expires, a hash one of whose fields does, a stream with pending entries; of each a large one.
fn fill(source: &Server, with_fields: bool) {
    let mut client = source.client(0);
    let at = now_ms() + 10 * HOUR;
    client.run(cmd("SET").arg("key").arg("value").arg("PX").arg(10 * HOUR));
    for (suffix, elements) in [("small", 3), ("large", 3_000)] {
        let mut batch = redis::pipe();
        let (hash, stream) = (format!("hash:{suffix}"), format!("stream:{suffix}"));
        batch.cmd("XGROUP").arg("CREATE").arg(&stream).arg("group").arg("$").arg("MKSTREAM");
        for number in 0..elements {
            let value = format!("{number}").repeat(120);
            batch.cmd("XADD").arg(&stream).arg(format!("1-{}", number + 1)).arg("f").arg(&value);
            batch.cmd("HSET").arg(&hash).arg(format!("field {number}")).arg(&value);
            if with_fields && number % 2 == 0 {
                let mut expire = cmd("HPEXPIREAT");
                expire.arg(&hash).arg(at + number).arg("FIELDS").arg(1);
                batch.add_command(expire.arg(format!("field {number}")).clone());
            }
            // Delivered over some time, page after page.
            if number % 10 == 2 {
                let mut read = cmd("XREADGROUP");
                read.arg("GROUP").arg("group").arg("consumer").arg("STREAMS").arg(&stream).arg(">");
                batch.add_command(read.clone());
            }
        }
        client.run_all(&batch);
    }
}

fn field_expiries(server: &Server, key: &str) -> Vec<i64> {
    let mut ask = cmd("HPEXPIRETIME");
    let fields: Vec<String> = (0..3_000).map(|number| format!("field {number}")).collect();
    ask.arg(key).arg("FIELDS").arg(fields.len()).arg(&fields);
    let told: Value = server.client(0).call(&ask);
    let Value::Array(told) = told else { panic!("{told:?}") };
    let number = |value: Value| match value {
        Value::Int(number) => number,
        other => panic!("{other:?}"),
    };
    told.into_iter().map(number).collect()
}

#[track_caller]
fn assert_moved(before: &[i64], after: &[i64], by: i64) {
    assert_eq!(before.len(), after.len());
    assert!(before.iter().any(|at| *at > 0), "nothing is tested");
    for (before, after) in before.iter().zip(after) {
        let right = match before {
            ..=0 => after == before,
            _ => (before + by).abs_diff(*after) <= UNSURE,
        };
        assert!(right, "{before} became {after}");
    }
}

#[test]
fn times_inside_of_values_move_as_keys_do() {
    for kind in [Kind::Redis70, Kind::Redis82, Kind::Valkey91] {
        for limit in ["512mb", "1mb"] {
            let with_fields = kind != Kind::Redis70;
            let source = Server::start(kind);
            fill(&source, with_fields);
            let target = Setup::new(kind).option("--proto-max-bulk-len", limit).start();
            let behind = ahead(&target, -HOUR);
            let run =
                Keyferry::copy(source.url(), behind.url()).args(["--verify", "full"]).expect(0);
            run.assert_says(&["clock", "ahead"]);
            Keyferry::verify(source.url(), behind.url()).expect(0);
            // Without the difference of the clocks nothing with a time agrees.
            let run = Keyferry::verify(source.url(), target.url()).expect(1);
            let hashes = ["hash:large", "hash:small"].into_iter().filter(|_| with_fields);
            let timed: Vec<&str> = hashes.chain(["key", "stream:large", "stream:small"]).collect();
            let found = run.differences();
            assert!(found.iter().map(|(_, key)| key).eq(&timed), "{found:?}{}", run.frame());
            let expiry =
                |server: &Server| -> i64 { server.client(0).call(cmd("PEXPIRETIME").arg("key")) };
            assert_moved(&[expiry(&source)], &[expiry(&target)], -HOUR);
            for suffix in ["small", "large"] {
                let (hash, stream) = (format!("hash:{suffix}"), format!("stream:{suffix}"));
                let (one, other) = (deliveries(&source, &stream), deliveries(&target, &stream));
                assert!(one.iter().map(|(id, _)| id).eq(other.iter().map(|(id, _)| id)));
                let times = |all: &[(String, i64)]| all.iter().map(|of| of.1).collect::<Vec<_>>();
                assert_moved(&times(&one), &times(&other), -HOUR);
                if with_fields {
                    let (one, other) =
                        (field_expiries(&source, &hash), field_expiries(&target, &hash));
                    assert_moved(&one, &other, -HOUR);
                }
            }
        }
    }
}

/// By the source's clock the fields of one hash have expired; by this machine's they have not.
#[test]
fn whether_fields_have_expired_is_told_by_the_source_s_clock() {
    let source = Server::start(Kind::Redis82);
    let mut client = source.client(0);
    for (key, after) in [("gone", HOUR / 2), ("there", 3 * HOUR)] {
        client.run(cmd("HSET").arg(key).arg("field").arg("value"));
        let at = now_ms() + after;
        client.run(cmd("HPEXPIREAT").arg(key).arg(at).arg("FIELDS").arg(1).arg("field"));
    }
    for (options, copied) in [(&["--lossy"][..], 1), (&[], 0)] {
        let target = Server::start(Kind::Redis62);
        let proxy = ahead(&source, HOUR);
        let run = Keyferry::copy(proxy.url(), target.url()).args(options).run();
        run.assert_code(&[1]);
        run.assert_counts(&[("copied", copied), ("failed", 2 - copied)]);
        let failures = run.report()["failures"].as_array().cloned().unwrap_or_default();
        let gone = failures.iter().find(|failure| failure["key"] == "gone");
        let why = gone.and_then(|failure| failure["error"].as_str()).unwrap_or_default();
        assert_eq!(why, "every field of the hash has expired", "{}", run.frame());
        assert_eq!(target.client(0).exists(b"there"), copied == 1, "{}", run.frame());
    }
}

#[test]
fn clocks_that_are_days_apart_are_not_believed() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).run(cmd("SET").arg("key").arg("value").arg("EX").arg(1_000));
    for by in [-2 * 365 * 24 * HOUR, 25 * HOUR] {
        let wrong = ahead(&target, by);
        for urls in [[source.url(), wrong.url()], [wrong.url(), source.url()]] {
            let run = Keyferry::copy(&urls[0], &urls[1]).args(["--if-exists", "replace"]);
            run.expect(4).assert_says(&["clock", "too far apart", "UTC", "NTP"]);
            let run = Keyferry::verify(&urls[0], &urls[1]).run();
            run.assert_code(&[4]);
            run.assert_says(&["clock", "too far apart"]);
        }
    }
    assert_eq!(target.client(0).dbsize(), 0);
    let near = ahead(&target, 20 * HOUR);
    Keyferry::copy(source.url(), near.url()).args(["--verify", "none"]).expect(0);
}
