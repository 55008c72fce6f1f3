//! README and the pages of docs are kept true: the rights they list are enough, and the options they name exist.

use std::fs;
use std::path::Path;

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::dataset::{SAME_NUMBERS, fill};
use crate::support::keyferry::Keyferry;
use crate::support::permissions::{PAGE, add_user, rules_of};
use crate::support::server::{Kind, Server};

/// One of the pages.
pub(super) fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).expect("a page that can be read")
}

/// README, and every page of docs.
fn pages() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs can be listed");
    let pages = docs.map(|page| page.expect("docs can be listed").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let texts = pages.chain([root.join("README.md")]).map(fs::read_to_string);
    texts.map(|text| text.expect("a page that can be read")).collect()
}

/// Adds the user `name` of docs/permissions.md, with these rights more.
fn add(server: &Server, name: &str, more: &[&str]) -> String {
    add_user(server, name, &[&rules_of(name), more].concat())
}

#[test]
fn the_rights_it_lists_are_enough() {
    for (from, to) in [(Kind::Redis70, Kind::Valkey91), (Kind::Redis62, Kind::Redis70)] {
        let (source, target) = (Server::start(from), Server::start(to));
        fill(&source);
        let (reader, writer) = (add(&source, "reader", &[]), add(&target, "writer", &[]));
        Keyferry::copy(reader, writer).expect(0);
        assert_equal(&source, &target, &SAME_NUMBERS);
    }
}

#[test]
fn the_rights_it_lists_for_a_move_are_enough() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    fill_strings(&mut source.client(0), "key", 500, 20);
    let move_rights = ["+watch", "+unwatch", "+multi", "+exec", "+unlink"];
    let (reader, writer) = (add(&source, "reader", &move_rights), add(&target, "writer", &[]));
    for right in move_rights {
        assert!(PAGE.contains(right), "{right} is not in docs/permissions.md");
    }
    Keyferry::copy(reader, writer).arg("--delete-source").expect(0);
    assert_eq!(source.client(0).dbsize(), 0);
    assert_eq!(target.client(0).dbsize(), 500);
}

#[test]
fn the_rights_it_lists_for_a_merge_are_enough() {
    let (source, target) = (Server::start(Kind::Redis70), Server::start(Kind::Redis70));
    for (server, member) in [(&source, "a"), (&target, "b")] {
        server.client(0).run(cmd("SADD").arg("set").arg(member));
        server.client(0).run(cmd("HSET").arg("hash").arg(member).arg(member));
        server.client(0).run(cmd("ZADD").arg("zset").arg(1).arg(member));
    }
    let reading = ["+sscan", "+hscan", "+zscan", "+hmget"];
    let writing = [
        "+type", "+dump", "+sadd", "+hsetnx", "+zadd", "+pttl", "+hexists", "+watch", "+multi",
        "+exec",
    ];
    let (reader, writer) = (add(&source, "reader", &reading), add(&target, "writer", &writing));
    let run = Keyferry::copy(reader, writer).args(["--if-exists", "merge"]).expect(0);
    run.assert_counts(&[("merged", 3)]);
}

#[test]
fn the_options_it_names_exist() {
    let help = Keyferry::new().arg("--help").expect(0).stdout
        + &Keyferry::new().args(["verify", "--help"]).expect(0).stdout
        + &Keyferry::new().args(["cleanup", "--help"]).expect(0).stdout
        + &Keyferry::new().args(["backup", "--help"]).expect(0).stdout
        + &Keyferry::new().args(["bench", "--help"]).expect(0).stdout;
    for word in pages().split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        let is_option = word.starts_with("--") && word.contains(char::is_alphanumeric);
        let is_option = is_option && !word.starts_with("--S");
        if is_option && !help.contains(word) {
            panic!("a page names {word}, which --help does not know");
        }
    }
}
