//! Servers that have, or users who may use, only some databases.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server};

/// A server with 500 keys in each of these databases, and the URL of a user with these rights.
fn server(kind: Kind, databases: &[u32], rights: &[&str]) -> (Server, String) {
    let server = Server::start(kind);
    for database in databases {
        fill_strings(&mut server.client(*database), "key", 500, 100);
    }
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{SECRET}")).arg("~*").arg("&*");
    user.arg("+@all").arg(rights);
    server.client(0).run(&user);
    let url = format!("redis://mover:{SECRET}@127.0.0.1:{}", server.port);
    (server, url)
}

#[test]
fn database_0_needs_no_select() {
    for kind in [Kind::Redis62, Kind::Valkey91] {
        let (source, from) = server(kind, &[0], &["-select"]);
        for options in [&[][..], &["--db", "0"]] {
            let (target, into) = server(Kind::Redis70, &[], &["-select"]);
            let run = Keyferry::copy(&from, &into).args(options).expect(0);
            run.assert_counts(&[("copied", 500)]);
            Keyferry::verify(&from, &into).args(options).expect(0);
            assert_equal(&source, &target, &[(0, 0)]);
        }
    }
}

#[test]
fn a_database_that_may_not_be_selected_is_refused_before_a_write() {
    let (_source, from) = server(Kind::Redis70, &[0, 3], &["-select"]);
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy(&from, target.url()).expect(4);
    run.assert_says(&["source", "+select"]);
    assert_eq!(target.client(0).dbsize(), 0);
    let (target, into) = server(Kind::Redis70, &[], &["-select"]);
    let (_source, from) = server(Kind::Redis70, &[0, 3], &[]);
    let run = Keyferry::copy(&from, into).expect(4);
    run.assert_says(&["target", "+select"]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn databases_that_a_user_may_not_use_are_named_as_that() {
    let (_source, from) = server(Kind::Redis70, &[0, 3], &[]);
    let (target, into) = server(Kind::Valkey91, &[], &["db=0"]);
    let run = Keyferry::copy(&from, &into).expect(4);
    run.assert_says(&["target", "database 3 is not permitted", "db=3"]);
    assert_eq!(target.client(0).dbsize(), 0);
    Keyferry::copy(&from, &into).args(["--db", "0"]).expect(0);
}

#[test]
fn a_database_that_is_not_there_is_named_as_that() {
    let (_source, from) = server(Kind::Redis70, &[0, 3], &[]);
    let target =
        crate::support::server::Setup::new(Kind::Redis70).option("--databases", "2").start();
    let run = Keyferry::copy(&from, target.url()).expect(4);
    run.assert_says(&["target", "no database 3", "databases"]);
    assert_eq!(target.client(0).dbsize(), 0);
}
