//! TLS that works: either side, both sides, with client certificates, under another name.

use super::{local_source, plain, tls_server};
use crate::support::certificates::Authority;
use crate::support::compare::assert_equal;
use crate::support::dataset::fill_database;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Setup};

#[test]
fn both_sides_each_with_its_own_authority() {
    let (one, other) = (Authority::new("source"), Authority::new("target"));
    let source = tls_server(&one.local_server());
    let target = tls_server(&other.local_server());
    fill_database(&source, 0);
    fill_database(&source, 1);
    Keyferry::copy(source.tls_url(), target.tls_url())
        .args(["--source-cacert", &one.file(), "--target-cacert", &other.file()])
        .expect(0);
    assert_equal(&source, &target, &[(0, 0), (1, 1)]);
}

#[test]
fn from_plain_to_tls() {
    let authority = Authority::new("target");
    let (source, target) = (plain(), tls_server(&authority.local_server()));
    fill_database(&source, 0);
    Keyferry::copy(source.url(), target.tls_url())
        .args(["--target-cacert", &authority.file()])
        .expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn from_tls_to_plain() {
    let authority = Authority::new("source");
    let (source, target) = (tls_server(&authority.local_server()), plain());
    fill_database(&source, 0);
    Keyferry::copy(source.tls_url(), target.url())
        .args(["--source-cacert", &authority.file()])
        .expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn with_certificates_of_the_client_on_both_sides() {
    let (one, other) = (Authority::new("source"), Authority::new("target"));
    let source = Setup::new(Kind::Redis70).mutual_tls(&one.local_server()).start();
    let target = Setup::new(Kind::Redis70).mutual_tls(&other.local_server()).start();
    fill_database(&source, 0);
    let (ours, theirs) = (one.client(), other.client());
    Keyferry::copy(source.tls_url(), target.tls_url())
        .args(["--source-cacert", &one.file(), "--target-cacert", &other.file()])
        .args(["--source-cert", &ours.certificate(), "--source-key", &ours.key()])
        .args(["--target-cert", &theirs.certificate(), "--target-key", &theirs.key()])
        .expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn by_option_with_a_plain_url() {
    let authority = Authority::new("source");
    let (source, target) = (local_source(&authority), plain());
    let url = format!("redis://localhost:{}", source.tls_port);
    Keyferry::copy(url, target.url())
        .args(["--source-tls", "--source-cacert", &authority.file()])
        .expect(0)
        .assert_counts(&[("copied", 1)]);
}

#[test]
fn the_schemes_of_valkey_and_an_address_for_a_name() {
    let authority = Authority::new("source");
    let (source, target) = (local_source(&authority), plain());
    let url = format!("valkeys://127.0.0.1:{}/0", source.tls_port);
    Keyferry::copy(url, target.url_of(0))
        .args(["--source-cacert", &authority.file()])
        .expect(0)
        .assert_counts(&[("copied", 1)]);
}

#[test]
fn under_the_name_the_certificate_has() {
    // As through a tunnel: the address is not the name.
    let authority = Authority::new("both");
    let source = tls_server(&authority.server(&["redis.source.example"]));
    let target = tls_server(&authority.server(&["redis.target.example"]));
    source.client(0).set(b"a", b"1");
    Keyferry::copy(source.tls_url(), target.tls_url())
        .args(["--source-cacert", &authority.file(), "--target-cacert", &authority.file()])
        .args(["--source-sni", "redis.source.example"])
        .args(["--target-sni", "redis.target.example"])
        .expect(0);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn unverified_only_on_request_and_it_is_said() {
    let authority = Authority::new("unknown");
    let source = tls_server(&authority.server(&["some.other.name"]));
    let target = tls_server(&authority.server(&["some.other.name"]));
    source.client(0).set(b"a", b"1");
    let run = Keyferry::copy(source.tls_url(), target.tls_url())
        .args(["--source-tls-insecure", "--target-tls-insecure"])
        .expect(0);
    run.assert_counts(&[("copied", 1)]);
    run.assert_says_one_of(&[
        "insecure",
        "not verified",
        "unverified",
        "without verif",
        "verification",
    ]);
    run.assert_says(&["source", "target"]);
}

#[test]
fn the_system_authorities_can_be_named_by_the_environment() {
    let authority = Authority::new("of the system");
    let (source, target) = (local_source(&authority), plain());
    Keyferry::copy(source.tls_url(), target.url())
        .env("SSL_CERT_FILE", &authority.file())
        .expect(0)
        .assert_counts(&[("copied", 1)]);
}
