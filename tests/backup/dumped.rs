//! A file made of SCAN and DUMP: where the source hands none out, or a part is meant.

use redis::{Cmd, cmd};

use super::{Place, backup, loaded, start, total_keys};
use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill, fill_database};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::{Run, SECRET};
use crate::support::rewriting_proxy::{RewritingProxy, without_lines};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

#[test]
fn every_server_loads_what_a_user_without_psync_saved_of_it() {
    for kind in Kind::ALL {
        let source = start(kind);
        fill(&source);
        let mut user = cmd("ACL");
        user.arg("SETUSER").arg("reader").arg("on").arg(format!(">{SECRET}"));
        source.client(0).run(user.arg(&["~*", "&*", "+@all", "-psync", "-sync"]));
        let place = Place::new();
        let url = format!("redis://reader:{SECRET}@127.0.0.1:{}", source.port);
        let run = backup(url, &place.file()).expect(0);
        run.assert_says(&["SCAN and DUMP"]);
        run.assert_counts(&[("copied", total_keys(&source))]);
        assert_eq!(place.names(), ["saved.rdb"]);
        assert_equal(&source, &loaded(kind, &place.file()), &SAME_NUMBERS);
    }
}

#[test]
fn a_part_is_exactly_that_part() {
    let source = start(Kind::Redis70);
    fill(&source);
    for (options, pairs) in
        [(&["--db", "1"][..], &[(1, 1)][..]), (&["--db", "5", "--db", "0"], &[(0, 0), (5, 5)])]
    {
        let place = Place::new();
        backup(source.url(), &place.file()).args(options).expect(0);
        let found = loaded(Kind::Redis70, &place.file());
        assert_equal(&source, &found, pairs);
        let held: String = found.client(0).call(cmd("INFO").arg("keyspace"));
        assert_eq!(held.lines().filter(|line| line.starts_with("db")).count(), pairs.len());
    }
    let place = Place::new();
    let options = ["--match", "*:small", "--exclude", "set*", "--type", "hash", "--type", "set"];
    let run = backup(source.url_of(1), &place.file()).args(options).expect(0);
    assert_eq!(run.count("copied"), 1);
    let found = loaded(Kind::Redis70, &place.file());
    assert!(found.client(1).exists(b"hash:small") && found.client(1).dbsize() == 1);
}

#[test]
fn connections_that_break_cost_nothing() {
    for at in [60_000, 5_000_000, 8_000_000] {
        let source = start(Kind::Redis70);
        fill(&source);
        let behaviour =
            Behaviour { after_replies: Some((at, Fault::CloseOnce)), ..Behaviour::default() };
        let proxy = FaultProxy::start(source.port, behaviour);
        let place = Place::new();
        let run = backup(proxy.url(), &place.file()).args(["--fetch", "dump"]).expect(0);
        assert!(proxy.struck());
        run.assert_counts(&[("copied", total_keys(&source))]);
        assert_equal(&source, &loaded(Kind::Redis70, &place.file()), &SAME_NUMBERS);
    }
}

#[test]
fn rates_are_asked_for_and_functions_are_saved() {
    let source = start(Kind::Redis70);
    fill_database(&source, 0);
    let library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(library));
    let place = Place::new();
    source.reset_commands();
    backup(source.url(), &place.file()).args(["--max-keys-rate", "1000000"]).expect(0);
    assert_eq!(source.calls("psync"), 0, "nobody counts the keys of that");
    let found = loaded(Kind::Redis70, &place.file());
    assert_equal(&source, &found, &[(0, 0)]);
    let seven: i64 = found.client(0).call(cmd("FCALL").arg("f").arg(0));
    assert_eq!(seven, 7);
}

#[test]
fn keys_that_come_and_go_meanwhile_make_no_bad_file() {
    let source = start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 30_000, 100);
    let slow = Behaviour { rate: Some(1_500_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(source.port, slow);
    let place = Place::new();
    let mut running = backup(proxy.url(), &place.file()).args(["--fetch", "dump"]).start();
    wait_until("it has begun", || proxy.reply_bytes() > 300_000 || running.is_over());
    let mut client = source.client(0);
    // The table shrinks while it is scanned: SCAN names keys twice then.
    let doomed: Vec<usize> = (0..30_000).filter(|number| number % 16 > 0).collect();
    for some in doomed.chunks(1_000) {
        let names: Vec<String> = some.iter().map(|number| format!("key:{number}")).collect();
        client.run(cmd("DEL").arg(&names));
    }
    assert!(!running.is_over(), "nothing came or went meanwhile");
    running.finish().assert_code(&[0]);
    let found = loaded(Kind::Redis70, &place.file());
    let mut client = found.client(0);
    for number in (0..30_000).step_by(16) {
        assert!(client.exists(format!("key:{number}").as_bytes()), "key:{number} is missing");
    }
}

/// A backup of two databases in which this happens to the source once it has begun.
fn beside(url: &str, source: &Server, happens: &Cmd) -> (Run, Place) {
    let place = Place::new();
    let slowly = ["--fetch", "dump", "--max-keys-rate", "3000"];
    source.reset_commands();
    let mut running = backup(url, &place.file()).args(slowly).start();
    wait_until("keys are read", || source.calls("dump") > 200 || running.is_over());
    source.client(0).run(happens);
    (running.finish(), place)
}

fn two_databases() -> Server {
    let source = start(Kind::Redis70);
    for db in [0, 1] {
        fill_strings(&mut source.client(db), &format!("of {db}"), 3_000, 20);
    }
    source
}

#[test]
fn databases_that_are_exchanged_or_emptied_meanwhile_are_no_backup() {
    for words in ["SWAPDB 0 1", "FLUSHALL", "FLUSHDB"] {
        let source = two_databases();
        let mut command = Cmd::new();
        words.split(' ').for_each(|word| {
            command.arg(word);
        });
        let (run, place) = beside(&source.url(), &source, &command);
        run.assert_code(&[1]);
        run.assert_says(&["source", words.split(' ').next().unwrap_or_default()]);
        assert_eq!(run.outcome(), "incomplete", "{}", run.frame());
        assert_eq!(place.names(), Vec::<String>::new());
    }
}

#[test]
fn where_that_cannot_be_known_only_a_source_at_rest_is_saved() {
    let hidden = |source: &Server| {
        RewritingProxy::of_info(source, |text| without_lines(text, &["cmdstat_"]))
    };
    let source = two_databases();
    let proxy = hidden(&source);
    let (run, place) = beside(&proxy.url(), &source, cmd("SET").arg("written").arg("now"));
    run.assert_code(&[1]);
    run.assert_says(&["not known", "commandstats"]);
    assert_eq!(place.names(), Vec::<String>::new());
    let (run, place) = beside(&proxy.url(), &source, cmd("GET").arg("read"));
    run.assert_code(&[0]);
    assert_eq!(place.names(), ["saved.rdb"]);
    // Where it is told, others may write.
    let (run, _) = beside(&source.url(), &source, cmd("SET").arg("written").arg("now"));
    run.assert_code(&[0]);
}
