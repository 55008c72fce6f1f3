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
        run.assert_says(&["NOT copied: 2 libraries", "--with-functions"]);
        assert!(!run.stderr.contains("they are copied"), "{}", run.frame());
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
        let run = copy(&target, &["--with-functions", "--if-exists", "skip"]);
        run.assert_code(&[0]);
        run.assert_says(&["1 library NOT copied", "two"]);
        assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(22)));
        copy(&target, &["--with-functions", "--if-exists", "replace"]).assert_code(&[0]);
        let all = ["one", "two", "three"].map(|name| answers(&target, name));
        assert_eq!(all, [Some(1), Some(2), Some(33)]);
    });
}

#[test]
fn a_merge_takes_only_the_same_libraries() {
    let (source, _place) = saved(Kind::Redis70);
    let target = Server::start(Kind::Redis82);
    let merge = || {
        let options = ["--with-functions", "--if-exists", "merge", "--db", "0"];
        Keyferry::copy(source.url(), target.url()).args(options)
    };
    load(&target, "two", 2);
    let run = merge().expect(0);
    assert!(!run.stderr.contains("NOT copied"), "{}", run.frame());
    assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(2)));
    load(&target, "two", 22);
    let run = merge().expect(4);
    run.assert_says(&["named two", "--if-exists"]);
    assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(22)));
}

/// What the target holds: libraries with their functions.
fn libraries(server: &Server) -> String {
    let listed: redis::Value = server.client(0).call(cmd("FUNCTION").arg("LIST"));
    format!("{listed:?}")
}

#[test]
fn a_function_of_a_library_of_another_name_is_refused_before_anything_is_loaded() {
    for (from, to) in [(Kind::Redis70, Kind::Valkey91), (Kind::Valkey81, Kind::Redis82)] {
        let (source, place) = saved(from);
        both(&source, &place, |copy| {
            let target = Server::start(to);
            // Servers do not tell upper from lower case.
            let other =
                "#!lua name=other\nredis.register_function('TWO', function() return 22 end)";
            target.client(0).run(cmd("FUNCTION").arg("LOAD").arg(other));
            let before = libraries(&target);
            for policy in [&[][..], &["--if-exists", "replace"], &["--if-exists", "skip"]] {
                for dry in [&[][..], &["--dry-run"]] {
                    let run = copy(&target, &[&["--with-functions"], policy, dry].concat());
                    run.assert_code(&[4]);
                    run.assert_says(&["other", "two", "FUNCTION DELETE other"]);
                    assert_eq!(run.count("copied"), 0, "{}", run.frame());
                    assert_eq!(libraries(&target), before, "{}", run.frame());
                }
            }
        });
    }
}

/// What no name in the code shows, the target refuses as a whole.
#[test]
fn a_function_whose_name_is_made_up_by_code_is_refused_as_a_whole() {
    let (source, place) = (start(Kind::Redis70), Place::new());
    source.client(0).set(b"key", b"value");
    load(&source, "a", 1);
    let code =
        "#!lua name=z\nlocal name = 't' .. 'wo'\nredis.register_function(name, function() end)";
    source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
    backup(source.url(), &place.file()).expect(0);
    both(&source, &place, |copy| {
        let target = Server::start(Kind::Redis82);
        load(&target, "two", 2);
        let before = libraries(&target);
        let run = copy(&target, &["--with-functions"]);
        run.assert_code(&[4]);
        assert_eq!(libraries(&target), before, "{}", run.frame());
    });
}

#[test]
fn names_of_libraries_are_read_as_the_servers_read_them() {
    for header in
        ["name=lib", "NAME=lib", "\"name=lib\"", "name=\"lib\"", "'Name=lib'", "  name=l\"ib\""]
    {
        let (source, place) = (start(Kind::Redis70), Place::new());
        source.client(0).set(b"key", b"value");
        let code = format!("#!lua {header}\nredis.register_function('f', function() return 1 end)");
        source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
        backup(source.url(), &place.file()).expect(0);
        both(&source, &place, |copy| {
            let target = Server::start(Kind::Valkey91);
            load(&target, "lib", 7);
            for dry in [&["--with-functions", "--dry-run"][..], &["--with-functions"]] {
                let run = copy(&target, dry);
                run.assert_code(&[4]);
                run.assert_says(&["named lib", "--if-exists"]);
            }
            copy(&target, &["--with-functions", "--if-exists", "skip"]).assert_code(&[0]);
            assert_eq!((answers(&target, "lib"), answers(&target, "f")), (Some(7), None));
            copy(&target, &["--with-functions", "--if-exists", "replace"]).assert_code(&[0]);
            assert_eq!((answers(&target, "lib"), answers(&target, "f")), (None, Some(1)));
        });
    }
}

/// `+function|restore` is not needed.
#[test]
fn without_the_right_to_restore_them_they_are_loaded_one_by_one() {
    let (source, _place) = saved(Kind::Redis70);
    let target = Server::start(Kind::Redis70);
    let rules = ["on", ">pw", "~*", "&*", "+@all", "-function|restore"];
    target.client(0).run(cmd("ACL").arg("SETUSER").arg("writer").arg(&rules));
    let url = target.url().replace("://", "://writer:pw@");
    Keyferry::copy(source.url(), url).args(["--with-functions", "--db", "0"]).expect(0);
    assert_eq!((answers(&target, "one"), answers(&target, "two")), (Some(1), Some(2)));
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
