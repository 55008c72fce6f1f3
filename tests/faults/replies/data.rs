//! Two servers and what they hold before a run: some 300 keys of all types, with and without expiries.

use std::sync::LazyLock;

use redis::{Pipeline, cmd};

use super::flow::Flow;
use crate::support::dataset::noise;
use crate::support::now_ms;
use crate::support::server::{Kind, Server};

/// The databases that hold keys.
pub(super) const DATABASES: [u32; 2] = [0, 1];

/// Keys of both databases.
const KEYS: [usize; 2] = [250, 50];

/// Keys of which the target holds another value, where it holds any before.
const TAKEN: usize = 30;

/// The same for all runs of this process, so that what they leave can be compared.
static NOW: LazyLock<i64> = LazyLock::new(now_ms);

/// Source and target.
pub(super) const PAIRS: [[Kind; 2]; 3] = [
    [Kind::Redis70, Kind::Redis70],
    [Kind::Redis62, Kind::Valkey81],
    [Kind::Valkey91, Kind::Redis82],
];

/// The servers of one pair.
pub(super) struct Bench {
    pub(super) source: Server,
    pub(super) target: Server,
}

impl Bench {
    pub(super) fn of(pair: [Kind; 2]) -> Self {
        let [source, target] = pair.map(Server::start);
        for server in [&source, &target] {
            // By default a server waits five seconds for more replicas.
            server.synchronise_at_once();
        }
        Self { source, target }
    }

    /// Makes both sides what they are before a run of this flow.
    pub(super) fn prepare(&self, flow: Flow) {
        for server in [&self.source, &self.target] {
            let mut client = server.client(0);
            client.run(&cmd("FLUSHALL"));
            if server.kind != Kind::Redis62 {
                client.run(cmd("FUNCTION").arg("FLUSH"));
            }
        }
        fill(&self.source);
        let mut target = self.target.client(0);
        let limit = if flow == Flow::Pieces { 1 << 20 } else { 512 << 20 };
        target.run(cmd("CONFIG").arg("SET").arg("proto-max-bulk-len").arg(limit));
        match flow {
            Flow::Skip | Flow::Fail | Flow::Merge => take_names(&self.target),
            Flow::Pieces => add_long(&self.source),
            Flow::Functions => self.load_functions(),
            _ if flow.starts_equal() => fill(&self.target),
            _ => {}
        }
        self.plant(flow);
    }

    /// Makes equal sides differ.
    fn plant(&self, flow: Flow) {
        let mut target = self.target.client(0);
        match flow {
            Flow::VerifyMissing => target.run(cmd("DEL").arg("key:007")),
            Flow::VerifyExtra => target.set(b"key:more", b"value"),
            Flow::VerifyValue => target.run(cmd("RPUSH").arg("key:015").arg("more")),
            Flow::VerifyExpiry => target.run(cmd("PEXPIREAT").arg("key:003").arg(*NOW + 9_000_000)),
            Flow::CleanupDiffering => {
                target.run(cmd("DEL").arg("key:007"));
                target.set(b"key:010", b"another value");
                target.run(cmd("PERSIST").arg("key:003"));
                target.run(cmd("SADD").arg("key:016").arg("more"));
            }
            _ => {}
        }
    }

    fn load_functions(&self) {
        for name in ["one", "two"] {
            let code = format!(
                "#!lua name={name}\nredis.register_function('{name}', function() return 1 end)"
            );
            if self.source.kind != Kind::Redis62 {
                self.source.client(0).run(cmd("FUNCTION").arg("LOAD").arg(code));
            }
        }
    }
}

fn key(number: usize) -> String {
    format!("key:{number:03}")
}

/// Fills a server: always with the same.
fn fill(server: &Server) {
    for (&db, keys) in DATABASES.iter().zip(KEYS) {
        let mut batch = redis::pipe();
        (0..keys).for_each(|number| add(&mut batch, db, number));
        if db == 0 {
            batch.cmd("SET").arg("long:string").arg(noise(5, 100_000));
            let elements: Vec<usize> = (0..3_000).collect();
            batch.cmd("RPUSH").arg("long:list").arg(elements);
        }
        server.client(db).run_all(&batch);
    }
}

fn add(batch: &mut Pipeline, db: u32, number: usize) {
    let name = key(number);
    match number % 10 {
        5 => batch.cmd("RPUSH").arg(&name).arg(number).arg("x").arg(db),
        6 => batch.cmd("SADD").arg(&name).arg(number).arg("member").arg(db),
        7 => batch.cmd("HSET").arg(&name).arg("f").arg(number).arg("db").arg(db),
        8 => batch.cmd("ZADD").arg(&name).arg(number).arg("one").arg(db).arg("two"),
        9 => batch.cmd("XADD").arg(&name).arg("1-1").arg("f").arg(number),
        _ => batch.cmd("SET").arg(&name).arg(format!("{number} of {db} {}", "v".repeat(number))),
    };
    if number.is_multiple_of(3) {
        let at = *NOW + 7_200_000 + i64::try_from(number).expect("small") * 1_000;
        batch.cmd("PEXPIREAT").arg(&name).arg(at);
    }
}

/// The target holds other values of some of the names.
fn take_names(target: &Server) {
    let mut batch = redis::pipe();
    for number in 0..TAKEN {
        let name = key(number);
        match number % 10 {
            5 => batch.cmd("RPUSH").arg(&name).arg("other"),
            6 => batch.cmd("SADD").arg(&name).arg("other"),
            7 => batch.cmd("HSET").arg(&name).arg("f").arg("other"),
            8 => batch.cmd("ZADD").arg(&name).arg(3).arg("other"),
            9 => batch.cmd("XADD").arg(&name).arg("1-1").arg("f").arg("other"),
            _ => batch.cmd("SET").arg(&name).arg("other"),
        };
    }
    target.client(0).run_all(&batch);
}

/// Values that the target takes in pieces only.
fn add_long(source: &Server) {
    const PART: usize = 16_000;
    let mut batch = redis::pipe();
    batch.cmd("SET").arg("pieces:string").arg(noise(9, 1_300_000));
    for number in 0..80_u64 {
        batch.cmd("HSET").arg("pieces:hash").arg(number).arg(noise(number + 1, PART));
        batch.cmd("RPUSH").arg("pieces:list").arg(noise(number + 100, PART));
    }
    batch.cmd("PEXPIREAT").arg("pieces:hash").arg(*NOW + 8_000_000);
    source.client(0).run_all(&batch);
}
