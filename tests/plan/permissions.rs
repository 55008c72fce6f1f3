//! The two users that docs/permissions.md lists: enough for plan, copy and verify, and nothing in them is idle.

use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::permissions::{add_user, rules_of};
use crate::support::server::{Kind, Server};

/// Not tried: nobody needs all of the first, which holds the second from Redis 7.0 on.
const NOT_TRIED: [&str; 2] = ["+@connection", "+select"];

#[test]
fn they_can_plan_copy_and_verify() {
    for (from, to) in [(Kind::Redis70, Kind::Valkey91), (Kind::Redis62, Kind::Redis82)] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill(&source);
        let reader = add_user(&source, "reader", &rules_of("reader"));
        let writer = add_user(&target, "writer", &rules_of("writer"));
        let run = Keyferry::plan(&reader, &writer).args(["--verify", "full"]).expect(0);
        assert!(run.findings("blocker").is_empty(), "{}", run.frame());
        Keyferry::copy(&reader, &writer).args(["--verify", "full"]).expect(0);
        assert_equal(&source, &target, &SAME_NUMBERS);
        Keyferry::verify(&reader, &writer).expect(0);
    }
}

/// What the plan says of a user of `side` that lacks a right.
fn without(servers: (&Server, &Server), side: &str, right: &str) -> Run {
    let (source, target) = servers;
    let (mut reading, mut writing) = (rules_of("reader"), rules_of("writer"));
    let lessened = if side == "source" { &mut reading } else { &mut writing };
    lessened.retain(|rule| *rule != right);
    let (reader, writer) =
        (add_user(source, "reader", &reading), add_user(target, "writer", &writing));
    Keyferry::plan(reader, writer).args(["--verify", "full"]).run()
}

#[test]
fn every_right_of_theirs_is_missed() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    source.client(0).set(b"a", b"1");
    source.client(1).set(b"a", b"1");
    for (side, name) in [("source", "reader"), ("target", "writer")] {
        let tried = rules_of(name);
        let tried = tried.iter().filter(|rule| rule.starts_with('+') && !NOT_TRIED.contains(rule));
        for right in tried {
            let run = without((&source, &target), side, right);
            run.assert_code(&[0, 4]);
            let findings = run.report()["findings"].as_array().expect("findings");
            let told = findings.iter().any(|finding| {
                let granted = finding["remedy"].as_str().unwrap_or_default();
                finding["side"] == side && granted.split_whitespace().any(|word| word == *right)
            });
            assert!(told, "{right} of {side} is not missed{}", run.frame());
        }
    }
}
