//! A keyspace with every type in every encoding, awkward keys, huge values and all kinds of expiry.
//!
//! Every value carries its database's number, so that a key landing in the wrong database shows.

use redis::{Cmd, cmd};

use super::client::Client;
use super::now_ms;
use super::server::{Kind, Server};
use super::streams;

/// The databases that `fill` uses; the others stay empty.
pub(crate) const DATABASES: [u32; 3] = [0, 1, 5];

/// Each database to the same number.
pub(crate) const SAME_NUMBERS: [(u32, u32); 3] = [(0, 0), (1, 1), (5, 5)];

/// One value over 9 MB; larger than any buffer on the way.
pub(crate) const HUGE_VALUE: usize = 9 * 1024 * 1024 + 17;

/// A key name of 1 MiB.
pub(crate) const HUGE_KEY: usize = 1024 * 1024;

/// Fills all of `DATABASES`.
#[track_caller]
pub(crate) fn fill(server: &Server) {
    prepare(server);
    for db in DATABASES {
        fill_database(server, db);
    }
    huge(&mut server.client(0));
}

/// Fills one database with everything but the huge values.
#[track_caller]
pub(crate) fn fill_database(server: &Server, db: u32) {
    let mut client = server.client(db);
    strings(&mut client, db);
    awkward_keys(&mut client, db);
    lists(&mut client, db);
    sets(&mut client, db);
    hashes(&mut client, db);
    sorted_sets(&mut client, db);
    special(&mut client, db);
    streams::fill(&mut client, db);
    expiries(&mut client, db);
    if matches!(server.kind, Kind::Redis82 | Kind::Valkey91) {
        field_expiries(&mut client);
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Plain list nodes appear by themselves only from 1 GB on (7.0) or 8 KB on (7.2); ask for them early.
fn prepare(server: &Server) {
    if server.kind != Kind::Redis62 {
        let mut threshold = cmd("DEBUG");
        threshold.arg("QUICKLIST-PACKED-THRESHOLD").arg("8000b");
        // An optimised build may lack the command; the list is then just a packed one.
        let _: Result<redis::Value, _> = server.client(0).try_call(&threshold);
    }
}

fn strings(client: &mut Client, db: u32) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let numbers = ["0", "-1", "7", "127", "128", "-32768", "65536", "2147483648"];
    for (index, number) in numbers.iter().enumerate() {
        client.set(format!("string:int:{index}").as_bytes(), number.as_bytes());
    }
    client.set(b"string:int:widest", b"-9223372036854775808");
    client.set(b"string:almost-int", b"007");
    client.set(b"string:fraction", b"3.0e3");
    client.set(b"string:embstr", format!("embedded in db {db}").as_bytes());
    client.set(b"string:raw", format!("db {db} {}", "raw value, ".repeat(7)).as_bytes());
    client.set(b"string:empty", b"");
    client.set(b"string:every-byte", &all_bytes);
    client.set(b"string:compressible", format!("{db}{}", "abcd".repeat(20_000)).as_bytes());
    client.set(b"string:incompressible", &noise(u64::from(db) + 1, 70_000));
    // Like a reply or a command inside a value.
    client.set(b"string:protocol", b"$3\r\nfoo\r\n+OK\r\n-ERR no\r\n*1\r\n$4\r\nPING\r\n");
    // Lengths around the borders of the length encoding: 6 bits, 14 bits, 32 bits.
    for length in [63, 64, 16_383, 16_384] {
        let value = noise(u64::from(db) + length, usize::try_from(length).expect("small"));
        client.set(format!("string:length:{length}").as_bytes(), &value);
    }
}

fn awkward_keys(client: &mut Client, db: u32) {
    let value = format!("awkward in db {db}");
    let names: [&[u8]; 12] = [
        b"",
        b" ",
        b"key with blanks",
        b"line\nbreak\r\n",
        b"nul\0inside",
        b"\0",
        b"invalid utf-8 \xff\xfe\xc3\x28",
        "snow \u{2603} and \u{1F980}".as_bytes(),
        b"quote'\"`\\ $HOME ; rm",
        b"glob*[a]?",
        b"{tag}:x",
        b"\x1b[31mred\x1b[0m",
    ];
    for name in names {
        client.set(name, value.as_bytes());
    }
}

fn lists(client: &mut Client, db: u32) {
    let mut small = cmd("RPUSH");
    small.arg("list:small").arg(&["a", "", "1", "-5", "99999999999", "a"]).arg(db);
    client.run(&small);

    let items: Vec<String> = (0..5_000).map(|n| format!("item {n} of db {db}")).collect();
    client.run(cmd("RPUSH").arg("list:many-nodes").arg(&items));

    let mut plain = cmd("RPUSH");
    plain.arg("list:plain-node").arg("before").arg(noise(u64::from(db) + 3, 20_000)).arg("after");
    client.run(&plain);
}

fn sets(client: &mut Client, db: u32) {
    client.run(cmd("SADD").arg("set:int16").arg(&[1, 2, 3, -300]).arg(db + 10));
    client.run(cmd("SADD").arg("set:int32").arg(&[1, 70_000, -70_000]).arg(db + 10));
    client.run(cmd("SADD").arg("set:int64").arg(&[1, 5_000_000_000_i64]).arg(db + 10));
    client.run(cmd("SADD").arg("set:small").arg(&["x", "", "with blank"]).arg(db));
    let members: Vec<String> = (0..2_000).map(|n| format!("member {n} of db {db}")).collect();
    client.run(cmd("SADD").arg("set:large").arg(&members));
    client.run(cmd("SADD").arg("set:binary").arg(b"\xff\0\r\n").arg(noise(5, 200)));
}

fn hashes(client: &mut Client, db: u32) {
    let mut small = cmd("HSET");
    small.arg("hash:small").arg(&["field", "value", "", "empty name", "empty value", ""]);
    client.run(small.arg("db").arg(db));

    let mut large = cmd("HSET");
    large.arg("hash:large");
    for number in 0..2_000 {
        large.arg(format!("field {number}")).arg(format!("value {number} of db {db}"));
    }
    client.run(&large);

    // One long value is enough to leave the compact encoding.
    client.run(cmd("HSET").arg("hash:long-value").arg("f").arg(noise(u64::from(db) + 7, 5_000)));
    client.run(cmd("HSET").arg("hash:binary").arg(b"\xff\0\n").arg(b"\r\n\0\xfe"));
}

fn sorted_sets(client: &mut Client, db: u32) {
    let scores = [
        "-inf",
        "+inf",
        "0",
        "-0.5",
        "3.14159265358979",
        "1e300",
        "1e-300",
        "17",
        "9007199254740993",
    ];
    for key in ["zset:small", "zset:large"] {
        let mut add = cmd("ZADD");
        add.arg(key);
        for score in scores {
            add.arg(score).arg(format!("score {score} in db {db}"));
        }
        client.run(&add);
    }
    let mut add = cmd("ZADD");
    add.arg("zset:large");
    for number in 0..2_000 {
        add.arg(f64::from(number) / 3.0).arg(format!("member {number}"));
    }
    client.run(&add);
}

fn special(client: &mut Client, db: u32) {
    client.run(cmd("PFADD").arg("hll:sparse").arg(&["a", "b", "c"]).arg(db));
    let many: Vec<String> = (0..20_000).map(|n| format!("visitor {n} {db}")).collect();
    client.run(cmd("PFADD").arg("hll:dense").arg(&many));
    client.run(cmd("SETBIT").arg("bitmap").arg(100_000 + db).arg(1));
    let mut geo = cmd("GEOADD");
    geo.arg("geo").arg(&["13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"]);
    client.run(&geo);
}

/// From seconds to days, on several types; strings without expiry in between.
fn expiries(client: &mut Client, db: u32) {
    // Enough seconds that a slow machine has compared everything before the first key goes.
    let spans: [i64; 8] =
        [45_000, 61_234, 90_001, 600_000, 3_600_000, 86_400_000, 864_000_000, 3_155_760_000_000];
    let now = now_ms();
    let mut batch = redis::pipe();
    for number in 0..400_usize {
        let key = format!("expiry:{number}");
        batch.cmd("SET").arg(&key).arg(format!("{number} of db {db}"));
        if number % 3 != 0 {
            let spread = i64::try_from(number).expect("small");
            let at = now + spans[number % spans.len()] + spread;
            batch.cmd("PEXPIREAT").arg(&key).arg(at);
        }
    }
    client.run_all(&batch);
    for (index, key) in
        ["hash:small", "list:many-nodes", "set:int16", "zset:large", ""].iter().enumerate()
    {
        let span = spans[index + 2] + i64::from(db);
        client.run(cmd("PEXPIREAT").arg(*key).arg(now + span));
    }
}

/// Redis 7.4 and Valkey 9.0 can let single hash fields expire.
fn field_expiries(client: &mut Client) {
    for (key, fields) in [("hash:field-expiry-small", 5), ("hash:field-expiry-large", 700)] {
        let mut fill = cmd("HSET");
        fill.arg(key);
        for number in 0..fields {
            fill.arg(format!("f{number}")).arg(number);
        }
        client.run(&fill);
        client.run(&field_expiry(key, "f1", now_ms() + 3_600_000));
        client.run(&field_expiry(key, "f3", now_ms() + 86_400_000));
    }
}

fn field_expiry(key: &str, field: &str, at: i64) -> Cmd {
    let mut command = cmd("HPEXPIREAT");
    command.arg(key).arg(at).arg("FIELDS").arg(1).arg(field);
    command
}

fn huge(client: &mut Client) {
    client.set(b"string:huge", &noise(99, HUGE_VALUE));
    client.set(&huge_key(), b"value of the huge key");
    client.set(b"string:huge-compressible", &b"0123456789".repeat(400_000));
}

/// The key name of 1 MiB.
pub(crate) fn huge_key() -> Vec<u8> {
    noise(77, HUGE_KEY)
}
