//! `--match`, `--exclude`, `--type`: what passes, and that the rest is counted as filtered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use redis::cmd;

use crate::support::keyferry::Keyferry;
use crate::support::reading::Reader;
use crate::support::server::{Kind, Server};
use crate::support::shown;

const KEYS: [&[u8]; 12] = [
    b"",
    b"user:1",
    b"user:2",
    b"user:22",
    b"session:1",
    b"session:a",
    b"star*star",
    b"star-star",
    b"[bracket]",
    "\u{e9}t\u{e9}".as_bytes(),
    b"\xff\xfe1",
    b"new\nline",
];

fn source() -> Server {
    let server = Server::start(Kind::Redis70);
    let mut client = server.client(0);
    for key in KEYS {
        client.set(key, b"x");
    }
    client.run(cmd("RPUSH").arg("user:list").arg(1));
    client.run(cmd("SADD").arg("user:set").arg(1));
    client.run(cmd("HSET").arg("user:hash").arg(1).arg(1));
    client.run(cmd("ZADD").arg("user:zset").arg(1).arg(1));
    client.run(cmd("XADD").arg("user:stream").arg("1-1").arg(1).arg(1));
    server
}

const ALL: u64 = KEYS.len() as u64 + 5;

/// Copies with these options and expects exactly these keys on the target.
#[track_caller]
fn pass<A: AsRef<OsStr>>(options: &[A], expected: &[&[u8]]) {
    let (source, target) = (source(), Server::start(Kind::Redis70));
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    let mut wanted: Vec<Vec<u8>> = expected.iter().map(|key| key.to_vec()).collect();
    wanted.sort();
    let found: Vec<Vec<u8>> = Reader::new(&target, 0).keys().into_iter().collect();
    let names: Vec<String> = found.iter().map(|key| shown(key)).collect();
    assert_eq!(found, wanted, "on the target: {}{}", names.join(" "), run.frame());
    let copied = expected.len() as u64;
    run.assert_counts(&[("copied", copied), ("filtered", ALL - copied)]);
}

#[test]
fn match_takes_what_fits() {
    pass(&["--match", "session:*"], &[b"session:1", b"session:a"]);
    pass(&["--match", "user:?"], &[b"user:1", b"user:2"]);
    pass(&["--match", "session:[0-9]"], &[b"session:1"]);
    pass(&["--match", "session:[^0-9]"], &[b"session:a"]);
}

#[test]
fn match_can_be_given_more_than_once() {
    pass(&["--match", "session:1", "--match", "user:2*"], &[b"session:1", b"user:2", b"user:22"]);
}

#[test]
fn a_pattern_fits_the_whole_key() {
    pass(&["--match", "user"], &[]);
    pass(&["--match", "ser:1*"], &[]);
}

#[test]
fn the_empty_key_and_newlines_are_ordinary() {
    pass(&["--match", ""], &[b""]);
    pass(&["--match", "new?line"], &[b"new\nline"]);
}

#[test]
fn special_signs_can_be_escaped() {
    pass(&["--match", r"star\*star"], &[b"star*star"]);
    pass(&["--match", r"\[*\]"], &[b"[bracket]"]);
}

#[test]
fn patterns_are_bytes_not_characters() {
    // Two of the three characters are two bytes each.
    pass(&["--match", "???t??", "--match", "??t??"], &["\u{e9}t\u{e9}".as_bytes()]);
    pass(&["--match", "??1"], &[b"\xff\xfe1"]);
}

#[test]
fn a_pattern_need_not_be_utf_8() {
    pass(&[OsStr::new("--match"), OsStr::from_bytes(b"\xff*")], &[b"\xff\xfe1"]);
}

#[test]
fn exclude_takes_away() {
    let options = ["--match", "user:*", "--exclude", "user:2*", "--exclude", "user:[a-z]*"];
    pass(&options, &[b"user:1"]);
}

#[test]
fn type_takes_only_these_types() {
    pass(&["--type", "list"], &[b"user:list"]);
    pass(&["--type", "zset", "--type", "stream"], &[b"user:zset", b"user:stream"]);
    pass(&["--type", "hash", "--type", "set"], &[b"user:hash", b"user:set"]);
}

#[test]
fn all_three_together() {
    let options = ["--type", "string", "--type", "hash", "--match", "user:*", "--exclude", "*2"];
    pass(&options, &[b"user:1", b"user:hash"]);
}

#[test]
fn an_unknown_type_is_a_usage_error() {
    let run = Keyferry::copy("redis://127.0.0.1:1", "redis://127.0.0.1:2").args(["--type", "tree"]);
    run.expect(2).assert_says(&["--type", "zset"]);
}
