//! What Linux tells of other processes in `/proc` (proc(5)): state, CPU time, memory, children.

use std::fs;

/// The kernel reports times in ticks of 1/100 s on every Linux that matters (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Processes of one tree that are looked at: a contestant that starts more is beyond this harness.
const MOST_PROCESSES: usize = 256;

/// What processes and their descendants used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    ticks: u64,
    peak: u64,
}

impl Usage {
    /// Looks at the trees below `roots`. Ended processes still tell their CPU time, and that of the
    /// children they waited for, until they are waited for themselves.
    pub(super) fn look(&mut self, roots: impl Iterator<Item = u32>) {
        let mut waiting: Vec<u32> = roots.collect();
        let (mut ticks, mut resident, mut seen) = (0, 0, 0);
        while let Some(process) = waiting.pop() {
            seen += 1;
            if seen > MOST_PROCESSES {
                break;
            }
            ticks += Stat::of(process).map_or(0, |stat| stat.ticks);
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            resident += kib(&status, "VmRSS:").unwrap_or(0);
            // The highest it ever was, also between two looks.
            self.peak = self.peak.max(kib(&status, "VmHWM:").unwrap_or(0));
            waiting.extend(children(process));
        }
        self.peak = self.peak.max(resident);
        self.ticks = self.ticks.max(ticks);
    }

    /// User and system time.
    pub(super) fn cpu_seconds(self) -> Option<f64> {
        // A process without memory was never seen.
        (self.peak > 0).then_some(self.ticks as f64 / TICKS_PER_SECOND)
    }

    /// The most that was resident at once, of all together.
    pub(super) fn peak_resident_bytes(self) -> Option<u64> {
        (self.peak > 0).then_some(self.peak)
    }
}

/// Whether a child of ours has ended and waits to be waited for; `None` without `/proc`.
pub(super) fn has_ended(process: u32) -> Option<bool> {
    Stat::of(process).map(|stat| stat.ended)
}

struct Stat {
    ended: bool,
    ticks: u64,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    /// Field 3 is the state, 14 to 17 are utime, stime, cutime and cstime. The name before them is
    /// in parentheses and may hold blanks.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X" | "x");
        let ticks = fields.skip(10).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { ended, ticks })
    }
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a (b) c) Z 1 7 7 0 -1 4 10 11 12 13 100 20 3 4 20 0 1 0";
        let stat = Stat::parse(line).unwrap();
        assert!(stat.ended);
        assert_eq!(stat.ticks, 127);
        assert!(Stat::parse("7 (a").is_none());
    }
}
