//! Files that others wrote, or that were renamed, compressed, or are not RDB files: recognised by their content.

use std::path::{Path, PathBuf};

use keyferry::rdb::{Version, Writer};
use redis::cmd;

use super::{Place, backup, start};
use crate::support::keyferry::{Keyferry, Run};
use crate::support::server::{Kind, Server};
use crate::support::wait_until;

/// A file of this version with these bytes between its beginning and its end.
fn file(version: u16, between: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Version::new(version)).expect("it begins");
    writer.raw(between).expect("memory");
    writer.finish().expect("it ends")
}

/// Copies these bytes as a file of this name.
fn copy(name: &str, bytes: &[u8], target: &Server) -> Run {
    let place = Place::new();
    let path = place.file().with_file_name(name);
    std::fs::write(&path, bytes).expect("a file");
    Keyferry::copy(&path, target.url()).arg("--with-functions").run()
}

#[test]
fn an_export_of_redis_enterprise_is_read_as_any_file() {
    let target = Server::start(Kind::Redis82);
    // What only such a server writes: a slot, and in front of keys when they were used last.
    let bytes = file(
        12,
        b"\x79\x05\xfe\x00\xfb\x03\x01\x6b\x40\x43\x00\x01a\x01b\
          \xfc\x00\x00\x00\x00\x00\x09\x00\x00\x6b\x80\x00\x01\x00\x00\x00\x01c\x01d\
          \x79\x06\x6b\x05\x04\x01h\x01\x01f\x01v",
    );
    let run = copy("export.rdb", &bytes, &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", 3)]);
    let mut client = target.client(0);
    assert_eq!(client.get(b"a").as_deref(), Some(&b"b"[..]));
    let at: i64 = client.call(cmd("PEXPIRETIME").arg("c"));
    assert_eq!(at, 9 << 40);
    let field: String = client.call(cmd("HGET").arg("h").arg("f"));
    assert_eq!(field, "v");
    // Others of its records are not known to any reader.
    let run = copy("export.rdb", &file(12, b"\xfe\x00\x65\x00\x00\x01x\x01y"), &target);
    run.assert_code(&[5]);
    run.assert_says(&[
        "only Redis Enterprise knows (101)",
        "load it with the server that wrote it",
    ]);
}

#[test]
fn keys_without_an_element_are_skipped() {
    let ziplist =
        |length: u8| [&[0x0b, 0x0b, 0, 0, 0, 0x0a, 0, 0, 0, length, 0, 0xff][..]].concat();
    let empty: [(&str, Vec<u8>); 9] = [
        ("list", b"\x01\x04list\x00".to_vec()),
        ("set", b"\x02\x03set\x00".to_vec()),
        ("zset", b"\x03\x04zset\x00".to_vec()),
        ("zset2", b"\x05\x05zset2\x00".to_vec()),
        ("hash", b"\x04\x04hash\x00".to_vec()),
        ("list:packed", [&b"\x0a\x0blist:packed"[..], &ziplist(0)].concat()),
        ("zset:packed", [&b"\x0c\x0bzset:packed"[..], &ziplist(0)].concat()),
        ("hash:packed", [&b"\x0d\x0bhash:packed"[..], &ziplist(0)].concat()),
        ("quicklist", [&b"\x0e\x09quicklist\x01"[..], &ziplist(0)].concat()),
    ];
    let mut between = b"\xfe\x00\x00\x03key\x05value\xfe\x03".to_vec();
    empty.iter().for_each(|(_, record)| between.extend_from_slice(record));
    // A stream may be empty, and an empty string is a value.
    between.extend_from_slice(b"\x0f\x06stream\0\0\0\0\0\x00\x06string\x00");
    let bytes = file(9, &between);
    for kind in Kind::ALL {
        let target = Server::start(kind);
        let run = copy("old.rdb", &bytes, &target);
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", 3), ("skipped", 9)]);
        run.assert_says(&["without an element", "skipped: 9"]);
        assert_eq!((target.client(0).dbsize(), target.client(3).dbsize()), (1, 2), "{kind:?}");
    }
}

#[test]
fn functions_of_before_redis_7_0_was_released_are_loaded() {
    let code = b"redis.register_function('answer', function() return 42 end)";
    let mut library = b"\xf6\x03lib\x03LUA\x01\x04what".to_vec();
    library.push(u8::try_from(code.len()).expect("short"));
    library.extend_from_slice(code);
    let bytes = file(10, &[&library[..], b"\xfe\x00\x00\x01k\x01v"].concat());
    for kind in [Kind::Redis70, Kind::Redis82, Kind::Valkey91] {
        let target = Server::start(kind);
        let run = copy("candidate.rdb", &bytes, &target);
        run.assert_code(&[0]);
        run.assert_counts(&[("copied", 1)]);
        let answer: u32 = target.client(0).call(cmd("FCALL").arg("answer").arg(0));
        assert_eq!(answer, 42, "{kind:?}");
    }
}

#[test]
fn the_mark_that_a_server_ends_its_file_with_on_the_wire_is_passed_over() {
    let target = Server::start(Kind::Redis70);
    let bytes = file(9, b"\xfe\x00\x00\x01k\x01v");
    let mark = b"6ce932509f837be39659508afae0e80443148d47";
    let run = copy("wire.rdb", &[&bytes[..], mark].concat(), &target);
    run.assert_code(&[0]);
    run.assert_counts(&[("copied", 1)]);
    for more in [&mark[1..], &[0; 40], b"6CE932509F837BE39659508AFAE0E80443148D47"] {
        copy("wire.rdb", &[&bytes[..], more].concat(), &target).assert_code(&[5]);
    }
}

/// Switches the append-only file on, and answers the folder of the server's files.
fn append_only(server: &Server) -> PathBuf {
    let mut client = server.client(0);
    client.run(cmd("CONFIG").arg("SET").arg("appendonly").arg("yes"));
    wait_until("the append-only file is there", || {
        client.info("persistence", "aof_rewrite_in_progress").as_deref() == Some("0")
            && client.info("persistence", "aof_rewrite_scheduled").as_deref() == Some("0")
    });
    let (_, folder): (String, String) = client.call(cmd("CONFIG").arg("GET").arg("dir"));
    PathBuf::from(folder)
}

#[test]
fn an_append_only_file_is_told_for_what_it_is() {
    let server = Server::start(Kind::Redis62);
    server.client(0).set(b"old", b"value");
    let path = append_only(&server).join("appendonly.aof");
    server.client(0).set(b"newer", b"value");
    let target = Server::start(Kind::Redis70);
    let whole = || std::fs::read(&path).is_ok_and(|bytes| bytes.ends_with(b"value\r\n"));
    wait_until("it holds the newer key", whole);
    // By its own name, and by one that means an RDB file.
    let renamed = Place::new();
    std::fs::copy(&path, renamed.file()).expect("a copy");
    for path in [&path, &renamed.file()] {
        let run = Keyferry::copy(path, target.url()).expect(5);
        run.assert_says(&["append-only file", "of commands, which are newer", "appendonly yes"]);
        assert_eq!(run.outcome(), "refused");
    }
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn of_a_split_append_only_file_the_base_is_copied_and_that_is_said() {
    for kind in [Kind::Redis70, Kind::Valkey91] {
        let server = Server::start(kind);
        server.client(0).set(b"old", b"value");
        let folder = append_only(&server).join("appendonlydir");
        server.client(0).set(b"newer", b"value");
        let named = |end: &str| {
            let all = std::fs::read_dir(&folder)
                .expect("the folder")
                .map(|of| of.expect("a file").path());
            all.into_iter()
                .find(|path| path.to_string_lossy().ends_with(end))
                .expect("a file of it")
        };
        let renamed = Place::new();
        std::fs::copy(named(".base.rdb"), renamed.file()).expect("a copy");
        for path in [named(".base.rdb"), renamed.file()] {
            let target = Server::start(kind);
            let run = Keyferry::copy(&path, target.url()).expect(0);
            run.assert_counts(&[("copied", 1)]);
            run.assert_says(&["base of an append-only file", "newer writes are in the .incr.aof"]);
        }
        let target = Server::start(kind);
        for (end, says) in
            [(".incr.aof", "commands, not an RDB file"), (".manifest", "the manifest of")]
        {
            Keyferry::copy(named(end), target.url())
                .expect(5)
                .assert_says(&[says, "append-only file"]);
        }
    }
}

#[test]
fn a_file_of_a_version_that_no_server_loads_is_refused_by_its_version() {
    let target = Server::start(Kind::Valkey91);
    let bytes = file(9, b"\xfe\x00\x00\x01k\x01v");
    for magic in ["REDIS0099", "REDIS0080", "VALKEY079", "REDIS0000"] {
        let run = copy("x.rdb", &[magic.as_bytes(), &bytes[9..]].concat(), &target);
        run.assert_code(&[5]);
        run.assert_says(&[magic, "no server writes or loads"]);
    }
    assert_eq!(target.client(0).dbsize(), 0);
}

fn saved() -> Vec<u8> {
    let (source, place) = (start(Kind::Redis70), Place::new());
    source.client(0).set(b"key", b"value");
    backup(source.url(), &place.file()).expect(0);
    std::fs::read(place.file()).expect("the file")
}

#[test]
fn a_file_is_known_by_its_content_and_not_by_its_name() {
    let (bytes, place) = (saved(), Place::new());
    let target = Server::start(Kind::Redis70);
    for name in ["x.rdb.bak", "dump-2024", "DUMP.RDB", "redis"] {
        let path = place.file().with_file_name(name);
        std::fs::write(&path, &bytes).expect("a file");
        for source in [path.clone(), Path::new("file:").join(&path)] {
            let source = source.to_string_lossy().replace("file:/", "file:");
            let run =
                Keyferry::copy(&source, target.url()).args(["--if-exists", "replace"]).expect(0);
            run.assert_counts(&[("copied", 1)]);
        }
        // A plan looks at two servers, and says so of a file by any name.
        Keyferry::plan(&path, target.url()).expect(2).assert_says(&["the source is a file"]);
    }
    // A missing file is not taken for a mistyped URL.
    Keyferry::copy("gone.rdb.bak", target.url())
        .expect(2)
        .assert_says(&["gone.rdb.bak", "No such file"]);
    Keyferry::copy("gone:6379", target.url()).expect(2).assert_says(&["redis://"]);
}

#[test]
fn what_is_no_rdb_file_is_told_for_what_it_is() {
    let target = Server::start(Kind::Redis70);
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    gzip.extend_from_slice(&saved());
    let cases: [(&str, &[u8], &[&str]); 10] = [
        ("x.rdb.gz", &gzip, &["compressed (gzip)", "unpack it first"]),
        ("x.rdb", &gzip, &["compressed (gzip)"]),
        ("x.rdb.zst", b"\x28\xb5\x2f\xfd\x24\x0d\x69\0\0hello", &["compressed (zstd)"]),
        ("x.zip", b"PK\x03\x04\x14\0\0\0\x08\0", &["compressed (zip)"]),
        ("x.rdb", b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", &["append-only file", "commands"]),
        ("x.aof", b"#TS:1700000000\r\n*1\r\n$4\r\nPING\r\n", &["append-only file", "commands"]),
        ("x.rdb", b"", &["it is empty"]),
        ("x.rdb", b"REDIS00", &["ends within the first bytes"]),
        ("x.rdb", b"<html><body>404</body></html>", &["it is text"]),
        ("x.json", b"[{\"db\":0,\"key\":\"a\"}]", &["it is text"]),
    ];
    for (name, bytes, says) in cases {
        let run = copy(name, bytes, &target);
        assert_eq!(run.code(), Some(5), "{name}{}", run.frame());
        run.assert_says(says);
        run.assert_says(&[name]);
    }
    let place = Place::new();
    let folder = place.file().with_file_name("a-folder");
    std::fs::create_dir(&folder).expect("a folder");
    Keyferry::copy(&folder, target.url()).expect(2).assert_says(&["a directory"]);
    assert_eq!(target.client(0).dbsize(), 0);
}

#[test]
fn a_used_target_is_refused_with_what_a_file_can_do() {
    let (bytes, target) = (saved(), Server::start(Kind::Redis70));
    target.client(0).set(b"other", b"value");
    let run = copy("x.rdb", &bytes, &target);
    run.assert_code(&[4]);
    run.assert_says(&["--if-exists replace, skip or fail"]);
    assert!(!run.stderr.contains("merge"), "{}", run.frame());
}
