//! The text that INFO answers, read into what a copy needs to know of a server.
//!
//! Every field may be missing: proxies and managed services leave out what they like.

use std::collections::BTreeMap;

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
    /// The history of writes that it has: a primary and its replicas have the same.
    pub replication_id: Option<String>,
    /// Whether it is a cluster node.
    pub cluster: bool,
    /// How many keys it removed because they had expired, since it started.
    pub expired_keys: Option<u64>,
    /// The databases that hold keys.
    pub keyspace: BTreeMap<u32, Keyspace>,
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
    /// Reads INFO's text; lines it does not know are passed over.
    pub fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        let mut keyspace = BTreeMap::new();
        for line in text.lines() {
            let Some((name, value)) = line.trim_end().split_once(':') else { continue };
            match name.strip_prefix("db").and_then(|number| number.parse().ok()) {
                Some(database) => {
                    keyspace.insert(database, parse_keyspace(value));
                }
                None => {
                    fields.insert(name, value);
                }
            }
        }
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
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
            replication_id: field("master_replid"),
            expired_keys: field("expired_keys").and_then(|number| number.parse().ok()),
            cluster: field("cluster_enabled").as_deref() == Some("1"),
            keyspace,
        }
    }

    /// The version's first two numbers.
    pub fn numbers(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map_while(|part| part.parse::<u32>().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
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

/// `keys=3,expires=1,avg_ttl=0[,subexpiry=0]`
fn parse_keyspace(value: &str) -> Keyspace {
    let mut keyspace = Keyspace::default();
    for part in value.split(',') {
        match part.split_once('=') {
            Some(("keys", number)) => keyspace.keys = number.parse().unwrap_or(0),
            Some(("expires", number)) => keyspace.expires = number.parse().unwrap_or(0),
            _ => {}
        }
    }
    keyspace
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
    fn missing_fields_are_no_error() {
        let info = ServerInfo::parse("redis_version:6.2.5\nrole:slave\nnonsense\ndbx:keys=1\n");
        assert_eq!(info.server(), "redis 6.2.5");
        assert!(info.sets_with_expiry());
        assert!(!ServerInfo::parse("redis_version:6.0.20").sets_with_expiry());
        assert!(info.replica);
        assert_eq!(info.run_id, None);
    }
}
