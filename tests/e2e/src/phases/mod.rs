//! Hits one phase of a release exactly. The part that drives the phase is frozen and its durable state is read; if that is
//! the wanted phase, the caller strikes. Otherwise the part runs for a few milliseconds and is frozen again. Short phases
//! are held open by the part's surroundings: a stopped tracker, a stopped daemon, a locked database row.

mod director;
mod looks;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use lab::{Part, PartState};

use director::{COMES_UP, Look};

pub use crate::phase::Phase;
pub use director::Director;

/// How long a phase may take to come: a deadline, never a measure.
const COMES: Duration = Duration::from_secs(400);
/// How much a part may compute between two looks when the phase is near. By the clock a part on a busy machine may not
/// have run at all, or for long.
const STEP: Duration = Duration::from_micros(1500);
/// How long a part goes on between two looks: at most when the phase is near, else in any case.
const LONGEST_STEP: Duration = Duration::from_millis(20);
const STRIDE: Duration = Duration::from_millis(40);

impl Director<'_> {
    /// What drives a phase.
    pub fn driver(&self, phase: Phase) -> Part {
        if phase < Phase::Fetching { Part::head_office() } else { Part::agent(&self.terminal) }
    }

    /// Sets what holds the phase open. Before the phase before it is left.
    ///
    /// # Errors
    /// The gate cannot be started.
    pub async fn arrange(&mut self, phase: Phase) -> anyhow::Result<()> {
        let wanted = phase.gate(&self.terminal);
        if self.gate != wanted {
            self.close()?;
        }
        if let Some(gate) = wanted {
            // Before it listens, callers are refused at once and go on; only afterwards do they wait for its answer.
            if phase == Phase::Activating && self.lab.state(&gate)? == PartState::Killed {
                self.lab.start_part(&gate)?;
                let api = self.lab.branch_api(&self.terminal.branch)?;
                let up = async || Ok(api.get_bytes("/readyz").await.ok());
                self.lab.wait("the branch server to answer", COMES_UP, up).await?;
            }
            self.lab.start_paused(&gate)?;
            self.gate = Some(gate);
        }
        Ok(())
    }

    /// What stood still for a phase goes on, or is started if it was killed.
    fn close(&mut self) -> anyhow::Result<()> {
        let Some(gate) = self.gate.take() else { return Ok(()) };
        match self.lab.state(&gate)? {
            PartState::Stopped => self.lab.resume(&gate)?,
            _ => self.lab.start_part(&gate)?,
        }
        Ok(())
    }

    /// Steps what drives the phase until its durable state says that it is there; it stands still then. What proves it.
    ///
    /// # Errors
    /// The phase passed unseen or does not come in time, or a part ended by itself.
    pub async fn catch(&mut self, phase: Phase) -> anyhow::Result<String> {
        let (driver, begun) = (self.driver(phase), Instant::now());
        loop {
            self.lab.check_parts()?;
            let mut near = false;
            if begun.elapsed() > COMES {
                let trouble = self.trouble.take().unwrap_or_default();
                bail!("{phase} did not come in {:.0?} {trouble}\n{}", begun.elapsed(), self.lab.describe().await);
            }
            // Not running: the machine restarts, or the service manager brings it back.
            if self.lab.freeze(&driver).await.is_ok() {
                match self.look(phase).await.with_context(|| format!("look for {phase}"))? {
                    Look::Here(evidence) => return Ok(evidence),
                    Look::Near => near = true,
                    Look::Far => {}
                }
                if near {
                    self.lab.run_for(&driver, STEP, LONGEST_STEP).await.ok();
                    continue;
                }
                self.lab.thaw(&driver).ok();
            }
            tokio::time::sleep(STRIDE).await;
        }
    }

    /// Kills the victim while the driver stands still. Nothing goes on before [`Director::go_on`].
    ///
    /// # Errors
    /// The part does not exist.
    pub async fn strike(&mut self, phase: Phase, victim: &Part) -> anyhow::Result<()> {
        let frozen = self.lab.state(&self.driver(phase))?;
        ensure!(frozen == PartState::Running, "{} is {frozen} before the strike", self.driver(phase));
        Ok(self.lab.kill(victim).await?)
    }

    /// Everything around goes on, and head office stays as it is: so that what it left can be judged.
    ///
    /// # Errors
    /// The gate does not run.
    pub fn open(&mut self) -> anyhow::Result<()> {
        self.held = None;
        self.open_gate()
    }

    /// Everything goes on: the gate for `next` is set, what was killed is started as its service manager would.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn go_on(&mut self, phase: Phase, victim: &Part, next: Option<Phase>) -> anyhow::Result<()> {
        self.held = None;
        match next {
            Some(next) => self.arrange(next).await?,
            None => self.close()?,
        }
        if self.lab.state(victim)? == PartState::Killed {
            self.lab.start_part(victim)?;
        }
        let driver = self.driver(phase);
        // The agent's phases are short: it goes on step by step, since free for a moment it might be through the next.
        let steps_on = phase >= Phase::Fetching && next.is_some();
        if *victim != driver && !steps_on {
            self.lab.thaw(&driver)?;
        }
        Ok(())
    }
}
