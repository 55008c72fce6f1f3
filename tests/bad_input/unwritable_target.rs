//! Targets that take no writes: replicas, and servers that refuse because they cannot save.

use redis::cmd;

use crate::support::client::fill_strings;
use crate::support::keyferry::Keyferry;
use crate::support::server::{Kind, Server, Setup};

fn source() -> Server {
    let source = Server::start(Kind::Redis70);
    fill_strings(&mut source.client(0), "key", 2_000, 100);
    source
}

#[track_caller]
fn is_refused_as_replica(kind: Kind, replica_of: &str) {
    let (source, primary) = (source(), Server::start(kind));
    let target =
        Setup::new(kind).option(replica_of, &format!("127.0.0.1 {}", primary.port)).start();
    // At once: a run that waits does so for five minutes.
    for options in [&["--delete-source"][..], &[]] {
        let run = Keyferry::copy(source.url(), target.url()).args(options).expect(4);
        run.assert_says(&["target"]);
        run.assert_says_one_of(&["read-only", "readonly", "read only"]);
        assert!(!run.stderr.contains("for up to"), "it waited{}", run.frame());
    }
    assert_eq!(source.client(0).dbsize(), 2_000, "nothing may be lost");
}

#[test]
fn a_redis_replica() {
    is_refused_as_replica(Kind::Redis70, "--replicaof");
}

#[test]
fn a_valkey_replica() {
    is_refused_as_replica(Kind::Valkey91, "--replicaof");
}

#[test]
fn a_target_that_cannot_save() {
    let source = source();
    let target = Setup::new(Kind::Redis70).option("--dbfilename", "blocked.rdb").start();
    let mut client = target.client(0);
    // A directory in place of the file makes every save fail, and writes are refused from then on.
    let directory: Vec<String> = client.call(cmd("CONFIG").arg("GET").arg("dir"));
    std::fs::create_dir(format!("{}/blocked.rdb", directory[1])).expect("a directory");
    client.run(cmd("CONFIG").arg("SET").arg("save").arg("3600 1"));
    client.run(cmd("BGSAVE").arg("SCHEDULE"));
    crate::support::wait_until("the save has failed", || {
        client.info("persistence", "rdb_last_bgsave_status").as_deref() == Some("err")
    });
    let run = Keyferry::copy(source.url(), target.url()).impatient().run();
    run.assert_code(&[1, 3, 4]);
    run.assert_says_one_of(&["misconf", "snapshot", "persist"]);
    assert_eq!(target.client(0).dbsize(), 0);
}
