//! `--source-compression off`: off during the copy, and back as it was, however the copy ends.

use std::time::Duration;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, Run, Running, SECRET};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

const KEYS: usize = 6_000;
const OFF: [&str; 2] = ["--source-compression", "off"];
const BY_HAND: &str = "CONFIG SET rdbcompression yes";

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 1_000);
    (source, target)
}

#[track_caller]
fn compresses(server: &Server) -> bool {
    let answer: Vec<String> = server.client(0).call(cmd("CONFIG").arg("GET").arg("rdbcompression"));
    match answer.last().map(String::as_str) {
        Some("yes") => true,
        Some("no") => false,
        _ => panic!("rdbcompression is {answer:?}"),
    }
}

#[track_caller]
fn stop_compressing(server: &Server) {
    server.client(0).run(cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no"));
}

/// Starts a copy and waits until compression is off and the first keys have arrived.
#[track_caller]
fn half_way(run: Keyferry, source: &Server, target: &Server) -> Running {
    let mut running = run.args(OFF).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    assert!(!running.is_over(), "the run ended too early{}", running.finish().frame());
    assert!(!compresses(source), "compression is on during the copy");
    running
}

#[track_caller]
fn assert_back(source: &Server, run: &Run) {
    assert!(compresses(source), "compression was not put back{}", run.frame());
}

#[test]
fn off_during_the_copy_and_back_after_it_on_every_server() {
    const SIZE: u64 = 10_000;
    for kind in [Kind::Redis62, Kind::Redis70, Kind::Redis82, Kind::Valkey81, Kind::Valkey91] {
        let (source, target) = (Server::start(kind), Server::start(kind));
        for key in 0..100 {
            let value = vec![b'x'; usize::try_from(SIZE).expect("small")];
            source.client(0).set(format!("key:{key}").as_bytes(), &value);
        }
        let run = Keyferry::copy(source.url(), target.url()).args(OFF);
        let run = run.args(["--fetch", "dump"]).expect(0);
        run.assert_counts(&[("copied", 100)]);
        let bytes = run.report()["bytes"].as_u64().expect("a number");
        assert!(bytes >= 100 * SIZE, "payloads were compressed: {bytes}{}", run.frame());
        assert_back(&source, &run);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

#[test]
fn a_source_that_does_not_compress_is_left_so() {
    let (source, target) = servers();
    stop_compressing(&source);
    source.reset_commands();
    Keyferry::copy(source.url(), target.url()).args(OFF).expect(0);
    assert_eq!(source.calls("config|set"), 0);
    assert!(!compresses(&source));
}

#[test]
fn nobody_asked() {
    let (source, target) = servers();
    for options in [&["--source-compression", "keep"][..], &["--if-exists", "replace"]] {
        source.reset_commands();
        Keyferry::copy(source.url(), target.url()).args(options).expect(0);
        assert_eq!((source.calls("config|get"), source.calls("config|set")), (0, 0));
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let (source, target) = servers();
    source.reset_commands();
    Keyferry::copy(source.url(), target.url()).args(OFF).arg("--dry-run").expect(0);
    assert_eq!(source.calls("config|set"), 0);
}

#[test]
fn put_back_when_the_target_dies() {
    let (source, target) = servers();
    let dies =
        Behaviour { after_requests: Some((2_000_000, Fault::Close)), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, dies);
    let run = Keyferry::copy(source.url(), proxy.url()).impatient().args(OFF).run();
    assert!(proxy.struck());
    run.assert_code(&[1, 3]);
    assert_eq!(source.calls("config|set"), 2, "{}", run.frame());
    assert_back(&source, &run);
}

#[test]
fn put_back_on_ctrl_c() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "1000"]);
    let running = half_way(run, &source, &target);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    assert_back(&source, &run);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}

/// A dropped SSH session: the terminal is gone, and with it whoever reads what is said.
#[test]
fn put_back_when_the_terminal_is_gone() {
    for signal in ["HUP", "QUIT", "TERM"] {
        let (source, target) = servers();
        let run = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "1000"]);
        let running =
            half_way(run.args(["-v", "--progress", "plain"]).without_stderr(), &source, &target);
        running.signal(signal);
        let run = running.finish();
        run.assert_code(&[130]);
        assert_back(&source, &run);
    }
}

#[test]
fn put_back_on_ctrl_c_twice() {
    let (source, target) = servers();
    // The first one waits for what is in flight, and that does not move.
    let stall =
        Behaviour { after_requests: Some((2_000_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, stall);
    let running = half_way(Keyferry::copy(source.url(), proxy.url()), &source, &target);
    wait_until("the target stalls", || proxy.struck());
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!compresses(&source), "the first one did not wait");
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    run.assert_says(&["once more stops at once"]);
    assert_back(&source, &run);
}

#[test]
fn ctrl_c_twice_ends_in_time_and_says_what_is_left_to_do() {
    let (source, target) = servers();
    let stall =
        Behaviour { after_replies: Some((2_000_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, stall);
    let running = half_way(Keyferry::copy(proxy.url(), target.url()), &source, &target);
    wait_until("the source stalls", || proxy.struck());
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(300));
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    run.assert_says(&["ERROR", "rdbcompression may still be off", BY_HAND]);
}

#[test]
fn ctrl_c_while_it_is_being_put_back_is_told_what_is_left_to_do() {
    let (source, target) = servers();
    let stall =
        Behaviour { after_replies: Some((2_000_000, Fault::Stall)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, stall);
    let run = Keyferry::copy(proxy.url(), target.url()).args(["--reply-timeout", "1s"]);
    let running = half_way(run, &source, &target);
    wait_until("the source stalls", || proxy.struck());
    running.signal("INT");
    // What is in flight is given up after a second or two, the way back is tried for minutes.
    std::thread::sleep(Duration::from_secs(4));
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    run.assert_says(&["ERROR", "rdbcompression may still be off", BY_HAND]);
}

#[test]
fn put_back_on_a_new_connection_when_all_of_them_broke() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "3000"]);
    let running = half_way(run, &source, &target);
    let mut kill = cmd("CLIENT");
    source.client(0).run(kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes"));
    let run = running.finish();
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", KEYS as u64)]);
    assert_back(&source, &run);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn put_back_when_a_connection_to_the_source_is_cut_during_the_work() {
    std::thread::scope(|scope| {
        for at in [20_000, 1_000_000, 5_000_000] {
            scope.spawn(move || {
                let (source, target) = servers();
                let (run, struck) = cut_once(&source, &target, at);
                assert!(struck, "nothing was cut at {at}{}", run.frame());
                run.assert_code(&[0]);
                assert_back(&source, &run);
                assert_equal(&source, &target, &[(0, 0)]);
            });
        }
    });
}

#[test]
fn put_back_when_an_answer_of_config_itself_is_cut() {
    let asking = b"GET\r\n$14\r\nrdbcompression\r\n";
    let turning_off = b"rdbcompression\r\n$2\r\nno\r\n";
    let putting_back = b"rdbcompression\r\n$3\r\nyes\r\n";
    for request in [&asking[..], turning_off, putting_back] {
        let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
        source.client(0).set(b"key", b"value");
        let behaviour =
            Behaviour { for_answer_to: Some((request, Fault::CloseOnce)), ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, behaviour);
        let run = Keyferry::copy(proxy.url(), target.url()).args(OFF).expect(0);
        assert!(proxy.struck(), "nobody said {}{}", request.escape_ascii(), run.frame());
        assert_back(&source, &run);
        assert_equal(&source, &target, &[(0, 0)]);
    }
}

/// Copies through a proxy that cuts one connection to the source after so many bytes of answers.
#[track_caller]
fn cut_once(source: &Server, target: &Server, at: u64) -> (Run, bool) {
    let behaviour =
        Behaviour { after_replies: Some((at, Fault::CloseOnce)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, behaviour);
    let run = Keyferry::copy(proxy.url(), target.url()).impatient().args(OFF).run();
    (run, proxy.struck())
}

#[test]
fn a_source_that_cannot_be_reached_any_more_is_named_with_what_is_left_to_do() {
    let (source, target) = servers();
    let gone = Behaviour { after_replies: Some((2_000_000, Fault::Close)), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, gone);
    let run = Keyferry::copy(proxy.url(), target.url()).impatient().args(OFF).run();
    assert!(proxy.struck());
    run.assert_code(&[1, 3]);
    run.assert_says(&["ERROR", "rdbcompression may still be off", BY_HAND]);
    assert!(!compresses(&source), "it could not be put back{}", run.frame());
}

#[test]
fn two_runs_at_once_the_first_puts_it_back() {
    let (source, target) = servers();
    let other = Server::start(Kind::Redis70);
    let run = Keyferry::copy(source.url(), target.url()).args(["--max-keys-rate", "1500"]);
    let first = half_way(run, &source, &target);
    let second = Keyferry::copy(source.url(), other.url()).args(OFF).expect(0);
    assert!(!compresses(&source), "the second run put it back{}", second.frame());
    let first = first.finish();
    first.assert_code(&[0]);
    assert_back(&source, &first);
}

/// Adds a user who may do everything but what these rules take away.
#[track_caller]
fn mover(source: &Server, rules: &[&str]) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}"));
    source.client(0).run(user.arg(&["~*", "&*", "+@all"]).arg(rules));
    format!("redis://mover:{SECRET}@127.0.0.1:{}", source.port)
}

#[test]
fn a_source_that_forbids_config_is_refused_before_anything_is_written() {
    for rules in [&["-config"][..], &["-config|set"], &["-config|get"], &["-@dangerous", "+info"]] {
        let (source, target) = servers();
        let run = Keyferry::copy(mover(&source, rules), target.url()).args(OFF).expect(4);
        assert_eq!(run.outcome(), "refused", "{}", run.frame());
        run.assert_says(&["source", "CONFIG", "+config|get +config|set"]);
        assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
        assert!(compresses(&source));
    }
}

#[test]
fn a_permission_lost_meanwhile_is_said_although_the_copy_is_done() {
    let (source, target) = servers();
    let url = mover(&source, &[]);
    let run = Keyferry::copy(url, target.url()).args(["--max-keys-rate", "3000"]);
    let running = half_way(run, &source, &target);
    mover(&source, &["-config|set"]);
    let run = running.finish();
    run.assert_code(&[1]);
    run.assert_says(&["rdbcompression may still be off", BY_HAND]);
    assert_ne!(run.report()["verify"]["mode"], "none", "it was not verified{}", run.frame());
    run.assert_counts(&[("copied", KEYS as u64)]);
    assert_equal(&source, &target, &[(0, 0)]);
}
