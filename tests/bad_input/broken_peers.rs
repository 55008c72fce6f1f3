//! Peers that are no Redis, or no longer one: a clear message, exit code 3, no panic.

use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::strange_peers::StrangePeer;

/// Tries the peer as source and as target.
#[track_caller]
fn is_no_redis(peer: &StrangePeer) -> [Run; 2] {
    let server = Server::start(Kind::Redis70);
    server.client(0).set(b"a", b"1");
    [("source", peer.url(), server.url()), ("target", server.url(), peer.url())].map(
        |(side, from, to)| {
            let run = Keyferry::copy(from, to).impatient().expect(3);
            run.assert_says(&[side, &peer.port.to_string()]);
            run
        },
    )
}

#[test]
fn a_web_server() {
    for run in is_no_redis(&StrangePeer::http()) {
        // The URL in the message contains "redis" as well.
        let said = run.stderr.to_lowercase().replace("redis://", "");
        let clear = ["http", "not a redis", "no redis", "not redis", "protocol", "resp"];
        assert!(clear.iter().any(|word| said.contains(word)), "{}", run.frame());
    }
}

#[test]
fn a_listener_that_closes_at_once() {
    for run in is_no_redis(&StrangePeer::hanging_up()) {
        run.assert_says_one_of(&["closed", "reset", "end of", "eof", "hung up", "broken pipe"]);
    }
}

#[test]
fn a_listener_that_never_answers() {
    for run in is_no_redis(&StrangePeer::silent()) {
        run.assert_says_one_of(&["timed out", "timeout", "no answer", "no reply", "within"]);
    }
}

#[test]
fn replies_that_break_the_protocol() {
    let nonsense: [&'static [u8]; 12] = [
        b"\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0",
        b"$-2\r\n",
        b"$99999999999999999999\r\n",
        b"$9223372036854775807\r\nx",
        b"*9223372036854775807\r\n",
        b"*2147483647\r\n",
        b"$5\r\nhelloXX",
        b":12a\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"+OK",
    ];
    for bytes in nonsense {
        is_no_redis(&StrangePeer::answering(bytes));
    }
}

#[test]
fn a_reply_nested_without_end() {
    static NESTED: [u8; 400_000] = {
        let mut bytes = [0; 400_000];
        let mut at = 0;
        while at < bytes.len() {
            bytes[at] = b"*1\r\n"[at % 4];
            at += 1;
        }
        bytes
    };
    is_no_redis(&StrangePeer::answering(&NESTED));
}

#[test]
fn a_line_without_end() {
    static LINE: [u8; 8_000_000] = [b'+'; 8_000_000];
    is_no_redis(&StrangePeer::answering(&LINE));
}
