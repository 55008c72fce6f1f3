//! What stderr gets while the work goes on: lines for a pipe, JSON for a collector, nothing when asked.

use serde_json::Value;

use crate::support::client::fill_strings;
use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 500, 50);
    (source, target)
}

#[test]
fn quiet_is_silent() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).arg("-q").expect(0);
    assert_eq!(run.stderr, "", "{}", run.frame());
}

#[test]
fn quiet_still_says_why_it_failed() {
    let (source, target) = servers();
    target.client(0).set(b"in the way", b"x");
    let run = Keyferry::copy(source.url(), target.url()).arg("-q").expect(4);
    run.assert_says(&["--if-exists"]);
}

#[test]
fn no_progress_when_asked() {
    let (source, target) = servers();
    let run = Keyferry::copy(source.url(), target.url()).args(["--progress", "none"]).expect(0);
    assert!(!run.stderr.contains('%'), "{}", run.frame());
}

#[test]
fn every_form_of_progress_copies_the_same() {
    for form in ["auto", "bar", "plain", "none"] {
        let (source, target) = servers();
        let run = Keyferry::copy(source.url(), target.url()).args(["--progress", form]).expect(0);
        run.assert_counts(&[("copied", 500)]);
    }
}

/// Fails unless every line of stderr is one JSON object.
#[track_caller]
fn assert_json_lines(stderr: &str, frame: &str) {
    for line in stderr.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|value| value.is_object()), "not a JSON object: {line}{frame}");
    }
}

#[test]
fn the_log_as_json() {
    let (source, target) = servers();
    let options = ["-v", "--log-format", "json"];
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    assert!(!run.stderr.is_empty(), "-v says nothing at all{}", run.frame());
    assert_json_lines(&run.stderr, &run.frame());
}

#[test]
fn errors_as_json_too() {
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy("redis://127.0.0.1:1", target.url())
        .impatient()
        .args(["--log-format", "json"])
        .expect(3);
    assert!(!run.stderr.is_empty());
    assert_json_lines(&run.stderr, &run.frame());
}

#[test]
fn a_long_run_tells_a_pipe_how_far_it_is() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 8_000, 1_000);
    // About eight seconds: "a line every few seconds".
    let slow = Behaviour { rate: Some(1_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let run = Keyferry::copy(proxy.url(), target.url()).expect(0);
    let lines = run.stderr.lines().filter(|line| line.contains("keys")).count();
    assert!(lines >= 1, "no line of progress{}", run.frame());
}
