//! A machine's console, followed closely: some phases last a tenth of a second.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lab::Lab;
use tokio::time::MissedTickBehavior;

use crate::phase::{Mark, Place, mark};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Longest line that is kept, in bytes; what is longer counts as several.
const MAX_LINE: usize = 16 << 10;

/// The whole lines of a console, each once.
#[derive(Debug)]
pub(crate) struct Console {
    path: PathBuf,
    at: u64,
    rest: Vec<u8>,
}

impl Console {
    /// From a position on.
    pub(crate) fn new(path: PathBuf, at: u64) -> Self {
        Self { path, at, rest: Vec::new() }
    }

    fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        file.seek(SeekFrom::Start(self.at))?;
        self.at += file.read_to_end(&mut self.rest)? as u64;
        let whole = self.rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let whole = if self.rest.len() - whole > MAX_LINE { self.rest.len() } else { whole };
        let done: Vec<u8> = self.rest.drain(..whole).collect();
        Ok(String::from_utf8_lossy(&done).lines().map(str::to_owned).collect())
    }

    /// What was said since the last time, of what counts here.
    pub(crate) fn marks(&mut self) -> Result<Vec<Mark>> {
        let lines = self.lines().with_context(|| format!("cannot read the console {}", self.path.display()))?;
        Ok(lines.iter().filter_map(|line| mark(line)).collect())
    }

    /// Listens until `enough` says so, of the place that `place` keeps and of each mark that moved it; or the time is
    /// over, which is `None`.
    pub(crate) async fn listen<T>(
        &mut self,
        lab: &Lab,
        place: &mut Place,
        time: Duration,
        mut enough: impl FnMut(&Place, Option<&Mark>) -> Option<T>,
    ) -> Result<Option<T>> {
        let begun = Instant::now();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if let Some(found) = enough(place, None) {
            return Ok(Some(found));
        }
        loop {
            tick.tick().await;
            lab.check_parts()?;
            for mark in self.marks()? {
                place.hear(&mark);
                if let Some(found) = enough(place, Some(&mark)) {
                    return Ok(Some(found));
                }
            }
            if begun.elapsed() > time {
                return Ok(None);
            }
        }
    }

    /// Waits for the agent's first word after the machine was switched on; whether it came within the time.
    pub(crate) async fn agent_runs(&mut self, lab: &Lab, place: &mut Place, time: Duration) -> Result<bool> {
        let runs = |_: &Place, mark: Option<&Mark>| (mark == Some(&Mark::Running)).then_some(());
        Ok(self.listen(lab, place, time, runs).await?.is_some())
    }

    /// Takes up what was said until a cut.
    pub(crate) fn catch_up(&mut self, place: &mut Place) -> Result<()> {
        // Half a line that the power cut off is none.
        for mark in self.marks()? {
            place.hear(&mark);
        }
        self.rest.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let mut console = Console::new(path.clone(), 0);
        assert_eq!(console.marks().unwrap(), []);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"filial: starting slot A\r\nterminal-agent: runn").unwrap();
        assert_eq!(console.marks().unwrap().len(), 1);
        assert_eq!(console.marks().unwrap(), []);
        file.write_all(b"ing slot=A\n").unwrap();
        assert_eq!(console.marks().unwrap(), [Mark::Running]);
        file.write_all(b"running slot=").unwrap();
        console.catch_up(&mut Place::new("1".into())).unwrap();
        file.write_all(b"\nrunning slot=B\n").unwrap();
        assert_eq!(console.marks().unwrap(), [Mark::Running], "what was cut off is no line");
    }
}
