//! Limits of servers: what can go through them goes, what cannot is named with the limit.

use redis::cmd;

use crate::support::client::{Client, fill_strings};
use crate::support::compare::{assert_equal, assert_target_is_a_part};
use crate::support::dataset::noise;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server};
use crate::support::strange_peers::StrangePeer;
use crate::support::wait_until;

fn set(client: &mut Client, name: &str, value: &str) {
    client.run(cmd("CONFIG").arg("SET").arg(name).arg(value));
}

/// Copies and compares while one side takes so few clients.
#[track_caller]
fn goes_with(kind: Kind, few_at_source: bool, clients: u32, options: &[&str]) {
    let (source, target) = (Server::start(kind), Server::start(kind));
    for db in 0..3 {
        fill_strings(&mut source.client(db), "key", 3_000, 100);
    }
    let few = if few_at_source { &source } else { &target };
    set(&mut few.client(0), "maxclients", &clients.to_string());
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 9_000)]);
    Keyferry::verify(source.url(), target.url()).expect(0);
    set(&mut few.client(0), "maxclients", "100");
    assert_equal(&source, &target, &[(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn a_source_that_takes_few_clients() {
    for (kind, clients) in [(Kind::Redis62, 4), (Kind::Redis70, 5), (Kind::Valkey91, 7)] {
        goes_with(kind, true, clients, &[]);
        goes_with(kind, true, clients, &["--connections", "8", "--verify", "full"]);
    }
}

#[test]
fn a_target_that_takes_few_clients() {
    for (kind, clients) in [(Kind::Redis70, 4), (Kind::Redis82, 5), (Kind::Valkey81, 10)] {
        goes_with(kind, false, clients, &["--connections", "8"]);
        goes_with(kind, false, clients, &["--if-exists", "skip"]);
    }
}

/// A server that takes no client at all, since others hold all its places.
#[track_caller]
fn is_told_of(at_source: bool) {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 10, 100);
    let full = if at_source { &source } else { &target };
    let mut holder = full.client(0);
    set(&mut holder, "maxclients", "1");
    let run = Keyferry::copy(source.url(), target.url()).impatient().expect(3);
    run.assert_says(&["max number of clients reached", "maxclients"]);
}

#[test]
fn a_server_that_takes_no_client_says_so() {
    is_told_of(true);
    is_told_of(false);
}

#[test]
fn what_a_server_says_before_it_closes_is_told() {
    // Without a password, and bound to all addresses: only clients of the same host are served. A peer
    // that says so is played by the script of the server itself.
    let peer = StrangePeer::answering(
        b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n",
    );
    let target = Server::start(Kind::Redis70);
    for password in ["", ":s3ntinel-Passw0rd@"] {
        let url = format!("redis://{password}127.0.0.1:{}", peer.port);
        let run = Keyferry::copy(url, target.url()).impatient().expect(3);
        run.assert_says(&["source", "running in protected mode"]);
    }
}

/// A list of many elements, of so many bytes in all.
fn push_list(client: &mut Client, key: &str, bytes: usize) {
    for part in 0..bytes / 100_000 {
        let mut push = cmd("RPUSH");
        push.arg(key);
        for at in 0..100 {
            push.arg(noise((part * 100 + at) as u64 + 7, 1_000));
        }
        client.run(&push);
    }
}

fn fill_with_large(source: &Server, lists: usize) {
    let mut client = source.client(0);
    fill_strings(&mut client, "small", 20_000, 200);
    fill_strings(&mut client, "middle", 300, 20_000);
    for at in 0..lists {
        push_list(&mut client, &format!("list:{at}"), 5_000_000);
    }
    client.run(cmd("SET").arg("string:8").arg(noise(3, 8_000_000)));
}

/// Copies all there is from a source with such a limit.
#[track_caller]
fn goes_through(kind: Kind, (setting, value): (&str, &str), options: &[&str]) {
    let (source, target) = (Server::start(kind), Server::start(kind));
    fill_with_large(&source, 8);
    set(&mut source.client(0), setting, value);
    let run = Keyferry::copy(source.url(), target.url()).args(options).expect(0);
    run.assert_counts(&[("copied", 20_309), ("failed", 0)]);
    let off = if setting == "maxmemory-clients" { "0" } else { "normal 0 0 0" };
    set(&mut source.client(0), setting, off);
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_source_with_small_reply_buffers() {
    let limit = "client-output-buffer-limit";
    goes_through(Kind::Redis62, (limit, "normal 1mb 0 0"), &[]);
    goes_through(Kind::Redis70, (limit, "normal 256kb 0 0"), &[]);
    goes_through(Kind::Valkey91, (limit, "normal 4mb 1mb 1"), &["--fetch", "dump"]);
}

#[test]
fn a_source_with_small_reply_buffers_by_fewer_connections() {
    let limit = "client-output-buffer-limit";
    goes_through(Kind::Redis82, (limit, "normal 512kb 0 0"), &["--connections", "1"]);
}

#[test]
fn a_value_that_a_copy_cannot_compare_is_not_called_different() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    fill_strings(&mut client, "small", 2_000, 200);
    push_list(&mut client, "list", 5_000_000);
    set(&mut client, "client-output-buffer-limit", "normal 1mb 0 0");
    let run = Keyferry::copy(source.url(), target.url()).args(["--verify", "full"]).expect(1);
    run.assert_counts(&[("copied", 2_001), ("failed", 0)]);
    let said = "NOT PROVEN (full): 1 key could not be compared";
    assert!(run.stdout.contains(said), "{}", run.frame());
    let report = run.report();
    assert_eq!(report["verify"]["different"], 0);
    assert_eq!(report["verify"]["uncompared"], 1);
    assert_eq!(report["differences"][0]["kind"], "uncompared");
    assert!(report["verify"]["cause"].is_null(), "{report}");
    set(&mut client, "client-output-buffer-limit", "normal 0 0 0");
    assert_equal(&source, &target, &[(0, 0)]);
}

#[test]
fn a_value_that_fits_no_reply_buffer_is_named_with_the_limit() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    fill_strings(&mut client, "small", 5_000, 200);
    // One element that no command tells in parts.
    client.run(cmd("RPUSH").arg("one").arg(noise(1, 5_000_000)));
    client.run(cmd("HSET").arg("field").arg("f").arg(noise(2, 5_000_000)));
    set(&mut client, "client-output-buffer-limit", "normal 1mb 0 0");
    let run = Keyferry::copy(source.url(), target.url()).expect(1);
    run.assert_counts(&[("copied", 5_000), ("failed", 2)]);
    assert!(run.stdout.contains("client-output-buffer-limit"), "{}", run.frame());
    set(&mut client, "client-output-buffer-limit", "normal 0 0 0");
    assert_target_is_a_part(&source, &target, &[(0, 0)]);
}

#[test]
fn a_source_that_limits_the_memory_of_clients() {
    goes_through(Kind::Redis70, ("maxmemory-clients", "1mb"), &[]);
}

#[test]
fn names_that_fit_no_small_reply_buffer_at_once() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    for at in 0..3_000 {
        client.run(cmd("SET").arg(format!("{at}:{}", "n".repeat(3_000))).arg("v"));
    }
    set(&mut client, "client-output-buffer-limit", "normal 256kb 0 0");
    Keyferry::copy(source.url(), target.url()).expect(0).assert_counts(&[("copied", 3_000)]);
    set(&mut client, "client-output-buffer-limit", "normal 0 0 0");
    wait_until("nothing is connected but us", || {
        client.info("clients", "connected_clients").as_deref() == Some("1")
    });
    assert_equal(&source, &target, &[(0, 0)]);
}

/// What cannot be compared stays, with the reason, and nothing else does.
#[test]
fn a_value_that_cannot_be_compared_keeps_no_other_key() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    let mut client = source.client(0);
    let fill = |client: &mut Client| {
        fill_strings(client, "small", 300, 200);
        client.run(cmd("SET").arg("long").arg(noise(1, 3_000_000)));
    };
    fill(&mut client);
    set(&mut client, "client-output-buffer-limit", "normal 300kb 0 0");
    let run = Keyferry::copy(source.url(), target.url()).arg("--delete-source").expect(1);
    run.assert_counts(&[("copied", 301), ("deleted_from_source", 300), ("kept_on_source", 1)]);
    assert!(run.stdout.contains("client-output-buffer-limit"), "{}", run.frame());
    assert_eq!((client.dbsize(), target.client(0).dbsize()), (1, 301));
    fill(&mut client);
    let run = Keyferry::cleanup(source.url(), target.url()).arg("--force").expect(1);
    run.assert_counts(&[("compared", 300), ("failed", 1), ("deleted_from_source", 300)]);
    assert_eq!((client.dbsize(), target.client(0).dbsize()), (1, 301));
}
