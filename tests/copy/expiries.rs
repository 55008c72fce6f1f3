//! How expiries are read where a server is busy, refuses to tell them, or is old and far away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::cmd;

use crate::support::compare::assert_equal;
use crate::support::dataset::noise;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::rewriting_proxy::RewritingProxy;
use crate::support::server::{Kind, Server, Setup};

/// Strings and lists that all expire.
fn fill(server: &Server, keys: usize) {
    let mut client = server.client(0);
    for number in 0..keys {
        let key = format!("key:{number}");
        match number % 2 {
            0 => client.run(cmd("SET").arg(&key).arg(number)),
            _ => client.run(cmd("RPUSH").arg(&key).arg(number).arg("x")),
        }
        client.run(cmd("EXPIRE").arg(&key).arg(5_000 + number));
    }
}

#[test]
fn a_source_that_is_busy_now_and_then_is_asked_again() {
    for (kind, question) in [(Kind::Redis70, "PEXPIRETIME"), (Kind::Redis62, "PTTL")] {
        let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
        fill(&source, 2_000);
        for command in [question, "TIME", "MULTI", "EXEC", "DUMP", "MGET", "SCAN"] {
            let asked = AtomicUsize::new(0);
            let busy = RewritingProxy::start(&source, move |arguments, _| {
                let is_it = arguments[0].eq_ignore_ascii_case(command.as_bytes());
                let asked = if is_it { asked.fetch_add(1, Ordering::Relaxed) } else { 0 };
                let refused = is_it && asked > 8 && asked.is_multiple_of(97);
                refused.then(|| b"-BUSY a script is running\r\n".to_vec())
            });
            Keyferry::copy(busy.url(), target.url()).args(["--if-exists", "replace"]).expect(0);
            assert_equal(&source, &target, &[(0, 0)]);
            target.client(0).run(&cmd("FLUSHALL"));
        }
    }
}

/// The reply to a transaction of a server that was held up for so long behind its first TIME.
fn held_up(reply: &[u8], ms: i64) -> Vec<u8> {
    // Each byte a character: payloads are no text.
    let text: String = reply.iter().map(|&byte| char::from(byte)).collect();
    let lines: Vec<&str> = text.split("\r\n").collect();
    let clocks: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "*2").collect();
    let late = |at: usize, line: &str| {
        if let Some(left) = line.strip_prefix(':').and_then(|left| left.parse::<i64>().ok()) {
            return format!(":{}", if left > 0 { left - ms } else { left });
        }
        // A later TIME: its seconds, which are enough here.
        let seconds =
            clocks.iter().skip(1).any(|&clock| at == clock + 2).then(|| line.parse::<i64>());
        seconds
            .and_then(Result::ok)
            .map_or_else(|| line.to_owned(), |now| (now + ms / 1_000).to_string())
    };
    let lines: Vec<String> = lines.iter().enumerate().map(|(at, line)| late(at, line)).collect();
    lines.join("\r\n").chars().map(|c| u8::try_from(c).expect("a byte")).collect()
}

#[test]
fn a_server_that_is_held_up_within_a_transaction_is_asked_again() {
    let (source, target) = (Server::start(Kind::Redis62), Server::start(Kind::Redis70));
    fill(&source, 2_000);
    let answered = AtomicUsize::new(0);
    let proxy = RewritingProxy::start(&source, move |arguments, reply| {
        let is_it = arguments[0].eq_ignore_ascii_case(b"EXEC") && reply.starts_with(b"*");
        let times = if is_it { answered.fetch_add(1, Ordering::Relaxed) } else { 0 };
        (is_it && times % 5 == 2).then(|| held_up(reply, 2_000))
    });
    for options in [&[][..], &["--fetch", "dump"]] {
        Keyferry::copy(proxy.url(), target.url()).args(options).expect(0);
        assert_equal(&source, &target, &[(0, 0)]);
        target.client(0).run(&cmd("FLUSHALL"));
    }
}

#[test]
fn a_key_whose_expiry_may_not_be_read_is_not_written_without_it() {
    for (kind, question) in [(Kind::Redis70, "PEXPIRETIME"), (Kind::Redis62, "PTTL")] {
        for error in ["-NOPERM this user has no permissions\r\n", "-ERR no\r\n"] {
            let (source, target) = (Server::start(kind), Server::start(Kind::Redis70));
            fill(&source, 2_000);
            let asked = AtomicUsize::new(0);
            let refusing = RewritingProxy::start(&source, move |arguments, _| {
                let is_it = arguments[0].eq_ignore_ascii_case(question.as_bytes());
                let refused = is_it && asked.fetch_add(1, Ordering::Relaxed) > 500;
                refused.then(|| error.as_bytes().to_vec())
            });
            Keyferry::copy(refusing.url(), target.url()).expect(1);
            let mut there = target.client(0);
            for number in 0..2_000 {
                let left = there.call::<i64>(cmd("PTTL").arg(format!("key:{number}")));
                assert_ne!(left, -1, "key:{number} has become immortal after {error}");
            }
        }
    }
}

/// A server below 7.0, so many milliseconds away in each direction.
fn distant(away_ms: u64) -> (Server, FaultProxy) {
    let source = Server::start(Kind::Redis62);
    let far = Behaviour { delay: Some(Duration::from_millis(away_ms)), ..Behaviour::default() };
    let far = FaultProxy::start(source.port, far);
    (source, far)
}

#[test]
fn expiries_of_an_old_and_distant_source_are_the_same_within_50_ms() {
    let ((source, far), target) = (distant(75), Server::start(Kind::Redis70));
    fill(&source, 60);
    source.client(0).run(cmd("RPUSH").arg("large").arg(vec![b'x'; 2 << 20]));
    source.client(0).run(cmd("EXPIRE").arg("large").arg(7_000));
    Keyferry::copy(far.url(), target.url()).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn expiries_of_keys_that_go_in_pieces_from_there_are_the_same_within_50_ms() {
    let (source, far) = distant(40);
    let target = Setup::new(Kind::Redis70).option("--proto-max-bulk-len", "1mb").start();
    let mut client = source.client(0);
    for number in 0..2 {
        client.run(cmd("RPUSH").arg("in pieces").arg(noise(number, 600_000)));
    }
    client.run(cmd("EXPIRE").arg("in pieces").arg(7_000));
    Keyferry::copy(far.url(), target.url()).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_user_of_some_keys_needs_no_clock() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill(&source, 200);
    source.client(0).set(b"foreign", b"1");
    let user = ["ACL", "SETUSER", "reader", "reset", "on", ">secret", "~key:*", "+@all", "-time"];
    let mut command = cmd(user[0]);
    command.arg(&user[1..]);
    source.client(0).run(&command);
    let url = format!("redis://reader:secret@127.0.0.1:{}", source.port);
    let run = Keyferry::copy(url, target.url()).args(["--match", "key:*"]).expect(0);
    run.assert_counts(&[("copied", 200), ("filtered", 1)]);
    // One question for each key is enough where transactions are permitted.
    assert!(source.calls("exec") > 0);
    assert!(source.calls("pexpiretime") < 2 * 200, "{}", source.calls("pexpiretime"));
    source.client(0).run(cmd("DEL").arg("foreign"));
    assert_equal(&source, &target, &[(0, 0)]);
}
