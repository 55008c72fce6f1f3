//! ACL users that lack something: the message names the command and the rule that grants it.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::keyferry::{Keyferry, Run, SECRET};
use crate::support::server::{Kind, Server};

const KEYS: usize = 300;

/// Adds the user `mover` with these rules.
fn add_mover(server: &Server, rules: &[&str]) {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}"));
    server.client(0).run(user.arg(rules));
}

fn mover(server: &Server) -> String {
    format!("redis://mover:{SECRET}@127.0.0.1:{}", server.port)
}

fn servers() -> (Server, Server) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", KEYS, 20);
    (source, target)
}

#[test]
fn a_user_with_all_rights() {
    let (source, target) = servers();
    for server in [&source, &target] {
        add_mover(server, &["~*", "&*", "+@all"]);
    }
    Keyferry::copy(mover(&source), mover(&target)).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_user_with_few_rights_is_enough() {
    // Nothing administrative is needed on either side: managed servers do not give it.
    let (source, target) = servers();
    let reader = "+ping +info +select +scan +dump +pttl +pexpiretime +type +exists +dbsize +time \
                  +client|setname +hello +command";
    let writer =
        "+ping +info +select +restore +scan +exists +dbsize +time +client|setname +hello +command";
    add_mover(&source, &[&["~*"], &*reader.split_whitespace().collect::<Vec<_>>()].concat());
    add_mover(&target, &[&["~*"], &*writer.split_whitespace().collect::<Vec<_>>()].concat());
    Keyferry::copy(mover(&source), mover(&target)).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

/// Copies as a user who lacks one command on one side.
#[track_caller]
fn lacks(side: &str, rules: &[&str], rule: &str) -> Run {
    let (source, target) = servers();
    let (mut from, mut to) = (source.url(), target.url());
    let restricted = if side == "source" { (&source, &mut from) } else { (&target, &mut to) };
    add_mover(restricted.0, rules);
    *restricted.1 = mover(restricted.0);
    let run = Keyferry::copy(from, to).impatient().arg("--delete-source").run();
    run.assert_code(&[3, 4]);
    run.assert_says(&[side, rule]);
    assert_eq!(source.client(0).dbsize(), KEYS, "nothing may be lost{}", run.frame());
    assert_eq!(target.client(0).dbsize(), 0, "{}", run.frame());
    run
}

#[test]
fn a_source_user_without_dump() {
    lacks("source", &["~*", "&*", "+@all", "-dump"], "+dump");
}

#[test]
fn a_source_user_without_scan() {
    lacks("source", &["~*", "&*", "+@all", "-scan"], "+scan");
}

#[test]
fn a_target_user_without_restore() {
    lacks("target", &["~*", "&*", "+@all", "-restore"], "+restore");
}

#[test]
fn a_target_user_without_dangerous_commands() {
    // Rather usual, and RESTORE is among them.
    lacks("target", &["~*", "&*", "+@all", "-@dangerous", "+info"], "+restore");
}

#[test]
fn a_target_user_who_may_write_only_some_keys() {
    let (source, target) = servers();
    add_mover(&target, &["~key:1*", "&*", "+@all"]);
    let run = Keyferry::copy(source.url(), mover(&target)).impatient().run();
    run.assert_code(&[1, 3, 4]);
    run.assert_says_one_of(&["noperm", "permission", "acl"]);
    crate::support::compare::assert_target_is_a_part(&source, &target, &[(0, 0)]);
}
