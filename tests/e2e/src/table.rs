//! The kill matrix: which process is killed in which phase, by rows of one rollout each, and the record of it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::json;

use crate::phases::Phase;

/// Every process of a lab of one branch with one terminal, by the lab's names.
pub const PROCESSES: [&str; 11] = [
    "head-office",
    "head-office:postgres",
    "head-office:transmission",
    "head-office:opentracker",
    "branch-1",
    "branch-1:postgres",
    "branch-1:transmission",
    "branch-1:opentracker",
    "branch-1/till-1",
    "branch-1/till-1:transmission",
    "branch-1/till-1:helper",
];

/// How many rows there are: as many as processes, so that each process is in each phase once.
pub const ROWS: usize = PROCESSES.len();

/// The order of everything that is chosen by chance. The same for every test of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// `FILIAL_KILL_SEED` if that is set, else out of the id that the test runner gives to a run.
    ///
    /// # Errors
    /// It is no number.
    #[expect(clippy::disallowed_methods, reason = "a test has no other settings than its environment")]
    pub fn of_this_run() -> anyhow::Result<Self> {
        if let Ok(text) = std::env::var("FILIAL_KILL_SEED") {
            return text.parse().map(Self).with_context(|| format!("FILIAL_KILL_SEED={text:?} is not a number"));
        }
        let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_default();
        Ok(Self(run.bytes().fold(0, |hash: u64, b| (hash * 131 + u64::from(b)) % 1_000_000)))
    }

    /// The numbers below `n` in an order of their own.
    fn shuffled(self, n: usize) -> Vec<usize> {
        // SplitMix64, by S. Vigna: a few lines that give the same on every machine.
        let mut state = self.0;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut numbers: Vec<usize> = (0..n).collect();
        for at in (1..n).rev() {
            numbers.swap(at, (next() % (at as u64 + 1)) as usize);
        }
        numbers
    }

    /// Which process a row kills in each phase. Over all rows every process is killed in every phase.
    pub fn row(self, row: usize) -> Vec<(Phase, &'static str)> {
        let order = self.shuffled(ROWS);
        Phase::ALL.iter().zip(0..).map(|(phase, at)| (*phase, PROCESSES[order[(row + at) % ROWS]])).collect()
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FILIAL_KILL_SEED={}", self.0)
    }
}

/// One run of the matrix.
#[derive(Debug, Clone)]
pub struct Cell {
    /// In which phase.
    pub phase: Phase,
    /// Which process.
    pub process: &'static str,
    /// What showed that the phase was hit.
    pub evidence: String,
}

/// What a row found at its end.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Received over the WAN, as a multiple of the artifact.
    pub wan_ratio: f64,
    /// How often the promise of publishing could be judged.
    pub judged: usize,
}

/// Writes a row's record to `target/kill-matrix/`, where `tests/checks/kill_matrix.py` gathers them.
///
/// # Errors
/// It cannot be written.
pub fn record(seed: Seed, row: usize, cells: &[Cell], outcome: Option<&Outcome>) -> anyhow::Result<()> {
    let folder = lab::source_root().join("target/kill-matrix");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let cells: Vec<_> = cells
        .iter()
        .map(|c| {
            let landed = !c.evidence.is_empty();
            json!({
                "phase": c.phase.name(), "process": c.process, "evidence": c.evidence,
                "landed": landed, "converged": outcome.is_some(),
            })
        })
        .collect();
    let mut whole = BTreeMap::from([("seed", json!(seed.0)), ("row", json!(row)), ("cells", json!(cells))]);
    if let Some(outcome) = outcome {
        whole.insert("wan_ratio", json!(outcome.wan_ratio));
        whole.insert("promise_judged", json!(outcome.judged));
    }
    let path = folder.join(format!("row-{row}.json"));
    let text = serde_json::to_vec_pretty(&whole)?;
    std::io::Write::write_all(&mut std::fs::File::create(&path)?, &text)
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_rows_hold_every_process_in_every_phase_once() {
        for seed in [0, 1, 77, u64::MAX] {
            let cells: Vec<_> = (0..ROWS).flat_map(|row| Seed(seed).row(row)).collect();
            let all: BTreeSet<_> = cells.iter().collect();
            assert_eq!((cells.len(), all.len()), (154, 154), "seed {seed}");
        }
        assert_ne!(Seed(1).row(0), Seed(2).row(0));
    }
}
