//! Reads /proc: CPU time and memory of the server, CPU time of this process and of the rest of the machine.

use crate::sys;
use anyhow::{Result, bail};
use std::collections::HashMap;
use std::fs;

/// CPU time so far and current memory of the server's processes.
pub struct Snapshot {
    processes: HashMap<i32, Cpu>,
    /// Resident memory of all processes.
    pub rss_kib: u64,
    /// Peak resident memory since the last [`reset_peak`].
    pub peak_kib: u64,
    client: f64,
    busy: f64,
    steal: f64,
}

/// CPU time of a process so far.
#[derive(Clone, Copy, Default)]
struct Cpu {
    /// User time in clock ticks.
    user: u64,
    /// System time in clock ticks.
    system: u64,
    /// Time on a processor of the threads that run now, in nanoseconds.
    exact: u64,
}

/// CPU seconds between two snapshots.
#[derive(Debug, Default, Clone, Copy)]
pub struct Spent {
    /// CPU time of the server in user space.
    pub user: f64,
    /// CPU time of the server in the kernel.
    pub system: f64,
    /// CPU time of this process.
    pub client: f64,
    /// CPU time of all other processes.
    pub other: f64,
    /// Time taken by the hypervisor.
    pub steal: f64,
}

impl Snapshot {
    /// Reads the processes `roots` and their descendants. An error if one of `roots` is gone.
    pub fn take(roots: &[i32]) -> Result<Self> {
        let mut processes = HashMap::new();
        let (mut rss_kib, mut peak_kib) = (0, 0);
        for pid in with_descendants(roots) {
            let Some(fields) = stat(pid) else { continue };
            processes.insert(pid, Cpu { user: fields[10], system: fields[11], exact: exact_cpu(pid) });
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            rss_kib += status_kib(&status, "VmRSS:");
            peak_kib += status_kib(&status, "VmHWM:");
        }
        if let Some(gone) = roots.iter().find(|pid| !processes.contains_key(pid)) {
            bail!("server process {gone} is gone");
        }
        let (busy, steal) = machine();
        Ok(Self { processes, rss_kib, peak_kib, client: sys::own_cpu_seconds(), busy, steal })
    }

    /// CPU time spent since `before`.
    pub fn since(&self, before: &Self) -> Spent {
        let (mut user, mut system) = (0.0, 0.0);
        for (pid, now) in &self.processes {
            let then = before.processes.get(pid).copied().unwrap_or_default();
            let spent = now.since(then);
            user += spent.0;
            system += spent.1;
        }
        let client = self.client - before.client;
        let other = (self.busy - before.busy - client - user - system).max(0.0);
        Spent { user, system, client, other, steal: self.steal - before.steal }
    }
}

impl Cpu {
    /// User and system seconds since `then`.
    fn since(self, then: Self) -> (f64, f64) {
        let ticks = sys::ticks_per_second();
        let user = self.user.saturating_sub(then.user) as f64 / ticks;
        let system = self.system.saturating_sub(then.system) as f64 / ticks;
        let exact = self.exact.saturating_sub(then.exact) as f64 / 1e9;
        // Ticks of 10 ms are coarse for a server that rests most of the time. The sum over the threads is
        // exact, but lacks those that have ended, so it counts only if both agree.
        let coarse = user + system;
        if coarse == 0.0 || exact == 0.0 || (exact - coarse).abs() > 4.0 / ticks {
            return (user, system);
        }
        (user * exact / coarse, system * exact / coarse)
    }
}

/// Nanoseconds on a processor of all threads of a process, by `schedstat` (sched-stats.rst of Linux); 0 without that file.
fn exact_cpu(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let spent = |path: std::path::PathBuf| -> Option<u64> {
        let text = fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse().ok()
    };
    tasks.filter_map(|task| spent(task.path())).sum()
}

/// Resets the peak of resident memory.
pub fn reset_peak(roots: &[i32]) {
    for pid in with_descendants(roots) {
        // This fails only for a process that has ended, which the next snapshot reports.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// Numeric fields of proc_pid_stat(5), from the fourth (the parent) on.
fn stat(pid: i32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name, in parentheses, may contain any characters.
    let rest = text.get(text.rfind(')')? + 4..)?;
    let fields: Vec<u64> =
        rest.split_ascii_whitespace().map(|f| f.parse::<i64>().map_or(0, |n| n as u64)).collect();
    (fields.len() > 11).then_some(fields)
}

fn status_kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn with_descendants(roots: &[i32]) -> Vec<i32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((pid, fields)) = pid.and_then(|pid: i32| Some((pid, stat(pid)?))) {
            parents.push((pid, fields[0] as i32));
        }
    }
    let mut all = roots.to_vec();
    let mut next = 0;
    while next < all.len() {
        for (pid, parent) in &parents {
            if *parent == all[next] && !all.contains(pid) {
                all.push(*pid);
            }
        }
        next += 1;
    }
    all
}

/// Busy and stolen CPU seconds of the whole machine.
fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = first.split_ascii_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect();
    let ticks = sys::ticks_per_second();
    match fields[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] => {
            ((user + nice + system + irq + softirq) / ticks, steal / ticks)
        }
        _ => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_measured() {
        let pid = std::process::id() as i32;
        let before = Snapshot::take(&[pid]).expect("we are alive");
        let enough = sys::own_cpu_seconds() + 0.06;
        while sys::own_cpu_seconds() < enough {
            std::hint::spin_loop();
        }
        let after = Snapshot::take(&[pid]).expect("we are alive");
        let spent = after.since(&before);
        assert!(spent.user + spent.system > 0.02, "{spent:?}");
        assert!(after.rss_kib > 100 && after.peak_kib >= after.rss_kib / 2);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Snapshot::take(&[i32::MAX]).is_err());
    }
}
