//! Users that lack something: found by trying, where nothing can come of it.

use redis::cmd;

use super::{is_blocked, servers};
use crate::support::client::fill_strings;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server};

/// A user with every right but these.
pub(super) fn user_without(server: &Server, rules: &[&str]) -> String {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}"));
    server.client(0).run(user.arg(&["~*", "&*", "+@all"]).arg(rules));
    format!("redis://mover:{SECRET}@127.0.0.1:{}", server.port)
}

#[test]
fn a_source_user_without_scan_and_dump() {
    let (source, target) = servers();
    let reader = user_without(&source, &["-scan", "-dump"]);
    let run = is_blocked(Keyferry::plan(reader, target.url()), "no-permission of source");
    assert!(run.stdout.contains("+scan +dump"), "{}", run.frame());
}

#[test]
fn a_source_user_without_info() {
    let (source, target) = servers();
    let reader = user_without(&source, &["-info"]);
    is_blocked(Keyferry::plan(reader, target.url()), "no-permission of source");
}

#[test]
fn a_target_user_without_restore() {
    let (source, target) = servers();
    let writer = user_without(&target, &["-restore"]);
    let run = is_blocked(Keyferry::plan(source.url(), writer), "no-permission of target");
    assert!(run.stdout.contains("+restore"), "{}", run.frame());
}

#[test]
fn a_target_user_without_select() {
    let (source, target) = servers();
    let writer = user_without(&target, &["-select"]);
    // Every connection begins on database 0.
    Keyferry::plan(source.url(), &writer).expect(0);
    let plan = Keyferry::plan(source.url(), writer).args(["--db", "0:1"]);
    let run = is_blocked(plan, "no-database of target");
    assert!(run.stdout.contains("+select"), "{}", run.frame());
}

#[test]
fn a_move_by_a_user_that_may_not_delete() {
    let (source, target) = servers();
    for right in ["unlink", "multi", "watch", "exec"] {
        let reader = user_without(&source, &["-del", &format!("-{right}")]);
        let plan = Keyferry::plan(&reader, target.url());
        let run = is_blocked(plan.arg("--delete-source"), "no-permission of source");
        assert!(run.stdout.contains(&format!("+{right}")), "{}", run.frame());
        Keyferry::plan(reader, target.url()).expect(0);
    }
    assert_eq!(source.client(0).dbsize(), 300);
}

#[test]
fn a_merge_by_a_user_that_may_not_tell_when_fields_expire() {
    let (source, target) = (Server::start(Kind::Redis82), Server::start(Kind::Redis82));
    let merge = |source: &str, target: &str| {
        Keyferry::plan(source, target).args(["--if-exists", "merge"]).expect(0)
    };
    let reader = user_without(&source, &["-hpexpiretime"]);
    let run = merge(&reader, &target.url());
    assert_eq!(run.findings("warning"), ["no-permission of source"], "{}", run.frame());
    let writer = user_without(&target, &["-hpexpireat"]);
    let run = merge(&source.url(), &writer);
    assert_eq!(run.findings("warning"), ["no-permission of target"], "{}", run.frame());
    assert!(run.stdout.contains("+hpexpireat"), "{}", run.frame());
}

#[test]
fn compression_that_may_not_be_turned_off() {
    let (source, target) = servers();
    for right in ["config|get", "config|set"] {
        let reader = user_without(&source, &[&format!("-{right}")]);
        let plan = Keyferry::plan(reader, target.url()).args(["--source-compression", "off"]);
        is_blocked(plan, "source-compression of source");
    }
    let reader = user_without(&source, &[]);
    Keyferry::plan(reader, target.url()).args(["--source-compression", "off"]).expect(0);
    let compresses: Vec<String> =
        source.client(0).call(cmd("CONFIG").arg("GET").arg("rdbcompression"));
    assert_eq!(compresses[1], "yes");
}

#[test]
fn functions_that_may_not_be_loaded() {
    let (source, target) = servers();
    let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
    let writer = user_without(&target, &["-function|load"]);
    let plan = Keyferry::plan(source.url(), writer).arg("--with-functions");
    is_blocked(plan, "functions of target");
}

#[test]
fn what_only_makes_it_slower_is_no_blocker() {
    let (source, target) = servers();
    let reader = user_without(&source, &["-mget", "-memory|usage"]);
    let run = Keyferry::plan(reader, target.url()).expect(0);
    let notes = run.findings("note");
    for code in ["slower of source", "not-measured of source"] {
        assert!(notes.contains(&code.to_owned()), "{code}{}", run.frame());
    }
    assert_eq!(run.report()["estimate"]["memory"], serde_json::Value::Null);
    assert_eq!(run.report()["types"][0]["way"], "verbatim", "{}", run.frame());
}

/// It is not known then what the target is, and nothing is said that would follow from it.
#[test]
fn a_target_user_without_info() {
    let source = Server::start(Kind::Redis82);
    let mut client = source.client(0);
    client.run(cmd("XADD").arg("stream").arg("*").arg("f").arg("v"));
    client.run(cmd("HSET").arg("hash").arg("f").arg("v"));
    client.run(cmd("HEXPIRE").arg("hash").arg(1000).arg("FIELDS").arg(1).arg("f"));
    client.run(cmd("VADD").arg("vectors").arg(&["VALUES", "2", "1", "2", "element"]));
    client.set(b"string", b"value");
    for kind in [Kind::Valkey91, Kind::Redis82] {
        let target = Server::start(kind);
        let writer = user_without(&target, &["-info"]);
        let run = is_blocked(Keyferry::plan(source.url(), writer), "no-permission of target");
        let modules = ["module-values of source".to_owned()];
        assert!([&[][..], &modules].contains(&&*run.findings("warning")), "{}", run.frame());
        assert!(!run.stdout.contains("NOT AT ALL"), "{}", run.frame());
        assert!(!run.stdout.contains("modules-missing"), "{}", run.frame());
    }
}

/// Of what is not permitted, and only of that: the key of the trial may be outside the user's patterns.
#[test]
fn transactions_that_are_permitted_are_not_said_to_be_refused() {
    let (source, target) = servers();
    let note = "two-questions of source".to_owned();
    for rules in [&["resetkeys", "~key:*"][..], &[]] {
        let reader = user_without(&source, rules);
        let run = Keyferry::plan(reader, target.url()).expect(0);
        assert!(!run.findings("note").contains(&note), "{rules:?}{}", run.frame());
    }
    for (denied, granted) in [
        (&["-multi"][..], "+multi"),
        (&["-exec"], "+exec"),
        (&["resetkeys", "~key:*", "-multi"], "+multi"),
        (&["-multi", "-exec"], "+multi +exec"),
    ] {
        let reader = user_without(&source, denied);
        let run = Keyferry::plan(reader, target.url()).expect(0);
        assert!(run.findings("note").contains(&note), "{denied:?}{}", run.frame());
        let advice = format!("ACL SETUSER <user> {granted}\n");
        assert!(run.stdout.contains(&advice), "{denied:?}{}", run.frame());
    }
}

/// Whether the user may ask for its patterns or not.
#[test]
fn keys_that_are_not_meant_are_no_cause_for_a_warning() {
    let (source, target) = servers();
    fill_strings(&mut source.client(0), "app", 20_000, 2);
    let warned = "keys-denied of source".to_owned();
    for more in ["+acl", "-acl"] {
        for (pattern, meant, clear) in [
            ("~app:*", "app:*", true),
            ("~app:*", "app:1*", true),
            ("~a*", "app:?*", true),
            ("~app:[0-9]*", "app:[0-9]*", true),
            ("~app:[0-9]*", "app:*", false),
            ("~app:*", "a*", false),
            ("~app:*[0-9]", "app:*", false),
        ] {
            let reader = user_without(&source, &["resetkeys", pattern, more]);
            let run = Keyferry::plan(reader, target.url()).args(["--match", meant]).expect(0);
            let warnings = run.findings("warning");
            assert_eq!(!warnings.contains(&warned), clear, "{pattern} {meant}{}", run.frame());
        }
    }
    // All that there are.
    source.client(0).run(cmd("FLUSHALL").arg("SYNC"));
    fill_strings(&mut source.client(0), "app", 20, 2);
    let reader = user_without(&source, &["resetkeys", "~app:*"]);
    let run = Keyferry::plan(&reader, target.url()).expect(0);
    assert!(run.stdout.contains("Nothing stands in the way"), "{}", run.frame());
    Keyferry::copy(reader, target.url()).expect(0);
}

/// What the proof needs of it, as it is.
#[test]
fn a_target_user_that_may_not_look_for_names() {
    let (source, target) = servers();
    let writer = user_without(&target, &["-exists"]);
    let plan = |options: &[&str]| Keyferry::plan(source.url(), &writer).args(options).expect(0);
    let some = ["--match", "key:1*"];
    let run = plan(&some);
    assert!(run.stdout.contains("so that the copy ends with exit code 1"), "{}", run.frame());
    let run = Keyferry::copy(source.url(), &writer).args(some).expect(1);
    run.assert_says(&["EXISTS", "+exists"]);
    target.client(0).run(cmd("FLUSHALL").arg("SYNC"));
    // Numbers prove it, as long as nobody else writes.
    let run = plan(&[]);
    assert!(run.stdout.contains("where anybody else writes"), "{}", run.frame());
    Keyferry::copy(source.url(), &writer).expect(0);
}

#[test]
fn wrong_passwords_and_closed_ports_are_told_as_by_a_copy() {
    let (source, target) = servers();
    user_without(&target, &[]);
    let wrong = format!("redis://mover:wrong@127.0.0.1:{}", target.port);
    Keyferry::plan(source.url(), wrong).expect(3).assert_says(&["AUTH"]);
    let gone = Server::start(Kind::Redis70).url();
    Keyferry::plan(source.url(), gone).impatient().expect(3).assert_says(&["cannot connect"]);
}
