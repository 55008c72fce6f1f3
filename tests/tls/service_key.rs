//! Cloud Foundry service keys: one JSON file instead of host, port, user, password and authority.

use serde_json::{Value, json};

use super::plain;
use crate::support::certificates::Authority;
use crate::support::keyferry::{Keyferry, SECRET};
use crate::support::server::{Kind, Server, Setup};

/// A server with TLS and a password, holding one key, and what its service key says.
fn source(authority: &Authority) -> (Server, Value) {
    let server = Setup::new(Kind::Redis70).password(SECRET).tls(&authority.local_server()).start();
    server.client(0).set(b"a", b"1");
    let key = json!({
        "host": "localhost",
        "port": server.tls_port,
        "username": "default",
        "password": SECRET,
        "cacrt": authority.pem(),
    });
    (server, key)
}

/// Copies with this service key for the source; the positional source is left out.
#[track_caller]
fn copies_from(key: &Value) {
    let target = plain();
    let run = Keyferry::new().arg("copy");
    let file = run.file("service-key.json", &key.to_string());
    let run = run
        .args(["--source-service-key", &file])
        .env("DESTINATION_REDIS_URL", &target.url())
        .with_report()
        .expect(0);
    run.assert_counts(&[("copied", 1)]);
    assert_eq!(target.client(0).dbsize(), 1);
}

#[test]
fn as_the_broker_prints_it() {
    let authority = Authority::new("of the broker");
    let (_server, key) = source(&authority);
    copies_from(&key);
}

#[test]
fn under_credentials_as_cf_service_key_prints_it() {
    let authority = Authority::new("of the broker");
    let (_server, key) = source(&authority);
    copies_from(&json!({ "credentials": key }));
}

#[test]
fn for_the_target() {
    let authority = Authority::new("of the broker");
    let (target, key) = source(&authority);
    target.client(0).run(&redis::cmd("FLUSHALL"));
    let source = plain();
    source.client(0).set(b"b", b"2");
    let run = Keyferry::new().arg("copy").arg(source.url());
    let file = run.file("service-key.json", &key.to_string());
    run.args(["--target-service-key", &file]).expect(0);
    assert!(target.client(0).exists(b"b"));
}

#[test]
fn a_wrong_authority_in_it_is_refused() {
    let (_server, mut key) = source(&Authority::new("of the broker"));
    key["cacrt"] = Authority::new("of somebody else").pem().into();
    let target = plain();
    let run = Keyferry::new().arg("copy");
    let file = run.file("service-key.json", &key.to_string());
    run.args(["--source-service-key", &file])
        .env("DESTINATION_REDIS_URL", &target.url())
        .expect(3)
        .assert_says(&["source", "certificate"]);
}

#[test]
fn a_file_that_is_no_service_key_is_named() {
    let contents = ["", "not json", "{}", "[1]", r#"{"host": 7}"#, r#"{"host": "h", "port": "x"}"#];
    for content in contents {
        let run = Keyferry::new().arg("copy");
        let file = run.file("service-key.json", content);
        let run = run
            .args(["--source-service-key", &file])
            .env("DESTINATION_REDIS_URL", "redis://127.0.0.1:1")
            .run();
        run.assert_code(&[2]);
        run.assert_says_one_of(&["service-key.json", "service key"]);
    }
}
