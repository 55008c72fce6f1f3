//! What `keyferry plan` finds, and what it does not do.

mod agree;
mod blockers;
mod copy_refuses;
mod foresight;
mod good;
mod long_values;
mod pairs;
mod permissions;
mod rights;
mod unsupported;
mod untouched;
mod warnings;

use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

/// Both sides as good as they can be: a source with some strings and an empty target.
fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    crate::support::client::fill_strings(&mut source.client(0), "key", 300, 20);
    (source, target)
}

/// Fails unless the plan names this blocker and no other, with a remedy, and ends with 4.
#[track_caller]
fn is_blocked(plan: Keyferry, code: &str) -> Run {
    let run = plan.impatient().expect(4);
    assert_eq!(run.outcome(), "refused", "{}", run.frame());
    assert_eq!(run.findings("blocker"), [code], "{}", run.frame());
    let findings = run.report()["findings"].as_array().expect("findings");
    for finding in findings.iter().filter(|finding| finding["severity"] != "note") {
        let remedy = finding["remedy"].as_str().unwrap_or_default();
        assert!(!remedy.is_empty(), "no remedy{}", run.frame());
    }
    assert!(run.stdout.contains("BLOCKER") && run.stdout.contains("NOT READY"), "{}", run.frame());
    run
}
