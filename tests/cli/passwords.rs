//! Where user names and passwords may come from. That they never appear is checked after every run.

use redis::cmd;

use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

/// A source with a password and one key, and an open target.
fn servers(password: &str) -> (Server, Server) {
    let source = Setup::new(Kind::Redis70).password(password).start();
    source.client(0).set(b"a", b"1");
    (source, Server::start(Kind::Redis70))
}

/// Adds the ACL user `mover` with this password to the server.
fn add_mover(server: &Server, password: &str) {
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg("mover").arg("on").arg(format!(">{password}"));
    server.client(0).run(user.arg("~*").arg("&*").arg("+@all"));
}

#[track_caller]
fn arrives(run: Keyferry, target: &Server) {
    run.expect(0).assert_counts(&[("copied", 1)]);
    assert_eq!(target.client(0).dbsize(), 1);
}

#[test]
fn from_the_url() {
    let (source, target) = servers(SECRET);
    arrives(
        Keyferry::copy(format!("redis://:{SECRET}@127.0.0.1:{}", source.port), target.url()),
        &target,
    );
}

#[test]
fn percent_encoded_in_the_url() {
    let (source, target) = servers("p@ss:w/rd %41?#");
    let url = format!("redis://:p%40ss%3Aw%2Frd%20%2541%3F%23@127.0.0.1:{}/0", source.port);
    arrives(Keyferry::copy(url, target.url_of(0)), &target);
}

#[test]
fn with_a_user_in_the_url() {
    let (source, target) = servers("other");
    add_mover(&source, SECRET);
    arrives(
        Keyferry::copy(format!("redis://mover:{SECRET}@127.0.0.1:{}", source.port), target.url()),
        &target,
    );
}

#[test]
fn from_the_environment() {
    let (source, target) = servers(SECRET);
    arrives(
        Keyferry::copy(source.url(), target.url()).env("SOURCE_REDIS_PASSWORD", SECRET),
        &target,
    );
}

#[test]
fn of_the_target_from_the_environment() {
    let source = Server::start(Kind::Redis70);
    source.client(0).set(b"a", b"1");
    let target = Setup::new(Kind::Valkey81).password(SECRET).start();
    arrives(
        Keyferry::copy(source.url(), target.url()).env("DESTINATION_REDIS_PASSWORD", SECRET),
        &target,
    );
}

#[test]
fn from_a_file() {
    let (source, target) = servers(SECRET);
    let run = Keyferry::copy(source.url(), target.url());
    // An editor leaves a line end behind the password.
    let file = run.file("password", &format!("{SECRET}\n"));
    arrives(run.args(["--source-password-file", &file]), &target);
}

#[test]
fn of_the_target_from_a_file_with_a_user() {
    let source = Server::start(Kind::Redis70);
    source.client(0).set(b"a", b"1");
    let target = Setup::new(Kind::Redis70).password("other").start();
    add_mover(&target, SECRET);
    let run = Keyferry::copy(source.url(), target.url());
    let file = run.file("password", SECRET);
    let options = ["--target-username", "mover", "--target-password-file", &file];
    arrives(run.args(options), &target);
}

#[test]
fn a_user_by_option_and_the_password_from_the_environment() {
    let (source, target) = servers("other");
    add_mover(&source, SECRET);
    let run = Keyferry::copy(source.url(), target.url()).args(["--source-username", "mover"]);
    arrives(run.env("SOURCE_REDIS_PASSWORD", SECRET), &target);
}

#[test]
fn a_missing_password_file_is_named() {
    let (source, target) = servers(SECRET);
    let run = Keyferry::copy(source.url(), target.url())
        .args(["--source-password-file", "no-such-file"])
        .run();
    run.assert_code(&[2, 3]);
    // By its option: what was typed may be the password.
    run.assert_says(&["--source-password-file", "cannot be read"]);
}

#[test]
fn both_sides_have_their_own() {
    let (source, _) = servers(SECRET);
    let target = Setup::new(Kind::Valkey91).password("of the target").start();
    let run = Keyferry::copy(source.url(), target.url())
        .env("SOURCE_REDIS_PASSWORD", SECRET)
        .env("DESTINATION_REDIS_PASSWORD", "of the target");
    arrives(run, &target);
}
