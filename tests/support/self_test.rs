//! The tools tested: a dataset that misses an encoding, or a comparison that cannot fail, proves nothing.

use std::collections::BTreeSet;

use redis::cmd;

use super::compare::{What, assert_equal, compare};
use super::dataset;
use super::fault_proxy::{Behaviour, Fault, FaultProxy};
use super::reply_proxy::{Place, Point, ReplyProxy, Which, Wrong};
use super::rewriting_proxy::{RewritingProxy, with_keyspace, without_lines};
use super::server::{Kind, Server};

/// The type bytes with which payloads begin: one for each encoding.
fn payload_types(kind: Kind) -> BTreeSet<u8> {
    let server = Server::start(kind);
    dataset::fill(&server);
    let mut client = server.client(0);
    let keys: Vec<Vec<u8>> = client.call(cmd("KEYS").arg("*"));
    let mut types = BTreeSet::new();
    for key in keys {
        let payload: Vec<u8> = client.call(cmd("DUMP").arg(key));
        types.insert(payload[0]);
    }
    types
}

#[test]
fn the_dataset_has_every_encoding_of_redis_6_2() {
    // string, set, hash, zset, intset, ziplists of zset and hash, quicklist, stream
    assert_eq!(payload_types(Kind::Redis62), BTreeSet::from([0, 2, 4, 5, 11, 12, 13, 14, 15]));
}

#[test]
fn the_dataset_has_every_encoding_of_redis_7_0() {
    // listpacks instead of ziplists, the second quicklist, the second stream
    assert_eq!(payload_types(Kind::Redis70), BTreeSet::from([0, 2, 4, 5, 11, 16, 17, 18, 19]));
}

#[test]
fn the_dataset_has_every_encoding_of_redis_8_2() {
    // set listpack, the third stream, hashes with field expiry
    let wanted = BTreeSet::from([0, 2, 4, 5, 11, 16, 17, 18, 20, 21, 24, 25]);
    assert_eq!(payload_types(Kind::Redis82), wanted);
}

#[test]
fn the_dataset_has_plain_list_nodes() {
    let server = Server::start(Kind::Redis70);
    dataset::fill(&server);
    let payload: Vec<u8> = server.client(1).call(cmd("DUMP").arg("list:plain-node"));
    // Type 18, then the number of nodes: a packed one, the plain one, a packed one.
    assert_eq!(payload[..2], [18, 3], "the list has no node of its own for the large item");
}

/// Two servers with equal content, by way of the server's own replication.
fn twins() -> (Server, Server) {
    let source = Server::start(Kind::Redis70);
    let target = Server::start(Kind::Redis70);
    dataset::fill(&source);
    source.synchronise_at_once();
    target.follow(source.port);
    target.follow_nobody();
    (source, target)
}

#[test]
fn equal_servers_have_no_differences() {
    let (source, target) = twins();
    assert_equal(&source, &target, &dataset::SAME_NUMBERS);
}

/// A difference to plant in database 1, and as what it has to be found.
type Plant = (What, &'static [&'static str]);

const PLANTS: [Plant; 13] = [
    (What::Missing, &["DEL", "string:raw"]),
    (What::Extra, &["SET", "nobody knows", "x"]),
    (What::Value, &["APPEND", "string:embstr", "!"]),
    // Another type under the same name; the large hash has no expiry, nor has the small set.
    (What::Value, &["COPY", "set:small", "hash:large", "REPLACE"]),
    (What::Value, &["LMOVE", "list:small", "list:small", "LEFT", "RIGHT"]),
    (What::Value, &["SREM", "set:small", "x"]),
    (What::Value, &["HSET", "hash:small", "field", "other"]),
    (What::Value, &["ZADD", "zset:small", "1.0000001e300", "score 1e300 in db 1"]),
    (What::Value, &["XDEL", "stream:large", "7-0"]),
    (What::Value, &["XACK", "stream:groups", "late", "1011-11"]),
    (What::Value, &["XGROUP", "SETID", "stream:empty", "waiting", "0-1"]),
    (What::Expiry, &["PERSIST", "expiry:1"]),
    (What::Expiry, &["EXPIRE", "expiry:0", "1000"]),
];

#[test]
fn every_planted_difference_is_found() {
    let (source, target) = twins();
    let mut client = target.client(1);
    let mut expected = Vec::new();
    for (what, change) in PLANTS {
        let mut command = cmd(change[0]);
        client.run(command.arg(&change[1..]));
        expected.push(what);
        let found = compare(&source, &target, &dataset::SAME_NUMBERS);
        let count = |what: What| expected.iter().filter(|expected| **expected == what).count();
        for kind in [What::Missing, What::Extra, What::Value, What::Expiry] {
            let kinds = found.iter().filter(|difference| difference.what == kind).count();
            assert_eq!(kinds, count(kind), "{kind:?} after {change:?}: {found:?}");
        }
    }
}

#[test]
fn an_expiry_off_by_more_than_the_tolerance_is_found() {
    let (source, target) = twins();
    let at: i64 = source.client(0).call(cmd("PEXPIRETIME").arg("expiry:4"));
    let mut client = target.client(0);
    client.run(cmd("PEXPIREAT").arg("expiry:4").arg(at + 49));
    assert_equal(&source, &target, &[(0, 0)]);
    client.run(cmd("PEXPIREAT").arg("expiry:4").arg(at + 51));
    let found = compare(&source, &target, &[(0, 0)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].what, What::Expiry);
}

/// Reads a megabyte through a proxy; the error is what a client sees of the fault.
fn read_through(behaviour: Behaviour) -> (FaultProxy, Result<Vec<u8>, redis::RedisError>) {
    let server = Server::start(Kind::Redis70);
    server.client(0).set(b"large", &dataset::noise(1, 1_000_000));
    let proxy = FaultProxy::start(server.port, behaviour);
    let read = || {
        let client = redis::Client::open(proxy.url())?;
        let mut connection = client.get_connection()?;
        connection.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;
        cmd("GET").arg("large").query(&mut connection)
    };
    let answer = read();
    (proxy, answer)
}

#[test]
fn the_proxy_passes_everything_on() {
    let (proxy, answer) = read_through(Behaviour { piece: Some(1_000), ..Behaviour::default() });
    assert_eq!(answer.expect("an answer"), dataset::noise(1, 1_000_000));
    assert!(!proxy.struck() && proxy.reply_bytes() > 1_000_000);
}

#[test]
fn the_proxy_strikes_where_told() {
    for fault in [Fault::Close, Fault::CloseOnce, Fault::Reset, Fault::Stall] {
        let behaviour = Behaviour { after_replies: Some((500_000, fault)), ..Behaviour::default() };
        let (proxy, answer) = read_through(behaviour);
        let error = answer.expect_err("half a reply is no reply");
        assert!(proxy.struck(), "{fault:?}");
        assert_eq!(error.is_timeout(), fault == Fault::Stall, "{fault:?}: {error}");
        let reset = error.to_string().to_lowercase().contains("reset");
        assert_eq!(reset, fault == Fault::Reset, "{fault:?}: {error}");
    }
}

#[test]
fn the_rewriting_proxy_changes_what_it_is_told_and_nothing_else() {
    let server = Server::start(Kind::Redis70);
    server.client(0).set(b"large", &dataset::noise(1, 1_000_000));
    let read = |proxy: &RewritingProxy| {
        let mut connection = redis::Client::open(proxy.url()).unwrap().get_connection().unwrap();
        let info: redis::Value = cmd("INFO").query(&mut connection).expect("an answer");
        let value: Vec<u8> = cmd("GET").arg("large").query(&mut connection).expect("an answer");
        assert_eq!(value, dataset::noise(1, 1_000_000));
        info
    };
    let text = |info: redis::Value| redis::from_redis_value::<String>(info).expect("a text");
    let foreign = RewritingProxy::of_info(&server, |info| {
        with_keyspace(&without_lines(info, &["run_id:"]), "# Keyspace\r\ndb0:keys=-1\r\n")
    });
    let info = text(read(&foreign));
    assert!(info.ends_with("# Keyspace\r\ndb0:keys=-1\r\n") && !info.contains("\nrun_id:"));
    assert!(info.contains("redis_version:7.0"));
    let silent = RewritingProxy::answering_info(&server, b"$-1\r\n");
    assert_eq!(read(&silent), redis::Value::Nil);
}

#[test]
fn the_reply_proxy_replaces_one_reply_and_stays_in_step() {
    let server = Server::start(Kind::Redis70);
    let get = |place| Point { command: "GET".to_owned(), place };
    let read = |lie| -> Result<(redis::Value, Vec<u8>), redis::RedisError> {
        server.client(0).run(cmd("MSET").arg("a").arg(1).arg("b").arg(2));
        let proxy = ReplyProxy::start(server.port, lie);
        let mut connection = redis::Client::open(proxy.url())?.get_connection()?;
        let mut group = redis::pipe();
        group.atomic().cmd("GET").arg("a").cmd("INCR").arg("b").cmd("GET").arg("b");
        let told = group.query(&mut connection)?;
        let after = cmd("GET").arg("a").query(&mut connection)?;
        assert_eq!(proxy.seen()[&get(Place::Element)], 2);
        Ok((told, after))
    };
    let text = |text: &str| redis::Value::BulkString(text.into());
    let group = |last| redis::Value::Array(vec![text("1"), redis::Value::Int(3), last]);
    let at = |which, wrong| Some((get(Place::Element), which, wrong));
    assert_eq!(read(None).expect("answers"), (group(text("3")), b"1".to_vec()));
    let nil = read(at(Which::Nth(1), Wrong::Nil)).expect("answers");
    assert_eq!(nil, (group(redis::Value::Nil), b"1".to_vec()));
    assert!(read(at(Which::All, Wrong::Close)).is_err());
    let queued = (get(Place::Queued), Which::Nth(0), Wrong::Busy);
    let error = read(Some(queued)).expect_err("an error");
    assert!(error.to_string().contains("BUSY") || error.to_string().contains("busy"), "{error}");
}
