//! The text that INFO answers, read into what a copy needs to know of a server.
//!
//! Every field may be missing: proxies and managed services leave out what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::Calls;
use super::changes::Changes;
use crate::resp::Value;

/// What INFO tells of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// `redis`, `valkey`, or what the server calls itself.
    pub family: String,
    /// The version of that family, as the server writes it.
    pub version: String,
    /// The identity of the running process: 40 hex digits, new at every start.
    pub run_id: Option<String>,
    /// The history of its data: 40 hex digits, another one after each promotion or full synchronisation.
    pub history: Option<String>,
    /// The history that this one goes on from, if it does.
    pub history_before: Option<String>,
    /// Whether it is a replica.
    pub replica: bool,
    /// Whether it says if it is a replica.
    pub tells_role: bool,
    /// Of a replica: host and port that it follows, and whether it is connected to it.
    pub primary: Option<(String, u16)>,
    /// Whether a replica is connected to its primary.
    pub linked: bool,
    /// Whether it is a cluster node.
    pub cluster: bool,
    /// Whether it is a sentinel, and holds no keys.
    pub sentinel: bool,
    /// Of a sentinel: the primaries that it watches, as `name at host:port`.
    pub watched: Vec<String>,
    /// How many keys it removed because they had expired, since it started.
    pub expired_keys: Option<u64>,
    /// How many keys it threw away because its memory was full, since it started.
    pub evicted_keys: Option<u64>,
    /// Seconds since it started.
    pub uptime: Option<u64>,
    /// The databases that are said to hold keys. A hint: what is not named here may hold keys, too,
    /// where the server does not report it.
    pub keyspace: BTreeMap<u32, Keyspace>,
    /// The databases that are named, but with no keys or by a line of another kind.
    pub unclear_databases: BTreeSet<u32>,
    /// What it has, and may have, in memory.
    pub memory: Memory,
    /// Clients that are connected.
    pub clients: Option<u64>,
    /// Clients that wait for a key (`BLPOP`), or for something else.
    pub blocked: Option<u64>,
    /// Clients that it takes (`maxclients`).
    pub most_clients: Option<u64>,
    /// Changes of its keys since it last saved them; grows with every write, falls when it saves.
    pub changes: Option<Changes>,
    /// How often each command was called (`INFO commandstats`).
    pub calls: Option<Calls>,
    /// Whether it says which databases hold keys, be it that none does.
    pub tells_keyspace: bool,
    /// Its last attempt to write its RDB file has failed: it may refuse writes until one succeeds.
    pub last_save_failed: bool,
    /// Libraries of functions.
    pub libraries: Option<u64>,
    /// The names of its modules.
    pub modules: Vec<String>,
}

/// What `INFO memory` tells, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that it uses.
    pub used: Option<u64>,
    /// What its keys and values take of that.
    pub dataset: Option<u64>,
    /// `maxmemory`; `None`: there is no limit, or it does not tell.
    pub limit: Option<u64>,
    /// It says that there is no limit.
    pub unlimited: bool,
    /// What becomes of keys at the limit: `noeviction`, `allkeys-lru`, …
    pub policy: Option<String>,
    /// What its machine has.
    pub system: Option<u64>,
}

impl Memory {
    /// What may still be stored; `None`: there is no limit, or it does not tell.
    pub fn room(&self) -> Option<u64> {
        Some(self.limit?.saturating_sub(self.used.unwrap_or(0)))
    }

    /// Whether, and when, keys are thrown away.
    pub fn eviction(&self) -> Eviction {
        match (self.limit, &self.policy) {
            _ if self.unlimited => Eviction::Never,
            (_, Some(policy)) if policy == "noeviction" => Eviction::Never,
            (Some(limit), Some(policy)) => Eviction::At(limit, policy.clone()),
            _ => Eviction::Untold,
        }
    }

    /// Whether keys are thrown away at the limit, instead of writes refused.
    pub fn evicts(&self) -> bool {
        self.policy.as_deref().is_some_and(|policy| policy != "noeviction")
    }
}

/// Whether a server may throw keys away when its memory is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// It has no limit, or refuses writes at it.
    Never,
    /// At this limit, in bytes, by this policy.
    At(u64, String),
    /// It does not tell.
    Untold,
}

/// One line of `INFO keyspace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keyspace {
    /// Keys, with those that have expired but are not yet removed.
    pub keys: u64,
    /// Those of them that have an expiry.
    pub expires: u64,
}

impl Keyspace {
    /// Keys without an expiry.
    pub fn persistent(self) -> u64 {
        self.keys.saturating_sub(self.expires)
    }
}

impl ServerInfo {
    /// Reads replies to INFO, of several sections; what is not a text tells nothing.
    pub fn of(replies: &[Value]) -> Self {
        let texts = replies.iter().map(|reply| reply.bytes().unwrap_or_default());
        Self::parse(&texts.map(String::from_utf8_lossy).collect::<String>())
    }

    /// Reads INFO's text; lines it does not know are passed over.
    pub fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        let (mut keyspace, mut unclear_databases) = (BTreeMap::new(), BTreeSet::new());
        let (mut modules, mut watched) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let Some((name, value)) = line.trim_end().split_once(':') else { continue };
            if name == "module" {
                modules.extend(parse_module(value));
            }
            if name.strip_prefix("master").is_some_and(|number| number.parse::<u32>().is_ok()) {
                watched.extend(parse_watched(value));
            }
            let database = name.strip_prefix("db").and_then(|number| number.parse().ok());
            match database.map(|database| (database, parse_keyspace(value))) {
                Some((database, Some(held))) => {
                    keyspace.insert(database, held);
                }
                Some((database, None)) => {
                    unclear_databases.insert(database);
                }
                None => {
                    fields.insert(name, value);
                }
            }
        }
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        let number = |name: &str| field(name).and_then(|number| number.parse::<u64>().ok());
        let tells_keyspace = !keyspace.is_empty() || text.contains("# Keyspace");
        let mode = ["redis_mode", "server_mode"].iter().find_map(|name| fields.get(name).copied());
        let valkey = field("valkey_version");
        let family = match (&valkey, field("server_name")) {
            (Some(_), _) => "valkey".to_owned(),
            (None, Some(name)) => name,
            (None, None) => "redis".to_owned(),
        };
        Self {
            family,
            version: valkey.or_else(|| field("redis_version")).unwrap_or_default(),
            run_id: field("run_id"),
            history: field("master_replid"),
            history_before: field("master_replid2"),
            replica: field("role").as_deref() == Some("slave"),
            tells_role: field("role").is_some(),
            primary: field("master_host")
                .zip(field("master_port").and_then(|port| port.parse().ok())),
            linked: field("master_link_status").as_deref() == Some("up"),
            expired_keys: number("expired_keys"),
            evicted_keys: number("evicted_keys"),
            uptime: number("uptime_in_seconds"),
            cluster: field("cluster_enabled").as_deref() == Some("1") || mode == Some("cluster"),
            sentinel: mode == Some("sentinel"),
            watched,
            keyspace,
            unclear_databases,
            memory: Memory {
                used: number("used_memory"),
                dataset: number("used_memory_dataset"),
                limit: number("maxmemory").filter(|limit| *limit > 0),
                unlimited: number("maxmemory") == Some(0),
                policy: field("maxmemory_policy"),
                system: number("total_system_memory"),
            },
            clients: number("connected_clients"),
            blocked: number("blocked_clients"),
            most_clients: number("maxclients"),
            changes: Changes::parse(text),
            calls: Calls::parse(text),
            tells_keyspace,
            last_save_failed: field("rdb_last_bgsave_status").as_deref() == Some("err"),
            libraries: number("number_of_libraries"),
            modules,
        }
    }

    /// The version's first two numbers.
    pub fn numbers(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// How many more clients may connect, where that is told; the connection that asked is to be closed.
    pub fn room_for_clients(&self) -> Option<u64> {
        let (most, now) = (self.most_clients?, self.clients?);
        Some((most + 1).saturating_sub(now))
    }

    /// Whether it knows `SET … PXAT` (Redis 6.2, every Valkey).
    pub fn sets_with_expiry(&self) -> bool {
        self.family == "valkey" || (self.family == "redis" && self.numbers() >= (6, 2))
    }

    /// Family and version for people: `redis 7.0.15`.
    pub fn server(&self) -> String {
        format!("{} {}", self.family, self.version).trim_end().to_owned()
    }
}

/// `name=bf,ver=20606,api=1,…`
fn parse_module(value: &str) -> Option<String> {
    value.split(',').find_map(|part| part.strip_prefix("name=")).map(str::to_owned)
}

/// `name=mymaster,status=ok,address=127.0.0.1:6379,slaves=1,sentinels=1`
fn parse_watched(value: &str) -> Option<String> {
    let field = |wanted: &str| value.split(',').find_map(|part| part.strip_prefix(wanted));
    Some(format!("{} at {}", field("name=")?, field("address=")?))
}

/// `keys=3,expires=1,avg_ttl=0[,subexpiry=0]`; `None`: no keys, or a line of another kind.
fn parse_keyspace(value: &str) -> Option<Keyspace> {
    let field = |wanted: &str| {
        let mut fields = value.split(',').filter_map(|part| part.split_once('='));
        fields.find(|(name, _)| *name == wanted)?.1.parse::<u64>().ok()
    };
    let keyspace = Keyspace { keys: field("keys")?, expires: field("expires")? };
    (keyspace.keys > 0).then_some(keyspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valkey_is_not_taken_for_the_redis_it_names() {
        let text = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n\
                    valkey_version:8.1.8\r\nrun_id:abc\r\n# Replication\r\nrole:master\r\n\
                    cluster_enabled:0\r\n# Keyspace\r\n\
                    db0:keys=3,expires=1,avg_ttl=0\r\ndb11:keys=7,expires=0,avg_ttl=0\r\n";
        let info = ServerInfo::parse(text);
        assert_eq!(info.server(), "valkey 8.1.8");
        assert_eq!(info.run_id.as_deref(), Some("abc"));
        assert!(!info.replica && !info.cluster);
        assert_eq!(info.keyspace.len(), 2);
        assert_eq!(info.keyspace[&0].persistent(), 2);
        assert_eq!(info.keyspace[&11], Keyspace { keys: 7, expires: 0 });
    }

    #[test]
    fn a_database_of_which_nothing_certain_is_said_is_unclear_and_not_empty() {
        for line in [
            "db4:keys=0,expires=0",
            "db4:keys=-1,expires=0",
            "db4:keys=many,expires=0",
            "db4:expires=0",
            "db4:3",
            "db4:",
            "db4:keys=99999999999999999999,expires=0",
        ] {
            let info = ServerInfo::parse(&format!("# Keyspace\r\n{line}\r\n"));
            assert!(info.keyspace.is_empty(), "{line}");
            assert_eq!(info.unclear_databases, BTreeSet::from([4]), "{line}");
        }
        // The sections of others are no databases.
        let pika =
            "# Keyspace\r\n# Time:1970-01-01\r\ndb0 Strings_keys=7, expires=0, invalid_keys=0\r\n";
        let info = ServerInfo::parse(pika);
        assert!(info.keyspace.is_empty() && info.unclear_databases.is_empty());
    }

    #[test]
    fn a_reply_that_is_no_text_tells_nothing() {
        for reply in [Value::Null, Value::Integer(7), Value::Array(Vec::new())] {
            assert_eq!(ServerInfo::of(&[reply]), ServerInfo::parse(""));
        }
        let told = Value::Bulk(b"run_id:a\r\n".to_vec());
        assert_eq!(ServerInfo::of(&[Value::Null, told]).run_id.as_deref(), Some("a"));
    }

    #[test]
    fn missing_fields_are_no_error() {
        let info = ServerInfo::parse("redis_version:6.2.5\nrole:slave\nnonsense\ndbx:keys=1\n");
        assert_eq!(info.server(), "redis 6.2.5");
        assert!(info.sets_with_expiry());
        assert!(!ServerInfo::parse("redis_version:6.0.20").sets_with_expiry());
        assert!(info.replica);
        assert_eq!(info.run_id, None);
        assert_eq!(info.memory.room(), None);
    }

    #[test]
    fn sentinels_and_cluster_nodes_say_what_they_are() {
        let sentinel = ServerInfo::parse(
            "redis_mode:sentinel\r\nsentinel_masters:1\r\n\
             master0:name=main,status=ok,address=10.0.0.1:6379,slaves=1,sentinels=3\r\n",
        );
        assert!(sentinel.sentinel && !sentinel.cluster);
        assert_eq!(sentinel.watched, ["main at 10.0.0.1:6379"]);
        assert!(ServerInfo::parse("server_mode:sentinel\n").sentinel);
        assert!(ServerInfo::parse("server_mode:cluster\n").cluster);
        assert!(ServerInfo::parse("cluster_enabled:1\n").cluster);
        let plain = ServerInfo::parse("redis_mode:standalone\nmaster_host:a\ncluster_enabled:0\n");
        assert!(!plain.sentinel && !plain.cluster && plain.watched.is_empty());
    }

    #[test]
    fn memory_modules_and_activity_are_read() {
        let text = "redis_version:7.0.15\r\nconnected_clients:3\r\nused_memory:700\r\n\
                    used_memory_dataset:400\r\nmaxmemory:1000\r\n\
                    maxmemory_policy:allkeys-lru\r\nnumber_of_libraries:2\r\n\
                    rdb_changes_since_last_save:12\r\n\
                    module:name=bf,ver=20606,api=1\r\nmodule:name=ReJSON,ver=1\r\n";
        let info = ServerInfo::parse(text);
        assert_eq!((info.memory.room(), info.memory.dataset), (Some(300), Some(400)));
        assert!(info.memory.evicts());
        assert_eq!((info.clients, info.libraries), (Some(3), Some(2)));
        assert_eq!(info.changes, Changes::parse("rdb_changes_since_last_save:12\n"));
        assert_eq!(info.modules, ["bf", "ReJSON"]);
        // No limit, and a limit that is passed already.
        assert_eq!(ServerInfo::parse("maxmemory:0\nused_memory:5\n").memory.room(), None);
        let full = ServerInfo::parse("maxmemory:1\nused_memory:5\nmaxmemory_policy:noeviction\n");
        assert_eq!(full.memory.room(), Some(0));
        assert!(!full.memory.evicts());
    }
}
