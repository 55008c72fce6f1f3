//! Source and target in one place: refused before any write, under whatever name.

use crate::support::fault_proxy::{Behaviour, FaultProxy};
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

fn server() -> Server {
    let server = Setup::new(Kind::Redis70).socket().start();
    server.client(0).set(b"a", b"value in 0");
    server.client(1).set(b"a", b"value in 1");
    server
}

/// Fails unless the copy is refused and the server has seen no write.
#[track_caller]
fn is_refused(server: &Server, from: &str, to: &str, options: &[&str]) {
    server.reset_commands();
    // With leave to overwrite and to delete: only the refusal stands between this and a disaster.
    let run = Keyferry::copy(from, to).args(["--if-exists", "replace"]).args(options).expect(4);
    run.assert_says(&["same"]);
    assert_eq!(run.outcome(), "refused", "{}", run.frame());
    assert_eq!(server.write_commands(), Vec::<String>::new(), "{}", run.frame());
    assert_eq!(server.client(0).get(b"a").as_deref(), Some(&b"value in 0"[..]));
    assert_eq!(server.client(1).get(b"a").as_deref(), Some(&b"value in 1"[..]));
}

#[test]
fn the_same_database_is_refused() {
    let server = server();
    is_refused(&server, &server.url_of(0), &server.url_of(0), &[]);
    is_refused(&server, &server.url_of(0), &server.url_of(0), &["--delete-source"]);
}

#[test]
fn all_databases_onto_themselves_are_refused() {
    let server = server();
    is_refused(&server, &server.url(), &server.url(), &[]);
}

#[test]
fn another_name_of_the_host_does_not_help() {
    let server = server();
    let other = format!("redis://localhost:{}/0", server.port);
    is_refused(&server, &server.url_of(0), &other, &[]);
    let mapped = format!("valkey://127.0.0.1:{}/0", server.port);
    is_refused(&server, &mapped, &server.url_of(0), &[]);
}

#[test]
fn a_unix_socket_does_not_help() {
    let server = server();
    let socket = format!("unix://{}?db=1", server.socket().display());
    is_refused(&server, &server.url_of(1), &socket, &[]);
}

#[test]
fn a_tunnel_does_not_help() {
    let server = server();
    let tunnel = FaultProxy::start(server.port, Behaviour::default());
    is_refused(&server, &server.url_of(0), &format!("{}/0", tunnel.url()), &["--delete-source"]);
}

#[test]
fn one_bad_pair_among_good_ones_refuses_all() {
    let server = server();
    is_refused(&server, &server.url(), &server.url(), &["--db", "0:2", "--db", "1:1"]);
    assert_eq!(server.client(2).dbsize(), 0, "the good pair must not have been copied either");
}

#[test]
fn databases_cannot_change_places_on_one_server() {
    // Each would read what the other has just written.
    let server = server();
    server.reset_commands();
    let run = Keyferry::copy(server.url(), server.url())
        .args(["--if-exists", "replace", "--db", "0:1", "--db", "1:0"])
        .expect(4);
    assert_eq!(server.write_commands(), Vec::<String>::new(), "{}", run.frame());
}

#[test]
fn a_replica_is_not_its_primary() {
    // Same data, but another server: copying from it into a third place is ordinary work.
    let (primary, replica) = (server(), Server::start(Kind::Redis70));
    primary.synchronise_at_once();
    replica.follow(primary.port);
    let run = Keyferry::copy(replica.url_of(0), primary.url_of(7)).expect(0);
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(primary.client(7).get(b"a").as_deref(), Some(&b"value in 0"[..]));
}
