//! Processes by number, told apart from later ones with the same number by their start time.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Kernel ticks of a second in /proc: USER_HZ, which is 100 on every architecture that is built for (proc(5)).
const TICKS: f64 = 100.0;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    /// Its number.
    pub(crate) pid: i32,
    /// When it started, in kernel ticks since boot.
    pub(crate) start: u64,
}

/// Fields of /proc/PID/stat from the third on: the second, the program's name, may hold anything.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(')')?.1;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

impl Identity {
    /// The process with this number now, if there is one.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let start = stat_fields(pid)?.get(19)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// This very process.
    pub(crate) fn own() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self::of(pid).unwrap_or(Self { pid, start: 0 })
    }

    /// For how long it has been running, to a kernel tick.
    pub(crate) fn age(self) -> Option<Duration> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let now: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        let begun = Duration::from_secs_f64(self.start as f64 / TICKS);
        Some(Duration::from_secs_f64(now).saturating_sub(begun))
    }

    /// Whether it still runs (a zombie does not).
    pub(crate) fn is_alive(self) -> bool {
        let Some(fields) = stat_fields(self.pid) else { return false };
        fields.get(19).and_then(|s| s.parse().ok()) == Some(self.start) && fields.first().is_some_and(|s| s != "Z")
    }

    /// Sends a signal, if it is still that process. Whether it was.
    pub(crate) fn signal(self, signal: Signal) -> bool {
        Self::of(self.pid) == Some(self) && Pid::from_raw(self.pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// This process and everything that it started, the deepest last.
    pub(crate) fn tree(self) -> Vec<Self> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for pid in all_pids() {
            if let Some(parent) = stat_fields(pid).and_then(|f| f.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut tree = vec![self];
        let mut at = 0;
        while at < tree.len() {
            let below = children.get(&tree[at].pid).into_iter().flatten();
            let below: Vec<_> = below.filter_map(|pid| Self::of(*pid)).filter(|p| !tree.contains(p)).collect();
            tree.extend(below);
            at += 1;
        }
        tree
    }
}

fn all_pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_its_start_time() {
        let own = Identity::own();
        assert!(own.is_alive());
        let earlier = Identity { start: own.start - 1, ..own };
        assert!(!earlier.is_alive());
        assert!(!earlier.signal(Signal::CONT), "a signal went to another process");
    }

    #[test]
    fn the_tree_of_the_first_process_holds_this_one() {
        let first = Identity::of(1).unwrap();
        assert!(first.tree().contains(&Identity::own()));
    }
}
