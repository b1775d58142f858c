//! The peak memory of each of our programs, over all of its starts: the kernel forgets it when a process ends.

use std::collections::BTreeMap;

use lab::{Lab, Part, Role};

/// Most that head office may take: it encodes at level 9.
const HEAD_OFFICE: u64 = 100 << 20;
/// Most that an agent may take.
const AGENT: u64 = 64 << 20;

/// The highest seen so far, in bytes, by part.
#[derive(Debug, Default)]
pub(super) struct Peaks(BTreeMap<Part, u64>);

impl Peaks {
    /// Looks at every program that runs.
    pub(super) fn look(&mut self, lab: &Lab) {
        for part in lab.parts().into_iter().filter(|p| p.role == Role::Program) {
            if let Some(bytes) = lab.pid(&part).ok().and_then(peak) {
                let highest = self.0.entry(part).or_default();
                *highest = bytes.max(*highest);
            }
        }
    }

    /// The highest of each program, in bytes.
    pub(super) fn by_program(&self) -> BTreeMap<&'static str, u64> {
        let mut programs = BTreeMap::new();
        for (part, bytes) in &self.0 {
            let highest: &mut u64 = programs.entry(part.program_name()).or_default();
            *highest = (*bytes).max(*highest);
        }
        programs
    }

    /// What took more than it may.
    pub(super) fn problems(&self) -> Vec<String> {
        let over = |(part, bytes): (&Part, &u64)| {
            let most = match part.program_name() {
                "head-office" => HEAD_OFFICE,
                "terminal-agent" => AGENT,
                _ => return None,
            };
            (*bytes > most)
                .then(|| format!("{part} took {} MiB of memory, at most {} are allowed", bytes >> 20, most >> 20))
        };
        self.0.iter().filter_map(over).collect()
    }
}

/// `VmHWM` of a process, in bytes. A part that is just being started is still a shell or `ip`.
fn peak(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
