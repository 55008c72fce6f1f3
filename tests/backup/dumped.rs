//! A file made of SCAN and DUMP: where the source hands none out, or a part is meant.

use redis::cmd;

use super::{Place, backup, loaded, start, total_keys};
use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill, fill_database};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::SECRET;
use crate::support::server::Kind;
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
