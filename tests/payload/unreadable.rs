//! A target says only that it cannot read a payload: the reason is found, and a sound value arrives all the same.

use keyferry::payload::footer;
use keyferry::rdb::{Version, Writer};
use redis::cmd;
use tempfile::TempDir;

use crate::support::dataset::noise;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};

/// A file of these keys of database 0: name, type byte and value.
fn file(version: u16, keys: &[(&str, Vec<u8>)]) -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("saved.rdb");
    let to = std::fs::File::create(&path).expect("a file");
    let mut writer = Writer::new(to, Version::new(version)).expect("it begins");
    writer.database(0, keys.len() as u64, 0).expect("a database");
    for (name, body) in keys {
        writer.key(name.as_bytes(), 0, body).expect("a key");
    }
    writer.finish().expect("it ends");
    (directory, path)
}

/// A listpack that servers of every encoding setting keep as it is, of these elements of one letter.
fn listpack(letters: &[u8]) -> Vec<u8> {
    let bytes = u8::try_from(7 + 3 * letters.len()).expect("short");
    let count = u8::try_from(letters.len()).expect("short");
    let mut pack = vec![bytes, 0, 0, 0, count, 0];
    letters.iter().for_each(|letter| pack.extend_from_slice(&[0x81, *letter, 2]));
    pack.push(0xff);
    [&[bytes][..], &pack].concat()
}

/// Fails unless these keys, and no others, failed with these causes.
#[track_caller]
fn assert_failures(run: &Run, expected: &[(&str, &str)]) {
    let all = run.report()["failures"].as_array().cloned().unwrap_or_default();
    assert_eq!(all.len(), expected.len(), "{}", run.frame());
    for (key, cause) in expected {
        let failure = all.iter().find(|of| of["key"] == *key);
        let why = failure.map(|of| of["error"].as_str().unwrap_or_default().to_owned());
        let why = why.unwrap_or_else(|| panic!("{key} has not failed{}", run.frame()));
        assert!(why.contains(cause), "{key}: {why}");
        assert!(!why.contains("does not know this type"), "{key}: {why}");
    }
}

/// JSON as ReJSON of Redis 4.0 kept it.
const MODULE: &[u8] = b"\x07\x81\x45\xe2\x52\x38\xdf\x91\x2c\x00\x02\x20\x02\x02\x00";
/// A stream of one entry that says it has two.
const STREAM: &[u8] = b"\x0f\x01\x10\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\
    \x1d\x1d\0\0\0\x0a\0\x01\x01\0\x01\x01\x01\x81f\x02\x00\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\xff\
    \x02\x01\x00\x00";

#[test]
fn a_value_that_is_inconsistent_fails_with_what_is_wrong_with_it() {
    let mut broken = listpack(b"fv");
    broken[6 + 3] ^= 1;
    let keys = [
        ("sound", b"\x00\x05value".to_vec()),
        ("field twice", b"\x04\x02\x01f\x01v\x01f\x01w".to_vec()),
        ("member twice", b"\x02\x02\x01m\x01m".to_vec()),
        ("no number", b"\x05\x01\x01m\0\0\0\0\0\0\xf8\x7f".to_vec()),
        ("listpack", [&[0x10][..], &broken].concat()),
        ("stream", STREAM.to_vec()),
        ("json", MODULE.to_vec()),
    ];
    let (_directory, path) = file(10, &keys);
    let expected = [
        ("field twice", "an element is there twice"),
        ("member twice", "an element is there twice"),
        ("no number", "a score is not a number"),
        ("listpack", "the value is malformed"),
        ("stream", "a stream of another length than it says"),
        ("json", "module type 'ReJSON-RL'"),
    ];
    let target = Server::start(Kind::Valkey91);
    let run = Keyferry::copy(&path, target.url()).expect(1);
    run.assert_counts(&[("copied", 1), ("failed", 6)]);
    assert_failures(&run, &expected);
    assert_eq!(target.client(0).dbsize(), 1);
}

/// Servers before 7.0 do not look, and end when they sort it.
#[test]
fn a_score_that_is_no_number_is_sent_to_nobody() {
    let ziplist = b"\x0c\x13\x13\0\0\0\x0d\0\0\0\x02\0\0\x01m\x03\x03nan\xff";
    let keys = [
        ("binary", b"\x05\x02\x01m\0\0\0\0\0\0\xf8\x7f\x01n\0\0\0\0\0\0\xf0\x3f".to_vec()),
        ("text", b"\x03\x01\x01m\xfd".to_vec()),
        ("packed", ziplist.to_vec()),
        ("sound", b"\x03\x01\x01m\xff".to_vec()),
    ];
    let (_directory, path) = file(9, &keys);
    for kind in Kind::ALL {
        let target = Server::start(kind);
        let run = Keyferry::copy(&path, target.url()).expect(1);
        run.assert_counts(&[("copied", 1), ("failed", 3)]);
        let cause = "a score is not a number";
        assert_failures(&run, &[("binary", cause), ("text", cause), ("packed", cause)]);
        assert_eq!(target.client(0).dbsize(), 1, "{kind:?}");
    }
}

/// A server may hold what another refuses.
#[test]
fn a_server_may_hold_what_another_cannot_read() {
    let twice = [&[0x10][..], &listpack(b"fvfw")].concat();
    let (_directory, path) = file(10, &[("field twice", twice), ("stream", STREAM.to_vec())]);
    let source = Setup::new(Kind::Redis70).rdb(&path).start();
    source.client(0).set(b"sound", b"value");
    assert_eq!(source.client(0).dbsize(), 3);
    let target = Setup::new(Kind::Redis82).option("--sanitize-dump-payload", "yes").start();
    let run = Keyferry::copy(source.url(), target.url()).expect(1);
    assert_failures(&run, &[("field twice", "an element is there twice")]);
    let target = Server::start(Kind::Valkey91);
    let run = Keyferry::copy(source.url(), target.url()).run();
    run.assert_code(&[1]);
    let streams = ("stream", "a stream of another length than it says");
    let named = run.report()["failures"].to_string();
    assert!(named.contains(streams.1), "{}", run.frame());
    assert!(!named.contains("does not know this type"), "{}", run.frame());
}

/// A zipmap as Redis 2.4 wrote it when it had not counted: servers find fault with the count.
#[test]
fn what_is_sound_is_encoded_for_the_target() {
    let zipmap = b"\x09\x18\xff\x06MKD1G6\x01\x002\x05YNNXK\x04\x00F7TI\xff".to_vec();
    let (_directory, path) = file(3, &[("map", zipmap), ("text", b"\x00\x01x".to_vec())]);
    for kind in Kind::ALL {
        for policy in ["replace", "skip", "fail"] {
            let target = Server::start(kind);
            let run = Keyferry::copy(&path, target.url()).args(["--if-exists", policy]).expect(0);
            run.assert_counts(&[("copied", 2)]);
            let mut fields: Vec<String> = target.client(0).call(cmd("HGETALL").arg("map"));
            fields.sort();
            assert_eq!(fields, ["2", "F7TI", "MKD1G6", "YNNXK"], "{kind:?}");
        }
    }
}

/// Values that are not held whole: a file gives them again, a server's stream is read entry by entry.
#[test]
fn large_values_are_looked_at_too() {
    let long = |text: &[u8]| {
        let length = u32::try_from(text.len()).expect("not that long").to_be_bytes();
        [&[0x80][..], &length, text].concat()
    };
    let (one, other) = (long(&noise(1, 9_000_000)), long(&noise(2, 9_000_000)));
    let twice = [&b"\x04\x02\x01f"[..], &one, b"\x01f", &other].concat();
    let (_directory, path) = file(9, &[("twice", twice), ("text", b"\x00\x01x".to_vec())]);
    let target = Server::start(Kind::Redis82);
    let run = Keyferry::copy(&path, target.url()).args(["--memory", "32MiB"]).expect(1);
    assert_failures(&run, &[("twice", "an element is there twice")]);
    assert_eq!(target.client(0).dbsize(), 1);

    let source = Server::start(Kind::Redis70);
    let mut client = source.client(0);
    for number in 1..=3_000 {
        let value = noise(number, 4_000);
        client.run(cmd("XADD").arg("stream").arg(format!("1-{number}")).arg("f").arg(value));
    }
    let payload: Vec<u8> = client.call(cmd("DUMP").arg("stream"));
    let (body, version) = (&payload[..payload.len() - 10], payload[payload.len() - 10]);
    // Length, last id, first id, largest deleted id, entries added, groups.
    let tail = b"\x4b\xb8\x01\x4b\xb8\x01\x01\x00\x00\x4b\xb8\x00";
    let begin = body.len() - tail.len();
    assert_eq!(&body[begin..], tail);
    let mut longer = body.to_vec();
    longer[begin + 1] += 1;
    let payload = footer::seal(longer, u16::from(version));
    client.run(cmd("RESTORE").arg("stream").arg(0).arg(payload).arg("REPLACE"));
    let length: u64 = client.call(cmd("XLEN").arg("stream"));
    assert_eq!(length, 3_001);
    let target = Server::start(Kind::Valkey91);
    let run = Keyferry::copy(source.url(), target.url()).args(["--memory", "32MiB"]).expect(1);
    assert_failures(
        &run,
        &[("stream", "another length than it says: 3000 entries instead of 3001")],
    );
    assert_eq!(target.client(0).dbsize(), 0);
}
