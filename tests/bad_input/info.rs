//! INFO that is missing, foreign or false: it is never taken for an empty server, and accuses nobody.

use crate::support::client::fill_strings;
use crate::support::compare::assert_equal;
use crate::support::keyferry::{Keyferry, Run};
use crate::support::rewriting_proxy::{RewritingProxy, with_keyspace, without_lines};
use crate::support::server::{Kind, Server};

/// What a server makes of INFO.
#[derive(Clone, Copy, Debug)]
enum Info {
    /// Something else stands from the line `# Keyspace` on.
    Keyspace(&'static str),
    /// These lines are left out.
    Without(&'static [&'static str]),
    /// The reply is this.
    Reply(&'static [u8]),
}

const VARIANTS: [Info; 19] = [
    Info::Keyspace(""),
    Info::Keyspace("# Keyspace\r\n"),
    Info::Keyspace(
        "# Keyspace\r\n# Last DBSIZE SCAN time: Thu Jan  1 00:00:00 1970\r\ndb0:keys=0,expires=0,avg_ttl=0,expired=0\r\n",
    ),
    Info::Keyspace(
        "# Keyspace\r\n# Time:1970-01-01\r\ndb0 Strings_keys=300, expires=0, invalid_keys=0\r\n",
    ),
    Info::Keyspace("# Keyspace\r\ndb0:keys=-1,expires=-1,avg_ttl=0\r\n"),
    Info::Keyspace("# Keyspace\r\ndb0:keys=many,expires=few,avg_ttl=0\r\n"),
    Info::Keyspace("# Keyspace\r\ndb0:300\r\n"),
    Info::Keyspace("# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"),
    Info::Keyspace("# Keyspace\r\ndb0:keys=987654,expires=0,avg_ttl=0\r\ndb3:keys=0,expires=0\r\n"),
    Info::Keyspace("# Keyspace\r\ndb7:keys=3,expires=0,avg_ttl=0\r\n"),
    Info::Keyspace("# Keyspace\r\ndb0:keys=99999999999999999999,expires=0\r\n"),
    Info::Without(&["run_id:", "master_replid"]),
    Info::Without(&["rdb_", "expired_", "evicted_", "role:", "server_time_usec:"]),
    Info::Reply(b"$0\r\n\r\n"),
    Info::Reply(b"$-1\r\n"),
    Info::Reply(b":7\r\n"),
    Info::Reply(b"*0\r\n"),
    Info::Reply(b"+OK\r\n"),
    Info::Reply(b"-ERR unknown command 'INFO'\r\n"),
];

fn before(server: &Server, info: Info) -> RewritingProxy {
    match info {
        Info::Keyspace(other) => {
            RewritingProxy::of_info(server, move |text| with_keyspace(text, other))
        }
        Info::Without(lines) => {
            RewritingProxy::of_info(server, move |text| without_lines(text, lines))
        }
        Info::Reply(reply) => RewritingProxy::answering_info(server, reply),
    }
}

/// 300 keys in database 0, a few of them with an expiry, and 50 in database 3.
fn filled() -> Server {
    let server = Server::start(Kind::Redis70);
    fill_strings(&mut server.client(0), "key", 300, 20);
    fill_strings(&mut server.client(3), "other", 50, 20);
    let mut expire = redis::pipe();
    for number in 0..9 {
        // The same moment on every server.
        expire.cmd("EXPIREAT").arg(format!("key:{number}")).arg(4_000_000_000_u64);
    }
    server.client(0).run_all(&expire);
    server
}

/// Which sides have a proxy before them.
const SIDES: [(bool, bool); 2] = [(true, false), (false, true)];

/// Runs a command for each variant on each side, between a filled source and a target.
fn each(target: fn() -> Server, mut check: impl FnMut(Info, [String; 2], [&Server; 2])) {
    for info in VARIANTS {
        for (of_source, of_target) in SIDES {
            let (source, target) = (filled(), target());
            let proxies = [before(&source, info), before(&target, info)];
            let url = |server: &Server, proxy: &RewritingProxy, foreign: bool| match foreign {
                true => proxy.url(),
                false => server.url(),
            };
            let urls = [url(&source, &proxies[0], of_source), url(&target, &proxies[1], of_target)];
            check(info, urls, [&source, &target]);
        }
    }
}

fn empty() -> Server {
    Server::start(Kind::Redis70)
}

#[track_caller]
fn mode(run: &Run) -> String {
    run.report()["verify"]["mode"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_copy_brings_every_key_and_looks_for_each() {
    each(empty, |info, [from, into], [source, target]| {
        let run = Keyferry::copy(from, into).run();
        assert_eq!(run.code(), Some(0), "{info:?}{}", run.frame());
        assert_eq!(run.count("copied"), 350, "{info:?}{}", run.frame());
        assert_eq!(mode(&run), "names", "{info:?}{}", run.frame());
        assert_equal(source, target, &[(0, 0), (3, 3)]);
    });
}

#[test]
fn a_copy_is_proven_by_values_all_the_same() {
    each(empty, |info, [from, into], [source, target]| {
        let run = Keyferry::copy(from, into).args(["--verify", "full"]).run();
        assert_eq!((run.code(), &*mode(&run)), (Some(0), "full"), "{info:?}{}", run.frame());
        assert_equal(source, target, &[(0, 0), (3, 3)]);
    });
}

#[test]
fn a_database_that_is_named_is_copied_without_the_others() {
    each(empty, |info, [from, into], [_, target]| {
        let run = Keyferry::copy(from, into).args(["--db", "3:1"]).run();
        assert_eq!((run.code(), run.count("copied")), (Some(0), 50), "{info:?}{}", run.frame());
        assert_eq!(target.client(1).dbsize(), 50);
    });
}

#[test]
fn verify_finds_the_one_key_that_is_missing_and_no_other() {
    let nearly = || {
        let target = filled();
        target.client(3).run(redis::cmd("DEL").arg("other:7"));
        target
    };
    each(nearly, |info, [from, into], [source, target]| {
        let run = Keyferry::verify(&from, &into).expect(1);
        let missing = [("missing".to_owned(), "other:7".to_owned())];
        assert_eq!(run.differences(), missing, "{info:?}{}", run.frame());
        target.client(3).run(
            redis::cmd("RESTORE")
                .arg("other:7")
                .arg(0)
                .arg(source.client(3).call::<Vec<u8>>(redis::cmd("DUMP").arg("other:7"))),
        );
        let run = Keyferry::verify(from, into).expect(0);
        assert_eq!((run.count("compared"), &*mode(&run)), (350, "full"), "{info:?}{}", run.frame());
    });
}

#[test]
fn a_target_that_holds_keys_is_refused() {
    each(filled, |info, [from, into], [_, target]| {
        let run = Keyferry::copy(from, into).run();
        assert_eq!(run.code(), Some(4), "{info:?}{}", run.frame());
        run.assert_says(&["not empty"]);
        assert_eq!(target.client(0).dbsize(), 300);
    });
}

#[test]
fn a_backup_holds_every_key() {
    for info in VARIANTS {
        for way in ["auto", "dump"] {
            let (source, target) = (filled(), empty());
            source.synchronise_at_once();
            let directory = tempfile::TempDir::new().expect("a temporary directory");
            let file = directory.path().join("saved.rdb");
            let proxy = before(&source, info);
            let backup = Keyferry::new().arg("backup").arg(proxy.url()).arg(&file);
            let run = backup.args(["--fetch", way]).with_report().run();
            if way == "dump" && run.code() == Some(1) {
                // No file: nobody could say whether databases were exchanged in the meantime.
                run.assert_says(&["is not known"]);
                continue;
            }
            assert_eq!(
                (run.code(), run.count("copied")),
                (Some(0), 350),
                "{info:?}{}",
                run.frame()
            );
            Keyferry::copy(&file, target.url()).expect(0);
            assert_equal(&source, &target, &[(0, 0), (3, 3)]);
        }
    }
}

#[test]
fn a_cleanup_asks_before_it_deletes_whatever_info_says() {
    each(empty, |info, [from, into], [source, target]| {
        Keyferry::copy(source.url(), target.url()).expect(0);
        let run = Keyferry::cleanup(&from, &into).run();
        assert_eq!(run.code(), Some(4), "{info:?}{}", run.frame());
        run.assert_says_one_of(&["no terminal", "same server", "cannot be seen"]);
        assert_eq!(source.client(0).dbsize() + source.client(3).dbsize(), 350);
    });
}
