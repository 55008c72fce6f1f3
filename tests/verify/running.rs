//! How a comparison behaves: what it may, what it refuses, what it survives, what it takes.

use redis::cmd;
use serde_json::Value;

use crate::support::client::fill_strings;
use crate::support::dataset::fill;
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Keyferry, SECRET, SECRET_VALUE};
use crate::support::permissions::{add_user, rules_of};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

fn pair() -> (Server, Server) {
    (Server::start(Kind::Redis70), Server::start(Kind::Redis70))
}

#[test]
fn nothing_is_written_and_no_writing_command_is_tried() {
    let (source, target) = pair();
    fill(&source);
    Keyferry::copy(source.url(), target.url()).expect(0);
    target.client(0).set(b"string:embstr", SECRET_VALUE.as_bytes());
    source.client(0).set(b"secret", SECRET_VALUE.as_bytes());
    source.reset_commands();
    target.reset_commands();
    Keyferry::verify(source.url(), target.url()).arg("-vv").expect(1);
    let none: [String; 0] = [];
    assert_eq!(source.write_commands(), none, "on the source");
    assert_eq!(target.write_commands(), none, "on the target");
}

#[test]
fn the_rights_that_are_listed_are_enough() {
    let (source, target) = (Server::start(Kind::Redis62), Server::start(Kind::Valkey91));
    fill(&source);
    Keyferry::copy(source.url(), target.url()).expect(0);
    target.client(0).run(cmd("DEL").arg("string:embstr"));
    target.client(0).set(b"string:huge", b"another");
    let urls = [(&source, "reader"), (&target, "writer")].map(|(server, name)| {
        // What is compared is read on both sides alike.
        let mut rules = rules_of(name);
        rules.retain(|rule| *rule != "+restore");
        add_user(server, name, &rules)
    });
    let run = Keyferry::verify(&urls[0], &urls[1]).expect(1);
    let found = [("missing", "string:embstr"), ("different", "string:huge")];
    let found = found.map(|(kind, key)| (kind.to_owned(), key.to_owned()));
    assert_eq!(run.differences(), found, "{}", run.frame());
}

#[test]
fn a_user_that_may_not_read_the_target_is_told_so() {
    let (source, target) = pair();
    source.client(0).set(b"key", b"value");
    let rules = ["~*", "+@connection", "+select", "+info", "+time", "+scan", "+exists", "+type"];
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("blind").arg("on").arg(format!(">{SECRET}")).arg(&rules);
    target.client(0).run(&user);
    let url = format!("redis://blind:{SECRET}@127.0.0.1:{}", target.port);
    let run = Keyferry::verify(source.url(), url).expect(4);
    run.assert_says(&["target", "DUMP", "+dump"]);
}

#[test]
fn one_database_is_not_held_against_itself() {
    let server = Server::start(Kind::Redis70);
    server.client(1).set(b"key", b"value");
    let run = Keyferry::verify(server.url_of(1), server.url_of(1)).expect(4);
    run.assert_says(&["same server"]);
    let run = Keyferry::verify(server.url_of(1), server.url_of(2)).expect(1);
    assert_eq!(run.differences(), [("missing".to_owned(), "key".to_owned())]);
}

#[test]
fn a_server_that_is_away_is_told_by_exit_3() {
    let server = Server::start(Kind::Redis70);
    Keyferry::verify(server.url(), "redis://127.0.0.1:1").impatient().expect(3);
    Keyferry::verify("redis://127.0.0.1:1", server.url()).impatient().expect(3);
}

#[test]
fn broken_connections_are_made_again_and_no_key_is_counted_twice() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", 20_000, 100);
    source.client(0).run(cmd("RPUSH").arg("list").arg(&["a", "b"]));
    Keyferry::copy(source.url(), target.url()).expect(0);
    for number in [3, 77, 7_777] {
        target.client(0).set(format!("key:{number}").as_bytes(), b"other");
    }
    for cut in [50_000, 700_000] {
        for broken in [&source, &target] {
            let behaviour =
                Behaviour { after_replies: Some((cut, Fault::CloseOnce)), ..Behaviour::default() };
            let proxy = FaultProxy::start(broken.port, behaviour);
            let (from, to) = match broken.port == source.port {
                true => (proxy.url(), target.url()),
                false => (source.url(), proxy.url()),
            };
            let run = Keyferry::verify(from, to).expect(1);
            assert!(proxy.struck(), "nothing broke, nothing is tested");
            assert_eq!(run.count("compared"), 20_001, "{}", run.frame());
            assert_eq!(run.report()["verify"]["different"], 3, "{}", run.frame());
            assert_eq!(run.differences().len(), 3, "{}", run.frame());
        }
    }
}

#[test]
fn every_difference_is_in_the_file_and_the_first_in_the_report() {
    let (source, target) = pair();
    fill_strings(&mut source.client(2), "key", 300, 20);
    source.client(2).set(b"line\nbreak", b"value");
    fill_strings(&mut target.client(2), "other", 4, 20);
    let directory = tempfile::TempDir::new().expect("a temporary directory");
    let file = directory.path().join("differences.jsonl");
    let run =
        Keyferry::verify(source.url(), target.url()).arg("--differences").arg(&file).expect(1);
    let text = std::fs::read_to_string(&file).expect("the file of differences");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 305, "{}", run.frame());
    assert_eq!(lines.iter().filter(|line| line["kind"] == "extra").count(), 4);
    assert!(lines.iter().all(|line| line["db"] == 2 && line["target_db"] == 2));
    assert!(lines.iter().any(|line| line["key"] == "line\\nbreak"));
    assert!(lines.iter().all(|line| line["what"].as_str().is_some_and(|what| !what.is_empty())));
    assert_eq!(run.differences().len(), 20, "{}", run.frame());
    assert!(run.stdout.contains("285 more"), "{}", run.frame());
}

#[test]
fn a_sample_says_that_it_is_one() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", 4_000, 20);
    fill_strings(&mut source.client(1), "key", 1_000, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    let run = Keyferry::verify(source.url(), target.url()).args(["--sample", "500"]).expect(0);
    assert_eq!(run.report()["verify"]["mode"], "sample", "{}", run.frame());
    assert_eq!(run.count("compared"), 500, "{}", run.frame());
    assert!(run.stdout.contains("sample"), "{}", run.frame());
    // Every key differs: a sample cannot miss that.
    target.client(0).run(&cmd("FLUSHALL"));
    let run = Keyferry::verify(source.url(), target.url()).args(["--sample", "500"]).expect(1);
    assert_eq!(run.report()["verify"]["missing"], 500, "{}", run.frame());
}

#[test]
fn memory_is_bounded_however_many_keys_there_are_or_differ() {
    const KEYS: usize = 300_000;
    const MOST: f64 = 64.0 * 1024.0 * 1024.0;
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", KEYS, 10);
    let peak = |run: &crate::support::keyferry::Run| {
        run.report()["process"]["peak_resident_bytes"].as_f64().unwrap_or(f64::MAX)
    };
    let run = Keyferry::verify(source.url(), target.url()).expect(1);
    assert_eq!(run.report()["verify"]["missing"], KEYS, "{}", run.frame());
    assert!(peak(&run) < MOST, "{}", run.frame());
    let run = Keyferry::verify(target.url(), source.url()).expect(1);
    assert_eq!(run.report()["verify"]["extra"], KEYS, "{}", run.frame());
    assert!(peak(&run) < MOST, "{}", run.frame());
}

#[test]
fn an_interrupted_comparison_accounts_for_what_it_saw() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", 50_000, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    target.client(0).run(&cmd("FLUSHALL"));
    target.reset_commands();
    let slowly = ["--max-keys-rate", "2000", "--match", "*"];
    let running = Keyferry::verify(source.url(), target.url()).args(slowly).start();
    wait_until("values are compared", || target.calls("mget") > 3);
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted", "{}", run.frame());
    let seen = run.count("scanned");
    assert!(seen > 0 && seen < 50_000, "{}", run.frame());
    assert_eq!(run.report()["verify"]["missing"], seen, "{}", run.frame());
}

#[test]
fn keys_that_a_user_may_not_read_are_named_and_end_nothing() {
    let (source, target) = pair();
    fill_strings(&mut source.client(0), "key", 100, 20);
    Keyferry::copy(source.url(), target.url()).expect(0);
    source.client(0).set(b"hidden", b"value");
    target.client(0).set(b"other", b"value");
    let rules = ["~key*", "~keyferry*", "+@all"];
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("some").arg("on").arg(format!(">{SECRET}")).arg(&rules);
    source.client(0).run(&user);
    let url = format!("redis://some:{SECRET}@127.0.0.1:{}", source.port);
    let run = Keyferry::verify(url, target.url()).expect(1);
    run.assert_counts(&[("compared", 100), ("failed", 1)]);
    assert_eq!(run.report()["failures"][0]["key"], "hidden", "{}", run.frame());
    assert_eq!(run.differences(), [("extra".to_owned(), "other".to_owned())], "{}", run.frame());
    let what = run.report()["differences"][0]["what"].as_str().unwrap_or_default();
    assert!(what.contains("does not tell"), "{}", run.frame());
}
