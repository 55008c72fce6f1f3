//! Sentinels and nodes of a cluster: every command says what they are, and what to name instead.

use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server, Setup};

use super::{is_blocked, servers};

/// All that reads from one and writes into the other.
fn each_command(from: &str, into: &str, check: impl Fn(Run)) {
    check(Keyferry::copy(from, into).run());
    check(Keyferry::copy(from, into).arg("--dry-run").run());
    check(Keyferry::verify(from, into).run());
    check(Keyferry::cleanup(from, into).arg("--force").run());
}

#[test]
fn a_sentinel_is_told_for_what_it_is() {
    for kind in Kind::ALL {
        let (source, primary) = servers();
        let sentinel = Setup::new(kind).sentinel_of(&primary).start();
        let at = format!("127.0.0.1:{}", primary.port);
        let says = ["is a sentinel", "name the primary", "main", &at];
        let check = |run: Run| {
            run.assert_code(&[4]);
            run.assert_says(&says);
        };
        each_command(&source.url(), &sentinel.url(), check);
        each_command(&sentinel.url(), &source.url(), check);
        // A database in the URL is not asked for before that.
        check(Keyferry::copy(source.url(), sentinel.url_of(1)).run());
        let file = Keyferry::new().args(["backup", &sentinel.url(), "saved.rdb"]).run();
        check(file);
        let run = is_blocked(Keyferry::plan(source.url(), sentinel.url()), "sentinel of target");
        assert!(run.stdout.contains(&at), "{}", run.frame());
        is_blocked(Keyferry::plan(sentinel.url(), source.url()), "sentinel of source");
    }
}

#[test]
fn a_node_of_a_cluster_is_told_for_what_it_is() {
    for kind in [Kind::Redis62, Kind::Redis82, Kind::Valkey91] {
        let source = Server::start(kind);
        let node = Setup::new(kind).option("--cluster-enabled", "yes").start();
        let check = |run: Run| {
            run.assert_code(&[4]);
            run.assert_says(&["is a cluster node"]);
        };
        each_command(&source.url(), &node.url(), check);
        each_command(&node.url(), &source.url(), check);
    }
}
