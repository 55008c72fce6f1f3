//! Files copied into servers: everything arrives, as the options want it.

use keyferry::rdb::{Version, Writer};
use redis::cmd;

use super::{Place, backup, start, total_keys};
use crate::support::client::fill_strings;
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::{SAME_NUMBERS, fill, noise};
use crate::support::fault_proxy::{Behaviour, Fault, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};
use crate::support::{now_ms, wait_until};

/// A filled server and a file of it.
fn saved(kind: Kind) -> (Server, Place) {
    let (source, place) = (start(kind), Place::new());
    fill(&source);
    backup(source.url(), &place.file()).expect(0);
    (source, place)
}

#[test]
fn a_file_of_any_server_goes_into_any_server() {
    for from in Kind::ALL {
        let (source, place) = saved(from);
        for to in Kind::ALL {
            let target = Server::start(to);
            let run = Keyferry::copy(place.file(), target.url()).arg("--lossy").expect(0);
            assert_eq!(run.outcome(), "complete");
            run.assert_counts(&[("copied", total_keys(&source))]);
            assert_equal(&source, &target, &SAME_NUMBERS);
            let file = &run.report()["source"];
            let endpoint = file["endpoint"].as_str().expect("a text");
            assert!(endpoint.starts_with("file:/") && endpoint.ends_with("saved.rdb"));
            let server = file["server"].as_str().expect("a text");
            assert!(
                server.starts_with("rdb ") && server.contains(from.version_prefix()),
                "{server}"
            );
        }
    }
}

#[test]
fn a_file_made_of_scan_and_dump_goes_into_a_server() {
    for kind in Kind::ALL {
        let (source, place) = (start(kind), Place::new());
        fill(&source);
        backup(source.url(), &place.file()).args(["--fetch", "dump"]).expect(0);
        let target = Server::start(kind);
        let url = format!("file:{}", place.file().display());
        Keyferry::copy(url, target.url()).expect(0);
        assert_equal(&source, &target, &SAME_NUMBERS);
    }
}

#[test]
fn databases_and_filters_are_as_between_servers() {
    let (source, place) = saved(Kind::Redis70);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).args(["--db", "1:7"]).expect(0);
    run.assert_counts(&[("copied", source.client(1).dbsize() as u64)]);
    assert_equal(&source, &target, &[(1, 7)]);
    let options = ["--db", "0", "--db", "5:3", "--type", "hash", "--exclude", "*:binary"];
    let run = Keyferry::copy(place.file(), target.url()).args(options).expect(0);
    let all = (source.client(0).dbsize() + source.client(5).dbsize()) as u64;
    run.assert_counts(&[("copied", 6), ("filtered", all - 6)]);
    assert_target_is_a_part(&source, &target, &[(0, 0), (5, 3)]);
    assert_eq!((target.client(0).dbsize(), target.client(3).dbsize()), (3, 3));
    // Several databases of the file, one of the target.
    Keyferry::copy(place.file(), target.url_of(9)).expect(2);
}

#[test]
fn what_the_target_holds_is_treated_as_asked() {
    let (source, place) = saved(Kind::Redis70);
    let total = total_keys(&source);
    let target = Server::start(Kind::Valkey91);
    // One is small, one comes in pieces.
    target.client(0).set(b"string:raw", b"other");
    target.client(0).set(b"string:huge", b"other");
    let copy = |options: &[&str]| Keyferry::copy(place.file(), target.url()).args(options);
    copy(&[]).expect(4).assert_says(&["--if-exists"]);
    assert_eq!(target.client(0).dbsize(), 2);
    let run = copy(&["--if-exists", "skip", "--dry-run"]).expect(0);
    run.assert_counts(&[("copied", total - 2), ("skipped", 2)]);
    assert_eq!(target.client(0).dbsize(), 2);
    let run = copy(&["--if-exists", "fail", "--failures", "list"]).expect(1);
    run.assert_counts(&[("copied", total - 2), ("failed", 2)]);
    assert_eq!(run.report()["dead_letters_complete"], true, "{}", run.frame());
    copy(&["--if-exists", "skip"]).expect(0).assert_counts(&[("skipped", total)]);
    assert_eq!(target.client(0).get(b"string:huge").as_deref(), Some(&b"other"[..]));
    copy(&["--if-exists", "replace"]).expect(0).assert_counts(&[("copied", total)]);
    assert_equal(&source, &target, &SAME_NUMBERS);
}

#[test]
fn keys_that_have_expired_meanwhile_are_counted_and_not_copied() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 50, 20);
    let at = now_ms() + 1_500;
    for number in 0..20 {
        source.client(0).run(cmd("PEXPIREAT").arg(format!("key:{number}")).arg(at));
    }
    backup(source.url(), &place.file()).expect(0).assert_counts(&[("copied", 50)]);
    wait_until("they have expired", || now_ms() > at);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).expect(0);
    run.assert_counts(&[("copied", 30), ("expired", 20)]);
    assert_eq!(target.client(0).dbsize(), 30);
}

#[test]
fn values_of_any_size_take_no_more_memory_than_was_allowed() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    source.client(0).set(b"giant", &noise(5, 60_000_000));
    for number in 0..8 {
        source.client(0).set(format!("large:{number}").as_bytes(), &noise(number, 3_000_000));
    }
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).args(["--memory", "32MiB"]).expect(0);
    let peak = run.report()["process"]["peak_resident_bytes"].as_u64().expect("a number");
    assert!(peak < 40 << 20, "{peak}{}", run.frame());
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn connections_that_break_cost_nothing() {
    let (source, place) = saved(Kind::Redis70);
    for at in [60_000, 2_000_000, 5_000_000, 8_000_000] {
        for policy in ["replace", "fail"] {
            let target = Server::start(Kind::Redis70);
            let cut = Some((at, Fault::CloseOnce));
            let behaviour = Behaviour { after_requests: cut, ..Behaviour::default() };
            let proxy = FaultProxy::start(target.port, behaviour);
            let run = Keyferry::copy(place.file(), proxy.url()).args(["--if-exists", policy]);
            let run = run.expect(0);
            assert!(proxy.struck());
            run.assert_counts(&[("copied", total_keys(&source))]);
            assert_equal(&source, &target, &SAME_NUMBERS);
        }
    }
}

#[test]
fn an_interrupted_copy_tells_how_far_it_came() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 20_000, 1_000);
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let slow = Behaviour { rate: Some(4_000_000), ..Behaviour::default() };
    let proxy = FaultProxy::start(target.port, slow);
    let mut running = Keyferry::copy(place.file(), proxy.url()).start();
    let mut client = target.client(0);
    wait_until("the first keys have arrived", || client.dbsize() > 0 || running.is_over());
    running.signal("INT");
    let run = running.finish();
    run.assert_code(&[130]);
    assert_eq!(run.outcome(), "interrupted");
    assert_eq!(run.count("copied"), client.dbsize() as u64, "{}", run.frame());
    assert!(run.count("copied") < 20_000);
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}

#[test]
fn a_target_that_is_full_is_told_from_a_bad_file() {
    let (_source, place) = saved(Kind::Redis70);
    let target = Setup::new(Kind::Redis70).option("--maxmemory", "4mb").start();
    let run = Keyferry::copy(place.file(), target.url()).impatient().expect(1);
    run.assert_says(&["target", "OOM"]);
}

#[test]
fn what_needs_a_server_as_source_is_a_mistake() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    for options in [
        &["--delete-source"][..],
        &["--source-compression", "off"],
        &["--fetch", "dump"],
        &["--max-source-latency", "5ms"],
        &["--if-exists", "merge"],
        &["--source-username", "me"],
    ] {
        let run = Keyferry::copy(place.file(), target.url()).args(options).expect(2);
        run.assert_says(&["file"]);
    }
    Keyferry::copy(target.url(), place.file()).expect(2).assert_says(&["keyferry backup"]);
    Keyferry::copy("no-such-file.rdb", target.url()).expect(2).assert_says(&["no-such-file.rdb"]);
}

/// A file of these keys of database 0: name, expiry (0: never), type byte and value.
fn write(place: &Place, version: u16, keys: &[(String, i64, Vec<u8>)]) {
    let file = std::fs::File::create(place.file()).expect("a file");
    let mut writer = Writer::new(file, Version::new(version)).expect("it begins");
    writer.database(0, keys.len() as u64, 0).expect("a database");
    for (name, expiry, body) in keys {
        writer.key(name.as_bytes(), *expiry, body).expect("a key");
    }
    writer.finish().expect("it ends");
}

#[test]
fn of_keys_of_one_name_the_last_is_copied() {
    let place = Place::new();
    let value = |text: String| {
        let mut body = vec![0, 0x40 | u8::try_from(text.len() >> 8).expect("short")];
        body.extend([u8::try_from(text.len() & 255).expect("a byte")]);
        [body, text.into_bytes()].concat()
    };
    let mut keys = Vec::new();
    for round in 0..3 {
        for number in 0..2_000 {
            // Every name once, each second one twice, some three times.
            if round == 0 || number % (2 * round) == 0 {
                let text = format!("{number} in round {round}").repeat(40);
                keys.push((format!("key:{number}"), 0, value(text)));
            }
        }
    }
    write(&place, 9, &keys);
    let replaced = keys.len() as u64 - 2_000;
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(place.file(), target.url()).expect(0);
    run.assert_counts(&[("scanned", 4_000 - 500), ("copied", 2_000), ("skipped", replaced)]);
    run.assert_says(&["names twice", "1,500"]);
    assert_eq!(target.client(0).dbsize(), 2_000);
    for number in [0, 1, 2, 1_998, 1_999] {
        let round = if number % 4 == 0 { 2 } else { (number + 1) % 2 };
        let held = target.client(0).get(format!("key:{number}").as_bytes());
        let expected = format!("{number} in round {round}").repeat(40);
        assert_eq!(held.as_deref(), Some(expected.as_bytes()), "key:{number}");
    }
}

#[test]
fn hashes_whose_fields_have_all_expired_are_counted_as_that() {
    for kind in [Kind::Redis82, Kind::Valkey91] {
        let (source, place) = (start(kind), Place::new());
        let mut client = source.client(0);
        client.run(cmd("DEBUG").arg("SET-ACTIVE-EXPIRE").arg(0));
        let at = now_ms() + 1_000;
        for number in 0..30 {
            let key = format!("hash:{number}");
            client.run(cmd("HSET").arg(&key).arg("dying").arg("v"));
            client.run(cmd("HPEXPIREAT").arg(&key).arg(at).arg("FIELDS").arg(1).arg("dying"));
            if number < 10 {
                client.run(cmd("HSET").arg(&key).arg("lasting").arg("v"));
            }
        }
        backup(source.url(), &place.file()).expect(0).assert_counts(&[("copied", 30)]);
        wait_until("they have expired", || now_ms() > at + 200);
        for to in [kind, Kind::Redis70] {
            let target = Server::start(to);
            let run = Keyferry::copy(place.file(), target.url()).arg("--lossy").expect(0);
            run.assert_counts(&[("copied", 10), ("expired", 20)]);
            assert_eq!(target.client(0).dbsize(), 10, "{kind:?} to {to:?}{}", run.frame());
            // What is dead is not there, whether it is stored or not.
            let fields: Vec<String> = target.client(0).call(cmd("HKEYS").arg("hash:3"));
            assert_eq!(fields, ["lasting"], "{kind:?} to {to:?}");
        }
    }
}

#[test]
fn a_dry_run_names_the_keys_that_would_fail() {
    let (source, place) = (start(Kind::Redis82), Place::new());
    fill_strings(&mut source.client(0), "key", 300, 20);
    for number in 0..3 {
        let key = format!("hash:{number}");
        source.client(0).run(cmd("HSET").arg(&key).arg("f").arg("v").arg("g").arg("w"));
        source.client(0).run(cmd("HEXPIRE").arg(&key).arg(1000).arg("FIELDS").arg(1).arg("f"));
    }
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let copy = |options: &[&str]| Keyferry::copy(place.file(), target.url()).args(options);
    for options in [&["--dry-run"][..], &[]] {
        let run = copy(options).expect(1);
        run.assert_counts(&[("copied", 300), ("failed", 3)]);
        let named = run.report()["failures"].to_string();
        assert_eq!(named.matches("of the hash's fields expire").count(), 3, "{}", run.frame());
    }
    let lossy = ["--dry-run", "--lossy", "--if-exists", "replace"];
    let run = copy(&lossy).expect(0);
    run.assert_counts(&[("copied", 303)]);
    assert_eq!(run.report()["losses"]["keys"], 3, "{}", run.frame());
}

#[test]
fn a_foreign_key_that_appears_meanwhile_is_not_overwritten() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    fill_strings(&mut source.client(0), "key", 6_000, 50);
    backup(source.url(), &place.file()).expect(0);
    let target = Server::start(Kind::Redis70);
    let slow = ["--max-keys-rate", "3000"];
    let mut running = Keyferry::copy(place.file(), target.url()).args(slow).start();
    let mut there = target.client(0);
    wait_until("the first keys have arrived", || there.dbsize() > 100 || running.is_over());
    let mut foreign = Vec::new();
    for number in (0..6_000).step_by(13) {
        let name = format!("key:{number}");
        if there.call(cmd("SETNX").arg(&name).arg("newer")) {
            foreign.push(name);
        }
    }
    let run = running.finish();
    assert!(foreign.len() > 50, "the copy was too fast: {}", foreign.len());
    for name in &foreign {
        let held = there.get(name.as_bytes());
        assert_eq!(held.as_deref(), Some(&b"newer"[..]), "{name} was overwritten{}", run.frame());
    }
    run.assert_code(&[1]);
    let foreign = foreign.len() as u64;
    run.assert_counts(&[("copied", 6_000 - foreign), ("failed", foreign)]);
}

#[test]
fn a_lost_answer_does_not_make_a_value_of_the_file_somebody_elses() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    let mut here = source.client(0);
    // A small value, one that goes in pieces, and one that servers keep in an order of their own.
    here.set(b"small", b"value");
    here.set(b"large", &noise(1, 3_000_000));
    let mut set = cmd("SADD");
    set.arg("large:set");
    let long = "m".repeat(40);
    set.arg((0..60_000).map(|number| format!("{number} {long}")).collect::<Vec<_>>());
    here.run(&set);
    backup(source.url(), &place.file()).expect(0);
    // What is asked before has such ends, too.
    let end: &[u8] = b"\r\n$6\r\nABSTTL\r\n";
    for (key, needle, spared) in [
        ("small", &b"$5\r\nsmall\r\n"[..], 0),
        ("large", end, 1_000_000),
        ("large:set", end, 1_000_000),
    ] {
        let target = Server::start(Kind::Redis70);
        let for_answer_to = Some((needle, Fault::CloseOnce));
        let behaviour = Behaviour { for_answer_to, spared, ..Behaviour::default() };
        let proxy = FaultProxy::start(target.port, behaviour);
        let only = ["--match", key, "--connections", "1"];
        let run = Keyferry::copy(place.file(), proxy.url()).args(only).expect(0);
        assert!(proxy.struck(), "nothing broke{}", run.frame());
        run.assert_counts(&[("copied", 1), ("filtered", 2)]);
    }
}
