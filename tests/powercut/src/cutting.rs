//! One update of one machine, with the cuts that were planned for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use fleet_types::{Slot, TerminalRef, UpdateState, Version};
use lab::Lab;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::console::Console;
use crate::judge::{self, Expected};
use crate::phase::{Mark, Phase, Place};
use crate::record::{Cut, Line, Run, Store, Verdict};
use crate::say::say;

/// From switching a machine on to its agent's first word. Everything is emulated, on a machine with other work: a deadline
/// and no measure, as the next.
pub(crate) const BOOTS: Duration = Duration::from_secs(400);
/// From one phase of an update to the next, and from the last cut to head office's knowing of the end.
pub(crate) const GOES_ON: Duration = Duration::from_secs(900);

/// A machine, and the slot that it runs as far as the campaign knows.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: TerminalRef,
    pub(crate) slot: Slot,
    pub(crate) version: Version,
}

/// An update that is to be cut.
pub(crate) struct Update<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) store: &'a Mutex<Store>,
    /// Its number in the results.
    pub(crate) run: u64,
    pub(crate) seed: u64,
    pub(crate) machine: &'a Machine,
    /// The version that is assigned.
    pub(crate) version: &'a Version,
    pub(crate) plan: &'a [Phase],
}

/// What is known of an update on its way.
struct Course<'a> {
    update: &'a Update<'a>,
    expected: Expected,
    console: Console,
    place: Place,
    rng: StdRng,
    /// Cuts after which no agent has spoken yet.
    open: Vec<Cut>,
    /// When the machine was switched on, as long as no agent has spoken since.
    on_since: Option<Instant>,
    cuts: usize,
}

impl Update<'_> {
    /// Goes through it from its assignment on, `since` being where the console stood before; returns its end as it was
    /// recorded. What a machine does wrong is recorded and no error.
    pub(crate) async fn follow(&self, since: u64) -> Result<Run> {
        let (begun, machine) = (Instant::now(), self.machine);
        let mut course = Course {
            update: self,
            expected: Expected { old_slot: machine.slot, old: machine.version.clone(), new: self.version.clone() },
            console: Console::new(self.lab.console(&machine.name)?, since),
            place: Place::new(self.version.to_string()),
            rng: StdRng::seed_from_u64(self.seed ^ self.run.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            open: Vec::new(),
            on_since: None,
            cuts: 0,
        };
        let ended = course.go().await?;
        let run = Run {
            run: self.run,
            machine: machine.name.to_string(),
            version: self.version.to_string(),
            cuts: course.cuts,
            converged: ended.is_none(),
            why: ended,
            seconds: begun.elapsed().as_secs_f64(),
        };
        let how = run.why.as_ref().map_or_else(|| "confirmed".to_owned(), |why| format!("NOT CONVERGED: {why}"));
        say(format_args!("{}: {} with {} cuts, {:.0} s: {how}", machine.name, self.version, run.cuts, run.seconds));
        self.record(Line::Run(run.clone()))?;
        Ok(run)
    }

    fn record(&self, line: Line) -> Result<()> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).add(line)
    }
}

/// Why a wait for a phase ended without it.
enum Instead {
    /// No agent spoke.
    NoAgent,
    /// The update is at a bad end, or nothing happened for long.
    Nothing,
}

impl Course<'_> {
    /// The cuts, and the end; why it did not converge.
    async fn go(&mut self) -> Result<Option<String>> {
        for aimed in self.update.plan {
            if *aimed != Phase::Again {
                match self.reach(*aimed).await? {
                    Ok(()) => {}
                    Err(Instead::NoAgent) => return self.brick().await.map(Some),
                    Err(Instead::Nothing) => break,
                }
            }
            self.cut(*aimed).await?;
        }
        if self.on_since.is_some() && !self.comes_up().await? {
            return self.brick().await.map(Some);
        }
        self.end().await
    }

    /// Waits for a phase, or for a later one if that was passed.
    async fn reach(&mut self, aimed: Phase) -> Result<Result<(), Instead>> {
        let reached = |place: &Place, _: Option<&Mark>| {
            let over = place.state().is_some_and(|s| s.is_end() && s != UpdateState::Confirmed);
            place.phase().map(|p| p >= aimed).filter(|there| *there).or(over.then_some(false))
        };
        let lab = self.update.lab;
        // While it boots, what comes first counts: the phase may be that of the boot itself.
        if self.on_since.is_some() {
            let runs = |place: &Place, mark: Option<&Mark>| {
                // What the console said before the cut tells nothing of this boot.
                mark?;
                reached(place, mark).or((mark == Some(&Mark::Running)).then_some(true))
            };
            if self.console.listen(lab, &mut self.place, BOOTS, runs).await?.is_none() {
                return Ok(Err(Instead::NoAgent));
            }
            if self.place.phase() != Some(Phase::BootAttempt) {
                self.came_up()?;
            }
        }
        Ok(match self.console.listen(lab, &mut self.place, GOES_ON, reached).await? {
            Some(true) => Ok(()),
            Some(false) | None => Err(Instead::Nothing),
        })
    }

    /// Cuts the power at a random moment of what is going on, judges the disk, and switches the machine on again.
    async fn cut(&mut self, aimed: Phase) -> Result<()> {
        let (lab, name) = (self.update.lab, &self.update.machine.name);
        let delay_ms = self.rng.random_range(0..aimed.typical_ms());
        // Not in the hope that something is done by then: a cut at an instant that nothing in the machine chose is
        // what this is about.
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        lab.power_cut(name).await?;
        let mut before = self.place.clone();
        self.console.catch_up(&mut before)?;
        self.place = before;
        let within = self.place.phase();
        let found = judge::disk(lab, name, &self.expected).await?;
        // While the old slot boots it is as if it were cut again.
        let phase = if aimed == Phase::Again { aimed } else { within.unwrap_or(Phase::Again) };
        let verdict = if found.wrong.is_some() { Verdict::WrongImage } else { Verdict::Fine };
        let aim = if phase == aimed { String::new() } else { format!(" (aimed at {aimed})") };
        say(format_args!("{name}: cut in {phase}{aim} after {delay_ms} ms: {}{}", found.boot, shout(&found.wrong)));
        self.cuts += 1;
        self.open.push(Cut {
            run: self.update.run,
            machine: name.to_string(),
            version: self.update.version.to_string(),
            phase,
            aimed,
            within,
            delay_ms,
            boot: found.boot,
            verdict,
            why: found.wrong,
            boot_seconds: None,
        });
        self.on_since = Some(Instant::now());
        lab.power_on(name)?;
        Ok(())
    }

    /// Waits for the agent after a cut; whether it spoke.
    async fn comes_up(&mut self) -> Result<bool> {
        let up = self.console.agent_runs(self.update.lab, &mut self.place, BOOTS).await?;
        if up {
            self.came_up()?;
        }
        Ok(up)
    }

    /// The agent spoke: the cuts before are judged.
    fn came_up(&mut self) -> Result<()> {
        let seconds = self.on_since.take().map(|since| since.elapsed().as_secs_f64());
        let last = self.open.len().saturating_sub(1);
        for (number, mut cut) in self.open.drain(..).enumerate() {
            // The others were cut again before an agent could speak.
            cut.boot_seconds = seconds.filter(|_| number == last);
            self.update.record(Line::Cut(cut))?;
        }
        Ok(())
    }

    /// No agent spoke after the last cut.
    async fn brick(&mut self) -> Result<String> {
        let (lab, name) = (self.update.lab, &self.update.machine.name);
        let tail = lab.console_tail(name, 25)?;
        let (disk, console) = (lab.vm_disk(name)?, lab.console(name)?);
        let why = format!(
            "no agent spoke within {} s; disk {}, console {}, which ends:\n{tail}",
            BOOTS.as_secs(),
            disk.display(),
            console.display()
        );
        say(format_args!("{name}: BRICK: {why}"));
        // As it is: whoever looks wants it off, and nothing of it changed.
        lab.power_cut(name).await?;
        if let Some(cut) = self.open.last_mut() {
            (cut.verdict, cut.why) = (Verdict::Brick, Some(why.clone()));
        }
        for cut in self.open.drain(..) {
            self.update.record(Line::Cut(cut))?;
        }
        Ok(why)
    }

    /// Waits until head office knows the end; why it is not the right one.
    async fn end(&mut self) -> Result<Option<String>> {
        let Update { lab, machine, version, .. } = self.update;
        let over = |t: &wire::v1::fleet::Terminal| {
            let ended = |state| matches!(state, UpdateState::Confirmed | UpdateState::RolledBack);
            t.update.as_ref().is_some_and(|u| u.version == **version && ended(u.state))
        };
        let target = machine.slot.other();
        match lab.wait_terminal(&machine.name, &format!("{version} to end"), GOES_ON, over).await {
            Err(e @ lab::LabError::Deadline { .. }) => Ok(Some(e.to_string())),
            Err(e) => Err(e.into()),
            Ok(told) if told.update.as_ref().is_some_and(|u| u.state == UpdateState::Confirmed) => {
                let found = judge::disk(lab, &machine.name, &self.expected).await?;
                let slot = lab.vm_boots(&machine.name)?.into_iter().rfind(|b| b.started).map(|b| b.slot);
                let right = found.is_settled(target) && slot == Some(target) && told.slot == Some(target);
                Ok((!right).then(|| {
                    let wrong = shout(&found.wrong);
                    format!(
                        "head office says confirmed, slot {slot:?} was booted last, and the disk: {}{wrong}",
                        found.boot
                    )
                }))
            }
            Ok(told) => Ok(Some(format!("head office says {:?}", told.update))),
        }
    }
}

/// What is wrong, if something is.
pub(crate) fn shout(wrong: &Option<String>) -> String {
    wrong.as_ref().map(|why| format!("; WRONG IMAGE: {why}")).unwrap_or_default()
}
