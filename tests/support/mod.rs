//! What the tests stand on: servers, data, comparison, certificates, faults, and the binary itself.

pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod compare;
pub(crate) mod dataset;
pub(crate) mod fault_proxy;
pub(crate) mod inventory;
pub(crate) mod keyferry;
pub(crate) mod moments;
pub(crate) mod permissions;
pub(crate) mod reading;
pub(crate) mod reply_proxy;
pub(crate) mod rewriting_proxy;
pub(crate) mod server;
pub(crate) mod strange_peers;
pub(crate) mod streams;

mod self_test;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a condition that is bound to come true may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again every few milliseconds until `condition` holds; panics with `what` if it never does.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The wall clock in milliseconds since 1970, as the servers of this machine see it.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

/// A key or value as text for messages: printable ASCII stays, the rest is escaped, long ones are cut.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = bytes[..bytes.len().min(LONGEST)].escape_ascii();
    if bytes.len() > LONGEST {
        format!("\"{text}\"… ({} bytes)", bytes.len())
    } else {
        format!("\"{text}\"")
    }
}
