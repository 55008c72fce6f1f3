//! Unix sockets and the other ways to write an endpoint.

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::fill_database;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

fn with_socket() -> Server {
    Setup::new(Kind::Redis70).socket().start()
}

#[test]
fn from_socket_to_socket() {
    let (source, target) = (with_socket(), with_socket());
    fill_database(&source, 0);
    fill_database(&source, 4);
    let url = |server: &Server| format!("unix://{}", server.socket().display());
    Keyferry::copy(url(&source), url(&target)).expect(0);
    assert_equal(&source, &target, &[(0, 0), (4, 4)]);
}

#[test]
fn a_database_of_a_socket() {
    let (source, target) = (with_socket(), Server::start(Kind::Valkey81));
    fill_strings(&mut source.client(0), "zero", 3, 10);
    fill_strings(&mut source.client(6), "six", 4, 10);
    let url = format!("unix://{}?db=6", source.socket().display());
    let run = Keyferry::copy(url, target.url_of(1)).expect(0);
    run.assert_counts(&[("copied", 4)]);
    assert_equal(&source, &target, &[(6, 1)]);
}

#[test]
fn a_socket_with_a_password() {
    let source = Setup::new(Kind::Redis70).socket().password(SECRET).start();
    fill_strings(&mut source.client(0), "key", 3, 10);
    let target = Server::start(Kind::Redis70);
    let url = format!("unix://{}", source.socket().display());
    Keyferry::copy(url, target.url()).env("SOURCE_REDIS_PASSWORD", SECRET).expect(0);
    assert_eq!(target.client(0).dbsize(), 3);
}

#[test]
fn a_missing_socket_is_named() {
    let target = Server::start(Kind::Redis70);
    let run = Keyferry::copy("unix:///no/such/server.sock", target.url()).impatient().expect(3);
    run.assert_says(&["/no/such/server.sock", "source"]);
}

#[test]
fn the_schemes_of_valkey() {
    let (source, target) = (Server::start(Kind::Valkey81), Server::start(Kind::Valkey91));
    fill_strings(&mut source.client(0), "key", 3, 10);
    let url = |server: &Server| format!("valkey://localhost:{}/0", server.port);
    Keyferry::copy(url(&source), url(&target)).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_trailing_slash_is_accepted() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 3, 10);
    Keyferry::copy(format!("{}/", source.url()), format!("{}/", target.url())).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn ipv6() {
    let start = || Setup::new(Kind::Redis70).option("--bind", "127.0.0.1 -::1").start();
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6 loopback: nothing to test");
        return;
    }
    let (source, target) = (start(), start());
    fill_strings(&mut source.client(0), "key", 3, 10);
    let url = |server: &Server| format!("redis://[::1]:{}/0", server.port);
    Keyferry::copy(url(&source), url(&target)).expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}
