//! What servers can do by themselves: MIGRATE in batches over one connection, and replication.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::contestant::{Measured, failed};
use super::server::Peer;
use crate::error::Result;
use crate::resp::Value;

/// Keys in one MIGRATE: what tools and tutorials take.
const BATCH: usize = 100;
/// Keys asked for by one SCAN.
const SCAN_COUNT: &[u8] = b"1000";
/// How long one MIGRATE may take, in milliseconds.
const MIGRATE_TIMEOUT: &[u8] = b"60000";
/// How often the replica is asked whether it is there.
const PAUSE: Duration = Duration::from_millis(5);
/// How long it may stay away without a sign: then the two do not find each other.
const MOST_SILENCE: Duration = Duration::from_secs(60);
/// A synchronisation that ends and leaves the link down so often will not succeed.
const MOST_FAILURES: u32 = 5;

/// SCAN, and MIGRATE … COPY REPLACE KEYS for a hundred keys at a time.
pub(super) async fn migrate(source: &Peer, target: &(String, u16)) -> Result<Measured> {
    let mut connection = source.connect().await?;
    let port = target.1.to_string();
    // REPLACE: SCAN may name a key twice.
    let fixed: [&[u8]; 9] = [
        b"MIGRATE",
        target.0.as_bytes(),
        port.as_bytes(),
        b"",
        b"0",
        MIGRATE_TIMEOUT,
        b"COPY",
        b"REPLACE",
        b"KEYS",
    ];
    let began = Instant::now();
    let mut cursor = b"0".to_vec();
    loop {
        let page = connection.demand(&[b"SCAN", &cursor, b"COUNT", SCAN_COUNT]).await?;
        let [next, names] = page.elements().unwrap_or_default() else {
            return Err(failed("SCAN answered something else"));
        };
        let names: Vec<&[u8]> =
            names.elements().unwrap_or_default().iter().flat_map(Value::bytes).collect();
        for batch in names.chunks(BATCH) {
            connection.demand(&[&fixed, batch].concat()).await?;
        }
        cursor = next.bytes().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(Measured { seconds: began.elapsed().as_secs_f64(), ..Measured::default() });
        }
    }
}

/// From REPLICAOF until the link is up and all keys are there. The caller ends the replication.
pub(super) async fn replicate(
    source: &(String, u16),
    replica: &Peer,
    keys: u64,
) -> Result<Measured> {
    let mut connection = replica.connect().await?;
    let port = source.1.to_string();
    let began = Instant::now();
    connection.demand(&[b"REPLICAOF", source.0.as_bytes(), port.as_bytes()]).await?;
    let mut last_sign = Instant::now();
    let mut before = String::new();
    let (mut syncing, mut failures) = (false, 0);
    loop {
        // While it loads it refuses other commands, but tells how far it is.
        let info = connection.call(&[b"INFO", b"replication"]).await?;
        let info = String::from_utf8_lossy(info.bytes().unwrap_or_default()).into_owned();
        let up = info.lines().any(|line| line.trim() == "master_link_status:up");
        if up && connection.call(&[b"DBSIZE"]).await? == Value::Integer(keys.cast_signed()) {
            return Ok(Measured { seconds: began.elapsed().as_secs_f64(), ..Measured::default() });
        }
        let syncs = info.lines().any(|line| line.trim() == "master_sync_in_progress:1");
        failures += u32::from(std::mem::replace(&mut syncing, syncs) && !syncs && !up);
        if failures > MOST_FAILURES {
            let text = "the replica cannot load what the source sends (see the target's log)";
            return Err(failed(text));
        }
        let signs = signs(&info, up);
        if signs != before {
            (before, last_sign) = (signs, Instant::now());
        }
        if last_sign.elapsed() > MOST_SILENCE {
            return Err(failed("the replica does not get any further"));
        }
        sleep(PAUSE).await;
    }
}

/// The lines of INFO that move while a replica synchronizes.
fn signs(info: &str, up: bool) -> String {
    let moving = |line: &&str| line.starts_with("master_sync_") && !line.contains("seconds");
    let lines: Vec<&str> = info.lines().filter(moving).collect();
    format!("{up} {}", lines.join(" "))
}
