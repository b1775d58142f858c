//! What was done, a line of JSON each, on the disk before anything else happens: a campaign that is interrupted goes on
//! where it was.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::phase::Phase;

/// Largest results file that is read, in bytes: some hundred thousand lines.
const MAX_LEN: u64 = 64 << 20;

/// How a cut or a replay was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It booted a whole image up to its agent.
    Fine,
    /// Something that the bootloader would start is not a whole image of the version that is to be there.
    WrongImage,
    /// No agent ran within the deadline.
    Brick,
}

/// One cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// Of which run.
    pub(crate) run: u64,
    /// Which machine.
    pub(crate) machine: String,
    /// To which version.
    pub(crate) version: String,
    /// The phase that it hit.
    pub(crate) phase: Phase,
    /// The phase that it was aimed at.
    pub(crate) aimed: Phase,
    /// What the update was at, by the console: of a double cut, too.
    pub(crate) within: Option<Phase>,
    /// How long after the phase's first sign it came, in milliseconds.
    pub(crate) delay_ms: u64,
    /// The bootloader's state on the disk then.
    pub(crate) boot: String,
    /// How it was judged.
    pub(crate) verdict: Verdict,
    /// Why, if not fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// From switching it on to its agent's first word; none if the next cut came before.
    pub(crate) boot_seconds: Option<f64>,
}

/// One update of one machine, with its cuts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its number in this file.
    pub(crate) run: u64,
    /// Which machine.
    pub(crate) machine: String,
    /// To which version.
    pub(crate) version: String,
    /// How many cuts it had.
    pub(crate) cuts: usize,
    /// Head office says confirmed, and the disk agrees.
    pub(crate) converged: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// From its assignment to its end.
    pub(crate) seconds: f64,
}

/// One replay of a recorded update: a cut with torn writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// Its number in this file.
    pub(crate) replay: u64,
    /// The machine that was recorded.
    pub(crate) machine: String,
    /// What was being written.
    pub(crate) region: Region,
    /// The entry of the log behind whose flush the power went.
    pub(crate) entry: u64,
    /// Bytes that had been written by then, of all that the log has.
    pub(crate) bytes: u64,
    /// All bytes of the log.
    pub(crate) of_bytes: u64,
    /// Later writes that are there as a whole, that are not, and of which some sectors are.
    pub(crate) kept: u64,
    /// See `kept`.
    pub(crate) dropped: u64,
    /// See `kept`.
    pub(crate) torn: u64,
    /// The bootloader's state on that disk.
    pub(crate) boot: String,
    /// How it was judged.
    pub(crate) verdict: Verdict,
    /// Whether the machine came to the new version by itself.
    pub(crate) converged: bool,
    /// Why not, or why the verdict is not fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// From switching it on to its agent's first word.
    pub(crate) boot_seconds: Option<f64>,
    /// In all: the disk made, judged, booted, converged.
    pub(crate) seconds: f64,
}

/// What was being written when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Region {
    /// The boot block's partition, or something right before or after.
    BootBlock,
    /// The last of the slot, and its sync.
    SlotEnd,
    /// The slot.
    Slot,
    /// The data partition only.
    Data,
}

impl Region {
    pub(crate) const ALL: [Self; 4] = [Self::BootBlock, Self::SlotEnd, Self::Slot, Self::Data];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BootBlock => "boot block",
            Self::SlotEnd => "slot's end",
            Self::Slot => "slot",
            Self::Data => "data",
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Line {
    /// A cut.
    Cut(Cut),
    /// A run's end.
    Run(Run),
    /// A replay.
    Replay(Replay),
}

/// Everything that was done so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Results {
    pub(crate) cuts: Vec<Cut>,
    pub(crate) runs: Vec<Run>,
    pub(crate) replays: Vec<Replay>,
}

impl Results {
    /// Reads a file; nothing was done if there is none. A last line without an end was cut off and never happened.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", path.display())),
        };
        let mut text = String::new();
        file.take(MAX_LEN + 1).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(text.len() as u64 <= MAX_LEN, "{} is larger than {MAX_LEN} bytes: begin another", path.display());
        let mut results = Self::default();
        for (number, line) in text.split_inclusive('\n').enumerate().filter(|(_, l)| l.ends_with('\n')) {
            let line = serde_json::from_str(line).with_context(|| {
                format!("line {} of {} is not a result: move the file away", number + 1, path.display())
            })?;
            results.add(line);
        }
        Ok(results)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Cut(cut) => self.cuts.push(cut),
            Line::Run(run) => self.runs.push(run),
            Line::Replay(replay) => self.replays.push(replay),
        }
    }

    /// The run that a cut belongs to; none if the campaign was interrupted in it.
    pub(crate) fn run_of(&self, cut: &Cut) -> Option<&Run> {
        self.runs.iter().find(|r| r.run == cut.run)
    }

    /// The cuts that count: those of runs that came to an end.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &Cut> {
        self.cuts.iter().filter(|c| self.run_of(c).is_some())
    }

    /// A number that no run has.
    pub(crate) fn next_run(&self) -> u64 {
        let used = self.cuts.iter().map(|c| c.run).chain(self.runs.iter().map(|r| r.run));
        used.max().unwrap_or(0) + 1
    }
}

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    pub(crate) results: Results,
}

impl Store {
    /// Opens or begins a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let results = Results::read(path)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let failed = || format!("cannot write {}", path.display());
        let file = File::options().create(true).append(true).open(path).with_context(failed)?;
        // What a crash left of a line is taken away, so that the next one begins by itself.
        let text = std::fs::read(path).with_context(failed)?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).with_context(failed)?;
        Ok(Self { path: path.to_owned(), file, results })
    }

    /// Adds a line, on the disk first.
    pub(crate) fn add(&mut self, line: Line) -> Result<()> {
        let text = serde_json::to_string(&line).context("cannot write a result as JSON")? + "\n";
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.results.add(line);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cut(run: u64, phase: Phase) -> Cut {
        Cut {
            run,
            machine: "branch-1/vm-1".into(),
            version: "2.0.1".into(),
            phase,
            aimed: phase,
            within: None,
            delay_ms: 5,
            boot: "default A".into(),
            verdict: Verdict::Fine,
            why: None,
            boot_seconds: Some(20.0),
        }
    }

    pub(crate) fn run(run: u64, cuts: usize, converged: bool) -> Run {
        let (machine, version) = ("branch-1/vm-1".to_owned(), "2.0.1".to_owned());
        Run { run, machine, version, cuts, converged, why: None, seconds: 100.0 }
    }

    #[test]
    fn what_was_done_is_there_again_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/seed-1.jsonl");
        let mut store = Store::open(&path).unwrap();
        store.add(Line::Cut(cut(1, Phase::Ready))).unwrap();
        store.add(Line::Run(run(1, 1, true))).unwrap();
        store.add(Line::Cut(cut(2, Phase::Trying))).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"{\"kind\":\"cu").unwrap();
        let mut again = Store::open(&path).unwrap();
        assert_eq!(again.results, store.results);
        assert_eq!(again.results.counted().count(), 1, "the second run was interrupted");
        assert_eq!(again.results.next_run(), 3);
        again.add(Line::Run(run(3, 0, true))).unwrap();
        assert_eq!(Results::read(&path).unwrap(), again.results);
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other");
        File::create(&path).unwrap().write_all(b"hello\n").unwrap();
        assert!(Store::open(&path).unwrap_err().to_string().contains("line 1"));
    }
}
