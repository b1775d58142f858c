//! The results of a campaign, as a table and as JSON.

use serde::Serialize;

use crate::phase::Phase;
use crate::record::{Cut, Region, Results, Verdict};

/// Results by phase and by region.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    phases: Vec<Row>,
    cuts: Row,
    regions: Vec<Row>,
    replays: Row,
    /// Updates, and those of them that came to the new version.
    updates: usize,
    updates_converged: usize,
    /// Cuts of updates in which the campaign was interrupted; they do not count.
    interrupted: usize,
}

/// A line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    /// Cuts, or replays.
    cuts: usize,
    /// Cuts that another one followed while the machine came up.
    double_cuts: usize,
    bricks: usize,
    wrong_images: usize,
    converged: usize,
}

impl Row {
    fn add(&mut self, verdict: Verdict, double: bool, converged: bool) {
        self.cuts += 1;
        self.double_cuts += usize::from(double);
        self.bricks += usize::from(verdict == Verdict::Brick);
        self.wrong_images += usize::from(verdict == Verdict::WrongImage);
        self.converged += usize::from(converged);
    }

    fn is_good(&self) -> bool {
        self.bricks == 0 && self.wrong_images == 0 && self.converged == self.cuts
    }
}

impl Summary {
    pub(crate) fn of(results: &Results) -> Self {
        let double = |cut: &&Cut| {
            let of_run: Vec<&Cut> = results.cuts.iter().filter(|c| c.run == cut.run).collect();
            let place = of_run.iter().position(|c| std::ptr::eq(*c, *cut));
            place.and_then(|n| of_run.get(n + 1)).is_some_and(|next| next.phase == Phase::Again)
        };
        let converged = |cut: &Cut| results.run_of(cut).is_some_and(|r| r.converged);
        let by_phase = |wanted: Option<Phase>, name: &str| {
            let mut row = Row { name: name.to_owned(), ..Row::default() };
            for cut in results.counted().filter(|c| wanted.is_none_or(|p| p == c.phase)) {
                row.add(cut.verdict, double(&cut), converged(cut));
            }
            row
        };
        let by_region = |wanted: Option<Region>, name: &str| {
            let mut row = Row { name: name.to_owned(), ..Row::default() };
            for replay in results.replays.iter().filter(|r| wanted.is_none_or(|w| w == r.region)) {
                row.add(replay.verdict, false, replay.converged);
            }
            row
        };
        Self {
            phases: Phase::ALL.iter().map(|p| by_phase(Some(*p), p.as_str())).collect(),
            cuts: by_phase(None, "all cuts"),
            regions: Region::ALL.iter().map(|r| by_region(Some(*r), r.as_str())).collect(),
            replays: by_region(None, "all replays"),
            updates: results.runs.len(),
            updates_converged: results.runs.iter().filter(|r| r.converged).count(),
            interrupted: results.cuts.len() - results.counted().count(),
        }
    }

    /// No brick, no wrong image, and everything came to the new version.
    pub(crate) fn is_good(&self) -> bool {
        self.cuts.is_good() && self.replays.is_good() && self.updates == self.updates_converged
    }

    /// Whether so much was done.
    pub(crate) fn reaches(&self, cuts: usize, replays: usize) -> bool {
        self.cuts.cuts >= cuts && self.replays.cuts >= replays
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = |f: &mut std::fmt::Formatter<'_>, name: &str, count: &str| {
            writeln!(
                f,
                "{name:<16} {count:>8} {:>12} {:>7} {:>13} {:>10}",
                "double cuts", "bricks", "wrong images", "converged"
            )
        };
        let line = |f: &mut std::fmt::Formatter<'_>, r: &Row| {
            let Row { name, cuts, double_cuts, bricks, wrong_images, converged } = r;
            writeln!(f, "{name:<16} {cuts:>8} {double_cuts:>12} {bricks:>7} {wrong_images:>13} {converged:>10}")
        };
        head(f, "phase", "cuts")?;
        self.phases.iter().chain([&self.cuts]).try_for_each(|row| line(f, row))?;
        if self.replays.cuts > 0 {
            writeln!(f)?;
            head(f, "region written", "replays")?;
            self.regions.iter().chain([&self.replays]).try_for_each(|row| line(f, row))?;
        }
        write!(f, "\nupdates: {}, converged: {}", self.updates, self.updates_converged)?;
        if self.interrupted > 0 {
            write!(f, "; {} cuts of interrupted updates do not count", self.interrupted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{cut, run};

    #[test]
    fn a_table_counts_what_came_to_an_end() {
        let cuts = vec![cut(1, Phase::Fetching), cut(1, Phase::Again), cut(1, Phase::Trying), cut(2, Phase::Ready)];
        let mut results = Results { cuts, runs: vec![run(1, 3, true)], ..Results::default() };
        let summary = Summary::of(&results);
        assert!(summary.is_good() && summary.reaches(3, 0) && !summary.reaches(4, 0) && !summary.reaches(3, 1));
        assert_eq!((summary.cuts.cuts, summary.cuts.double_cuts, summary.interrupted), (3, 1, 1));
        assert_eq!(summary.phases[0].double_cuts, 1, "fetching was followed by another cut");
        let text = summary.to_string();
        assert!(text.contains("all cuts") && text.contains("updates: 1, converged: 1"), "{text}");
        results.cuts[2].verdict = Verdict::Brick;
        assert!(!Summary::of(&results).is_good());
        results.cuts[2].verdict = Verdict::Fine;
        results.runs[0].converged = false;
        assert!(!Summary::of(&results).is_good());
    }
}
