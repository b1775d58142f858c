//! Waiting by condition, with a deadline, and a full account when it passes.

use std::time::{Duration, Instant};

use fleet_types::TerminalRef;
use tokio::time::MissedTickBehavior;
use wire::v1::fleet::Terminal;

use crate::error::LabError;
use crate::lab::Lab;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(200);

impl Lab {
    /// Waits until `check` gives a value. It gives none while the condition does not hold, and an error while it
    /// cannot be told, which is no reason to stop waiting. A part that ended unexpectedly is one.
    ///
    /// # Errors
    /// The deadline passed, a part ended, or a terminal does not boot any more; with the last state of every part.
    pub async fn wait<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut check: impl AsyncFnMut() -> Result<Option<T>, LabError>,
    ) -> Result<T, LabError> {
        let begun = Instant::now();
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.processes.check()?;
            if let Some(why) = self.terminals.values().find_map(|t| t.trouble()) {
                return Err(LabError::Hopeless { what: what.to_owned(), why, state: self.describe().await });
            }
            let last = match check().await {
                Ok(Some(value)) => return Ok(value),
                Err(e @ LabError::Hopeless { .. }) => return Err(e),
                Ok(None) => None,
                Err(e) => Some(e),
            };
            if begun.elapsed() > deadline {
                let mut state = self.describe().await;
                if let Some(e) = last {
                    state = format!("last answer: {e}\n{state}");
                }
                return Err(LabError::Deadline { what: what.to_owned(), waited: begun.elapsed(), state });
            }
        }
    }

    /// Waits until `condition` holds for every terminal at once, virtual machines among them, as head office sees them; returns them.
    ///
    /// # Errors
    /// As [`Lab::wait`].
    pub async fn wait_terminals(
        &self,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&Terminal) -> bool,
    ) -> Result<Vec<Terminal>, LabError> {
        self.wait(what, deadline, async || {
            let terminals = self.api.terminals().await?;
            let all = terminals.len() == self.terminals.len() + self.vms.len() && terminals.iter().all(&condition);
            Ok(all.then_some(terminals))
        })
        .await
    }

    /// Waits until `condition` holds for one terminal, as head office sees it; returns it.
    ///
    /// # Errors
    /// As [`Lab::wait`].
    pub async fn wait_terminal(
        &self,
        terminal: &TerminalRef,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&Terminal) -> bool,
    ) -> Result<Terminal, LabError> {
        self.wait(&format!("{terminal}: {what}"), deadline, async || {
            Ok(Some(self.api.terminal(terminal).await?).filter(&condition))
        })
        .await
    }

    /// The last state of every part and its log, and of branches and terminals if head office can say it.
    pub async fn describe(&self) -> String {
        let mut text = format!("parts:\n{}\n", self.processes.describe());
        match self.api.status().await {
            Err(e) => text += &format!("head office does not say how things stand: {e}\n"),
            Ok(status) => {
                for r in &status.releases {
                    let version = r.version.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
                    text += &format!("  release {version}: {} {}\n", r.state, r.why());
                }
                for b in &status.branches {
                    let artifacts: Vec<String> = b.artifacts.iter().map(artifact_line).collect();
                    let serial = b.plan_serial.map_or_else(|| "none".to_owned(), |s| s.to_string());
                    text += &format!("  branch {}: plan {serial}, {}\n", b.name, artifacts.join("; "));
                }
                status.terminals.iter().for_each(|t| text += &format!("  {}\n", terminal_line(t)));
            }
        }
        for terminal in self.terminals.values() {
            for boot in terminal.boots() {
                text += &format!("  {} {boot}\n", terminal.name());
            }
        }
        self.vms.values().for_each(|vm| text += &vm.describe());
        text
    }
}

fn artifact_line(a: &wire::v1::fleet::BranchArtifact) -> String {
    let trouble = a.trouble.as_ref().map(|t| format!(" ({})", t.sentence())).unwrap_or_default();
    format!("{} {} of {} bytes{trouble}", a.version, a.have_bytes, a.length)
}

/// A terminal in one line.
pub(crate) fn terminal_line(t: &Terminal) -> String {
    let slot = t.slot.map_or("?", |s| s.as_str());
    let version = t.version.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let update = t.update.as_ref().map(|u| {
        let reason = u.reason.as_ref().map(|r| format!(": {} ({})", r.text, r.code)).unwrap_or_default();
        format!(", {} {} {}/{}{reason}", u.version, u.state, u.segments_done, u.segments_total)
    });
    format!("{}/{} slot {slot} {version}{}", t.branch, t.name, update.unwrap_or_default())
}
