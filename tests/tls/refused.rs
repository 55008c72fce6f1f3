//! TLS that must not work: exit code 3, the side, and the reason.

use super::{local_source, plain, tls_server};
use crate::support::certificates::Authority;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};

/// Fails unless the connection to the source is refused and nothing reaches the target.
#[track_caller]
fn source_is_refused(url: &str, options: &[&str]) -> Run {
    let target = plain();
    target.reset_commands();
    let run = Keyferry::copy(url, target.url()).args(options).expect(3);
    run.assert_says(&["source"]);
    assert_eq!(target.write_commands(), Vec::<String>::new(), "{}", run.frame());
    run
}

/// Words of which one tells that the issuer is the matter.
const ISSUER: [&str; 6] = [
    "unknownissuer",
    "unknown issuer",
    "unknown authority",
    "not trusted",
    "untrusted",
    "badsignature",
];

#[test]
fn a_certificate_of_another_authority() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let source = local_source(&authority);
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &other.file()]);
    run.assert_says(&["certificate"]);
    run.assert_says_one_of(&ISSUER);
    run.assert_says(&["intermediate"]);
}

#[test]
fn a_certificate_the_system_does_not_know() {
    let source = local_source(&Authority::new("private"));
    let run = source_is_refused(&source.tls_url(), &[]);
    run.assert_says(&["certificate"]);
    // What to do about it.
    run.assert_says_one_of(&["--source-cacert"]);
}

#[test]
fn a_certificate_for_another_name() {
    let authority = Authority::new("ours");
    let source = tls_server(&authority.server(&["redis.example"]));
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["name"]);
    run.assert_says_one_of(&["localhost", "redis.example"]);
}

#[test]
fn a_wrong_sni() {
    let authority = Authority::new("ours");
    let source = local_source(&authority);
    let options = ["--source-cacert", &authority.file(), "--source-sni", "redis.example"];
    source_is_refused(&source.tls_url(), &options).assert_says(&["name"]);
}

#[test]
fn a_missing_client_certificate() {
    let authority = Authority::new("ours");
    let source = Setup::new(Kind::Redis70).mutual_tls(&authority.local_server()).start();
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["certificate"]);
    run.assert_says_one_of(&["--source-cert", "client certificate", "certificaterequired"]);
}

#[test]
fn a_client_certificate_of_another_authority() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let source = Setup::new(Kind::Redis70).mutual_tls(&authority.local_server()).start();
    let foreign = other.client();
    let options = [
        "--source-cacert",
        &authority.file(),
        "--source-cert",
        &foreign.certificate(),
        "--source-key",
        &foreign.key(),
    ];
    let run = source_is_refused(&source.tls_url(), &options);
    run.assert_says(&["our client certificate"]);
}

#[test]
fn our_own_certificate_that_has_expired_is_named_as_ours() {
    let authority = Authority::new("ours");
    let source = Setup::new(Kind::Redis70).mutual_tls(&authority.local_server()).start();
    let old = authority.expired_client();
    let (ca, certificate, key) = (authority.file(), old.certificate(), old.key());
    let options = ["--source-cacert", &ca, "--source-cert", &certificate, "--source-key", &key];
    let run = source_is_refused(&source.tls_url(), &options);
    run.assert_says(&["our client certificate", "has expired"]);
}

#[test]
fn no_cipher_in_common_is_no_matter_of_certificates() {
    let authority = Authority::new("ours");
    let source = Setup::new(Kind::Redis70)
        .tls(&authority.local_server())
        .option("--tls-protocols", "TLSv1.2")
        .option("--tls-ciphers", "AES128-SHA:@SECLEVEL=0")
        .start();
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["no cipher in common"]);
    assert!(!run.stderr.contains("certificate"), "{}", run.frame());
}

#[test]
fn a_missing_client_certificate_of_an_older_protocol() {
    let authority = Authority::new("ours");
    let source = Setup::new(Kind::Redis70)
        .mutual_tls(&authority.local_server())
        .option("--tls-protocols", "TLSv1.2")
        .start();
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["wants a client certificate", "--source-cert"]);
}

#[test]
fn the_certificate_of_a_ca_is_none_of_a_server() {
    let authority = Authority::new("ours");
    let source = tls_server(&authority.as_server());
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["that of a ca"]);
    assert!(!run.stderr.contains("Error("), "{}", run.frame());
}

#[test]
fn a_certificate_that_has_expired_is_named_as_theirs() {
    let authority = Authority::new("ours");
    let source = tls_server(&authority.expired_server());
    let run = source_is_refused(&source.tls_url(), &["--source-cacert", &authority.file()]);
    run.assert_says(&["its certificate has expired"]);
}

#[test]
fn the_target_too_is_judged() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let source = plain();
    source.client(0).set(b"a", b"1");
    let target = tls_server(&authority.local_server());
    let run = Keyferry::copy(source.url(), target.tls_url())
        .args(["--target-cacert", &other.file()])
        .expect(3);
    run.assert_says(&["target", "certificate"]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn one_side_insecure_does_not_open_the_other() {
    let authority = Authority::new("unknown");
    let source = local_source(&authority);
    let target = tls_server(&authority.local_server());
    Keyferry::copy(source.tls_url(), target.tls_url())
        .arg("--source-tls-insecure")
        .expect(3)
        .assert_says(&["target"]);
}

#[test]
fn tls_spoken_to_a_plain_port() {
    let source = Server::start(Kind::Redis70);
    let run = source_is_refused(&format!("rediss://localhost:{}", source.port), &[]);
    // The connection itself stands: "no connection" would send people to their firewall.
    run.assert_says_one_of(&["tls", "handshake"]);
}

#[test]
fn plain_spoken_to_a_tls_port() {
    let source = local_source(&Authority::new("ours"));
    let run = source_is_refused(&format!("redis://localhost:{}", source.tls_port), &[]);
    run.assert_says(&["rediss://"]);
}

#[test]
fn files_that_are_none_are_named() {
    let authority = Authority::new("ours");
    let source = local_source(&authority);
    let client = authority.client();
    let key = client.key();
    let bad: [&[&str]; 3] = [
        &["--source-cacert", "no-such-ca.pem"],
        // A key where a certificate is expected.
        &["--source-cacert", &key],
        &[
            "--source-cacert",
            &authority.file(),
            "--source-cert",
            "no-such.crt",
            "--source-key",
            &key,
        ],
    ];
    for options in bad {
        let run = Keyferry::copy(source.tls_url(), "redis://127.0.0.1:1").args(options).run();
        run.assert_code(&[2, 3]);
        // A path where nothing is may be a secret in its place: the option is named then.
        let named = |word: &&&str| {
            let is_file = std::path::Path::new(word).is_file();
            (is_file || word.starts_with("--")) && run.stderr.contains(**word)
        };
        assert!(options.iter().any(|word| named(&word)), "nothing is named{}", run.frame());
    }
}

#[test]
fn a_certificate_without_its_key_is_a_usage_error() {
    let authority = Authority::new("ours");
    let client = authority.client();
    Keyferry::copy("rediss://localhost:1", "redis://127.0.0.1:1")
        .args(["--source-cacert", &authority.file(), "--source-cert", &client.certificate()])
        .expect(2)
        .assert_says(&["--source-key"]);
}
