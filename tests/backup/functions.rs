//! Functions: copied where that is asked for, told of where it is not.

use redis::cmd;

use super::{Place, backup, start};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};

/// A library whose function `NAME` answers this number.
fn load(server: &Server, name: &str, number: u32) {
    let code = format!(
        "#!lua name={name}\nredis.register_function('{name}', function() return {number} end)"
    );
    server.client(0).run(cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(code));
}

#[track_caller]
fn answers(server: &Server, name: &str) -> Option<u32> {
    server.client(0).try_call(cmd("FCALL").arg(name).arg(0)).ok()
}

/// A server with two libraries, and a file of it.
fn saved(kind: Kind) -> (Server, Place) {
    let (source, place) = (start(kind), Place::new());
    source.client(0).set(b"key", b"value");
    load(&source, "one", 1);
    load(&source, "two", 2);
    backup(source.url(), &place.file()).expect(0);
    (source, place)
}

/// Copies from the server and from the file.
fn both(source: &Server, place: &Place, check: impl Fn(&dyn Fn(&Server, &[&str]) -> Run)) {
    let file = place.file().to_str().expect("a plain name").to_owned();
    for from in [source.url(), file] {
        check(&|target, options| {
            let run = Keyferry::copy(&from, target.url()).args(options).args(["--db", "0"]).run();
            target.client(0).run(&cmd("FLUSHALL"));
            run
        });
    }
}

#[test]
fn they_go_to_any_server_that_knows_them() {
    for (from, to) in [
        (Kind::Redis70, Kind::Valkey91),
        (Kind::Valkey91, Kind::Redis70),
        (Kind::Redis82, Kind::Valkey81),
    ] {
        let (source, place) = saved(from);
        both(&source, &place, |copy| {
            let target = Server::start(to);
            copy(&target, &["--with-functions"]).assert_code(&[0]);
            assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(2)));
        });
    }
}

#[test]
fn without_being_asked_for_they_stay_and_that_is_said() {
    let (source, place) = saved(Kind::Redis70);
    both(&source, &place, |copy| {
        let target = Server::start(Kind::Redis70);
        let run = copy(&target, &[]);
        run.assert_code(&[0]);
        run.assert_says(&["2 libraries", "--with-functions"]);
        assert_eq!(answers(&target, "one"), None);
    });
}

#[test]
fn what_the_target_holds_is_treated_as_asked() {
    let (source, place) = saved(Kind::Redis70);
    both(&source, &place, |copy| {
        let target = Server::start(Kind::Redis70);
        load(&target, "two", 22);
        load(&target, "three", 33);
        for policy in [&["--with-functions"][..], &["--with-functions", "--if-exists", "fail"]] {
            let run = copy(&target, policy);
            run.assert_code(&[4]);
            run.assert_says(&["named two", "--if-exists"]);
            assert_eq!((answers(&target, "one"), answers(&target, "two")), (None, Some(22)));
        }
        copy(&target, &["--with-functions", "--if-exists", "skip"]).assert_code(&[0]);
        assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(22)));
        copy(&target, &["--with-functions", "--if-exists", "replace"]).assert_code(&[0]);
        let all = ["one", "two", "three"].map(|name| answers(&target, name));
        assert_eq!(all, [Some(1), Some(2), Some(33)]);
    });
}

#[test]
fn a_target_that_knows_none_is_refused_before_anything_is_written() {
    let (source, place) = saved(Kind::Redis70);
    both(&source, &place, |copy| {
        let target = Server::start(Kind::Redis62);
        let run = copy(&target, &["--with-functions"]);
        run.assert_code(&[4]);
        run.assert_says(&["functions"]);
    });
    // A source without functions has nothing that could be refused.
    let (old, target) = (Server::start(Kind::Redis62), Server::start(Kind::Redis62));
    old.client(0).set(b"key", b"value");
    let run = Keyferry::copy(old.url(), target.url()).arg("--with-functions").expect(0);
    run.assert_counts(&[("copied", 1)]);
}
