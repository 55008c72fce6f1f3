//! Which databases of a server hold keys, each of them shown: INFO and DBSIZE only hint at it.
//!
//! Services leave out INFO's section `keyspace`, others write their own text there, and proxies cache
//! it. So no database is taken for empty before a SCAN has found no key in it.

use std::collections::{BTreeMap, BTreeSet};

use super::probe::refused_before_work;
use crate::command::ServerInfo;
use crate::command::info::Keyspace;
use crate::config::Mapping;
use crate::error::{Error, Kind, Result};
use crate::net::{Connection, Connector, connect};
use crate::resp::Value;

/// The databases that hold keys, and about how many.
pub(super) type Holdings = BTreeMap<u32, Keyspace>;

/// COUNT of the first look: an empty database needs no other, and most others neither. Names may be long, and
/// a source may send no long replies.
const FIRST_COUNT: u32 = 10;
/// Longer strings of answers are not held, in bytes.
const HELD: usize = 4 << 10;
/// The largest COUNT of the looks after it, where a large table holds few keys, or none.
const LARGEST_COUNT: u32 = 10_000;
/// Looks at one database at most: a table of 655 million places.
const MOST_LOOKS: u32 = 1 << 16;
/// Databases beside 0 that are looked at where INFO names none: what servers have by default.
const BY_DEFAULT: std::ops::Range<u32> = 1..16;

/// The databases of a server that a mapping may read from and that hold keys. `side` is the way to
/// the server: where INFO names no database, a connection of its own looks at others than 0.
///
/// # Errors
/// A connection broke, or the server refuses to be looked at.
pub(super) async fn of_mapping(
    connection: &mut Connection,
    side: &Connector,
    info: &ServerInfo,
    mapping: &Mapping,
) -> Result<Holdings> {
    if let Mapping::Routes(routes) = mapping {
        let named = routes.iter().map(|route| route.source);
        return look(connection, info, named).await;
    }
    let mut databases = BTreeSet::from([0]);
    databases.extend(info.keyspace.keys().chain(&info.unclear_databases));
    let (none, others) = (BTreeSet::new(), BTreeSet::from_iter(BY_DEFAULT));
    if !info.keyspace.is_empty() {
        // What it does not name may have been written since, or be left out.
        return look_at(connection, info, &databases, &others).await;
    }
    let mut found = look_at(connection, info, &databases, &none).await?;
    // A proxy may hang up on a command that it does not know.
    if let Ok(mut apart) = connect(side, 0).await {
        let first = BTreeSet::from([0]);
        let looked = look_at(&mut apart, info, &first, &others).await;
        found.extend(looked.unwrap_or_default());
    }
    if !found.is_empty() {
        tracing::warn!(
            "{}: INFO does not report which databases hold keys; SCAN found keys in: {}. Name others \
             by --db",
            connection.server().side,
            found.keys().map(u32::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(found)
}

/// Which of these databases hold keys.
///
/// # Errors
/// As [`of_mapping`].
pub(super) async fn look(
    connection: &mut Connection,
    info: &ServerInfo,
    databases: impl Iterator<Item = u32>,
) -> Result<Holdings> {
    look_at(connection, info, &databases.collect(), &BTreeSet::new()).await
}

/// Likewise; `others` may not be there.
async fn look_at(
    connection: &mut Connection,
    info: &ServerInfo,
    databases: &BTreeSet<u32>,
    others: &BTreeSet<u32>,
) -> Result<Holdings> {
    // Names of any length may come, and none is of interest.
    let before = connection.hold_at_most(Some(HELD));
    let found = look_closely(connection, info, databases, others).await;
    connection.hold_at_most(before);
    found
}

async fn look_closely(
    connection: &mut Connection,
    info: &ServerInfo,
    databases: &BTreeSet<u32>,
    others: &BTreeSet<u32>,
) -> Result<Holdings> {
    let all: BTreeSet<u32> = databases.union(others).copied().collect();
    let mut asked = first_looks(connection, &all).await.map_err(refused_before_work)?;
    if moves_nowhere(&asked, others) {
        asked.retain(|asked| databases.contains(&asked.database));
    }
    // The first looks have left the connection on the last of them.
    let moved = all.range(1..).next().is_some();
    let mut found = Holdings::new();
    for Asked { database, select, dbsize, scan } in asked {
        match select {
            Some(Value::Error(_)) if !databases.contains(&database) => continue,
            Some(Value::Error(line)) => return Err(connection.no_database(database, &line)),
            _ => {}
        }
        let holds = match scan.as_ref().and_then(page) {
            Some(Page { holds: true, .. }) => true,
            Some(Page { next, .. }) if next == b"0" => false,
            _ => go_on(connection, database, moved).await.map_err(refused_before_work)?,
        };
        if holds {
            let told = info.keyspace.get(&database).copied();
            let counted = match dbsize {
                Some(Value::Integer(keys)) => u64::try_from(keys).ok(),
                _ => None,
            };
            let keys = counted.or_else(|| told.map(|told| told.keys)).unwrap_or(1).max(1);
            // Each of them may have an expiry.
            let expires = told.map_or(keys, |told| told.expires.min(keys));
            found.insert(database, Keyspace { keys, expires });
        }
    }
    if moved {
        // Whoever goes on with this connection may have no right to the last database.
        connection.call(&[b"SELECT", b"0"]).await.map_err(refused_before_work)?;
    }
    Ok(found)
}

/// A server with one database may take every SELECT and stay where it is: then the others show what
/// database 0 shows.
fn moves_nowhere(asked: &[Asked], others: &BTreeSet<u32>) -> bool {
    let Some(first) = asked.iter().find(|asked| asked.database == 0) else { return false };
    let same = |asked: &&Asked| {
        others.contains(&asked.database)
            && asked.scan == first.scan
            && first.scan.as_ref().and_then(page).is_some_and(|page| page.holds)
    };
    asked.iter().filter(same).count() > BY_DEFAULT.len() / 2
}

/// What a database answered at first.
struct Asked {
    database: u32,
    /// Of database 0 there is none: every connection begins there, and a server with one database may
    /// not know SELECT.
    select: Option<Value>,
    dbsize: Option<Value>,
    scan: Option<Value>,
}

/// Asks every database in one round trip.
async fn first_looks(connection: &mut Connection, databases: &BTreeSet<u32>) -> Result<Vec<Asked>> {
    let numbers: Vec<String> = databases.iter().map(u32::to_string).collect();
    let count = FIRST_COUNT.to_string();
    let mut commands: Vec<Vec<&[u8]>> = Vec::new();
    for number in &numbers {
        if number != "0" {
            commands.push(vec![b"SELECT", number.as_bytes()]);
        }
        commands.push(vec![b"DBSIZE"]);
        commands.push(vec![b"SCAN", b"0", b"COUNT", count.as_bytes()]);
    }
    let commands: Vec<&[&[u8]]> = commands.iter().map(Vec::as_slice).collect();
    let mut replies =
        connection.demand_all_from(&[&[b"SELECT", b"0"]], &commands).await?.into_iter();
    let asked = databases.iter().map(|&database| Asked {
        database,
        select: (database != 0).then(|| replies.next()).flatten(),
        dbsize: replies.next(),
        scan: replies.next(),
    });
    Ok(asked.collect())
}

/// Scans until a key or the end is found; whatever the first look met, this meets again. `moved`: the
/// connection may be on another database.
async fn go_on(connection: &mut Connection, database: u32, moved: bool) -> Result<bool> {
    if database != 0 || moved {
        connection.demand(&[b"SELECT", database.to_string().as_bytes()]).await?;
    }
    let mut cursor = b"0".to_vec();
    let mut count = FIRST_COUNT;
    for _ in 0..MOST_LOOKS {
        let number = count.to_string();
        count = (count * 10).min(LARGEST_COUNT);
        let scan: [&[u8]; 4] = [b"SCAN", &cursor, b"COUNT", number.as_bytes()];
        let reply = connection.demand(&scan).await?;
        match page(&reply) {
            Some(Page { holds: true, .. }) => return Ok(true),
            Some(Page { next, .. }) if next == b"0" => return Ok(false),
            Some(Page { next, .. }) if next != cursor => cursor = next,
            Some(_) => break,
            None => {
                let error = Error::new(Kind::Protocol, "unexpected reply to SCAN");
                return Err(connection.place(error));
            }
        }
    }
    let text = format!("SCAN never ends (database {database})");
    Err(connection.place(Error::new(Kind::Server, text)))
}

/// A page of SCAN.
struct Page {
    holds: bool,
    next: Vec<u8>,
}

fn page(reply: &Value) -> Option<Page> {
    let [cursor, keys] = reply.elements()? else { return None };
    let holds = !keys.elements()?.is_empty();
    Some(Page { holds, next: cursor.bytes()?.to_vec() })
}
