//! What befalls the target itself while a run goes on.

use std::time::Duration;

use redis::cmd;

use super::plan::{Plan, Upheaval};
use crate::support::fault_proxy::FaultProxy;
use crate::support::keyferry::Running;
use crate::support::server::Server;

/// Waits until the run has come so far, and lets it happen.
pub(crate) fn cause(plan: &Plan, into: &FaultProxy, target: &mut Server, running: &mut Running) {
    if plan.upheaval == Upheaval::Nothing {
        return;
    }
    while into.request_bytes() < plan.upheaval_after {
        if running.is_over() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    match plan.upheaval {
        Upheaval::Nothing => {}
        Upheaval::Restart => {
            target.kill();
            target.start_again();
        }
        Upheaval::OutOfMemory => {
            target.client(0).run(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1));
        }
        Upheaval::ReadOnly => {
            let mut client = target.client(0);
            client.run(cmd("REPLICAOF").arg("127.0.0.1").arg(1));
            while client.info("errorstats", "errorstat_READONLY").is_none() && !running.is_over() {
                std::thread::sleep(Duration::from_millis(2));
            }
            client.run(cmd("REPLICAOF").arg("NO").arg("ONE"));
        }
    }
}
