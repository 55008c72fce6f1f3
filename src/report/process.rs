//! What this process used itself: CPU and memory, as Linux tells.

use serde::Serialize;

/// Figures of this process so far; zero where the system does not tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Peak resident memory, in bytes.
    pub peak_resident_bytes: u64,
}

/// The kernel reports times in ticks of 1/100 s on every Linux that matters (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// The figures now.
    pub fn now() -> Self {
        Self {
            cpu_seconds: cpu_seconds().unwrap_or_default(),
            peak_resident_bytes: peak_resident_bytes().unwrap_or_default(),
        }
    }
}

/// Fields 14 and 15 of /proc/self/stat (proc(5)): utime and stime. The name before them is in
/// parentheses and may hold blanks.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let behind_name = stat.rsplit_once(')')?.1;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_used_something() {
        let usage = Usage::now();
        assert!(usage.peak_resident_bytes > 100_000);
        assert!(usage.cpu_seconds >= 0.0);
    }
}
