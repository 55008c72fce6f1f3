//! Encrypted connections. The plain port of each server is used to fill and to check, never by keyferry.

mod encrypted;
mod refused;
mod service_key;

use crate::support::certificates::{Authority, ServerCertificate};
use crate::support::server::{Kind, Server, Setup};

/// A server with a TLS port that asks clients for no certificate.
fn tls_server(certificate: &ServerCertificate) -> Server {
    Setup::new(Kind::Redis70).tls(certificate).start()
}

/// A server whose certificate fits the names of this machine, with one key.
fn local_source(authority: &Authority) -> Server {
    let server = tls_server(&authority.local_server());
    server.client(0).set(b"a", b"1");
    server
}

fn plain() -> Server {
    Server::start(Kind::Redis70)
}
