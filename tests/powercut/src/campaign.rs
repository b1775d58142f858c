//! The whole campaign: a lab, its machines, rounds of updates with cuts, and replays of recorded ones.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fleet_types::{Slot, TerminalRef, Version};
use futures_util::future::{join_all, try_join_all};
use lab::{Happening, Lab, LabOptions, Rate, ReleaseSpec, VmOptions, debian_image, image_version};

use crate::cutting::{Machine, Update};
use crate::images::{self, Pattern};
use crate::phase::Phase;
use crate::plan;
use crate::record::{Results, Store};
use crate::replays::Recorded;
use crate::say::say;

/// Long enough for a release to be packed, uploaded, checked and encoded.
const PUBLISHED: Duration = Duration::from_secs(400);
/// Of a machine's own trial timer, longer than the agent's: cut boots and a busy host must not end a good trial.
const TRIAL_TIMER: u32 = 500;
/// As many as the bootloader counts: a trial must not be used up by cuts, which are not its fault.
const TRIAL_ATTEMPTS: u8 = 9;
/// Quick to look, patient to judge. Artifacts of confirmed updates go soon, or the data partition fills over the rounds.
const AGENT: &str = "[timing]
poll_seconds = 2.0
event_spread_seconds = 0.1
engine_poll_seconds = 0.5
health_poll_seconds = 1.0
progress_seconds = 1.0
retry_min_seconds = 0.5
retry_max_seconds = 3.0
request_seconds = 15.0
branch_wait_seconds = 300.0
trial_deadline_seconds = 400.0

[retry]
wait_seconds = 5.0

[retention]
hours = 0.01
";

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) cuts: usize,
    pub(crate) replays: usize,
    pub(crate) seed: u64,
    pub(crate) machines: usize,
    pub(crate) results: PathBuf,
}

/// A campaign on its way.
struct Campaign<'a> {
    wanted: &'a Wanted,
    lab: &'a Lab,
    store: &'a Mutex<Store>,
    pattern: &'a Pattern,
    machines: Vec<Machine>,
    /// How many releases were brought out.
    releases: usize,
}

/// Does what is not done yet; returns all that was done. It ends early when a machine does something wrong.
pub(crate) async fn run(wanted: &Wanted) -> Result<Results> {
    let store = Mutex::new(Store::open(&wanted.results)?);
    let results = || store.lock().unwrap_or_else(PoisonError::into_inner).results.clone();
    let missing = missing_replays(&results(), wanted.replays);
    if results().counted().count() >= wanted.cuts && missing.is_empty() {
        say("every cut and replay is already done");
        return Ok(results());
    }
    let image = debian_image("vm-v2")?;
    let pattern = tokio::task::spawn_blocking(move || Pattern::new(image)).await.context("look for the version")??;
    let lab = Lab::start(options(wanted, !missing.is_empty())?).await?;
    let version = image_version(&lab.options().vm.image)?;
    let machine = |name: TerminalRef| Machine { name, slot: Slot::A, version: version.clone() };
    let machines = lab.vms().into_iter().map(machine).collect();
    let mut campaign = Campaign { wanted, lab: &lab, store: &store, pattern: &pattern, machines, releases: 0 };
    if campaign.go(&missing).await? {
        lab.stop().await?;
    } else {
        let folder = lab.folder().display().to_string();
        say(format_args!("ended early; disks and logs stay in {folder} until the next campaign"));
    }
    Ok(results())
}

fn options(wanted: &Wanted, record: bool) -> Result<LabOptions> {
    let vm = VmOptions {
        agent: AGENT.to_owned(),
        trial_attempts: TRIAL_ATTEMPTS,
        trial_timer_seconds: Some(TRIAL_TIMER),
        record_writes: record,
        ..VmOptions::new()?
    };
    let options = LabOptions::new("powercut", vm.image.clone())?.sized(1, 0).with_wan(Rate::mbit(400));
    let listener = std::sync::Arc::new(|happening: Happening| match happening {
        Happening::Begins(_) => {}
        Happening::Done(what, took) => say(format_args!("{what} ({:.0} s)", took.as_secs_f64())),
        Happening::Boot(what) => say(what),
    });
    Ok(LabOptions { vms: wanted.machines, vm, encode_level: 1, listener: Some(listener), ..options })
}

/// The numbers of the replays that are not done yet.
fn missing_replays(results: &Results, wanted: usize) -> Vec<u64> {
    (0..wanted as u64).filter(|n| results.replays.iter().all(|r| r.replay != *n)).collect()
}

impl Campaign<'_> {
    fn results(&self) -> Results {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).results.clone()
    }

    /// Replays first, while the machines still have their first update before them; then cuts. False if something went
    /// wrong.
    async fn go(&mut self, replays: &[u64]) -> Result<bool> {
        let mut version = self.bring_out().await?;
        if !replays.is_empty() {
            let before = self.machines.clone();
            let logs: Vec<u64> = before.iter().map(|m| self.log_length(&m.name)).collect::<Result<_>>()?;
            let none = vec![Vec::new(); before.len()];
            let next = self.round(&version, &none, true).await?;
            let Some(next) = next else { return Ok(false) };
            if !self.replay(replays, before, &version, &logs).await? {
                return Ok(false);
            }
            version = next;
        }
        loop {
            let hit: Vec<Phase> = self.results().counted().map(|c| c.phase).collect();
            if hit.len() >= self.wanted.cuts {
                return Ok(true);
            }
            let plans = plan::next(self.wanted.seed, self.wanted.cuts, &hit, self.machines.len());
            let planned: usize = plans.iter().map(Vec::len).sum();
            let more = hit.len() + planned < self.wanted.cuts;
            say(format_args!("{} of {} cuts are done; {version}: {}", hit.len(), self.wanted.cuts, shown(&plans)));
            match self.round(&version, &plans, more).await? {
                Some(next) => version = next,
                None => return Ok(false),
            }
        }
    }

    /// One update of every machine. The next release is brought out meanwhile, if one is needed for sure; otherwise
    /// afterwards, when one is. `None` if a machine did not come to the new version.
    async fn round(&mut self, version: &Version, plans: &[Vec<Phase>], more: bool) -> Result<Option<Version>> {
        let (lab, first) = (self.lab, self.results().next_run());
        let branch = &self.machines.first().context("a machine")?.name.branch;
        let since: Vec<u64> = self.machines.iter().map(|m| lab.console_length(&m.name)).collect::<Result<_, _>>()?;
        lab.assign_of(&lab.options().vm.product, branch, version).await?;
        let update = |(number, machine): (usize, &Machine)| {
            let (plan, since) = (plans[number].clone(), since[number]);
            let (run, store, seed, machine) = (first + number as u64, self.store, self.wanted.seed, machine.clone());
            async move {
                let update = Update { lab, store, run, seed, machine: &machine, version, plan: &plan };
                Box::pin(update.follow(since)).await
            }
        };
        let updates = join_all(self.machines.iter().enumerate().map(update));
        let next = async { if more { Some(self.bring_out_as(self.releases + 1).await).transpose() } else { Ok(None) } };
        let (ended, next) = futures_util::join!(updates, next);
        let (ended, next) = (ended.into_iter().collect::<Result<Vec<_>>>()?, next?);
        self.releases += usize::from(next.is_some());
        if ended.iter().any(|run| !run.converged) {
            return Ok(None);
        }
        for machine in &mut self.machines {
            (machine.slot, machine.version) = (machine.slot.other(), version.clone());
        }
        let reached = self.results().counted().count() >= self.wanted.cuts;
        match next {
            None if !reached => self.bring_out().await.map(Some),
            // The campaign is at its end, and this version is never assigned again.
            None => Ok(Some(version.clone())),
            next => Ok(next),
        }
    }

    /// Replays of the update that every machine has just been through, at the same time.
    async fn replay(&self, numbers: &[u64], before: Vec<Machine>, version: &Version, logs: &[u64]) -> Result<bool> {
        let (lab, count) = (self.lab, before.len());
        let replays = before.into_iter().zip(logs).enumerate().map(|(place, (machine, since))| {
            let own: Vec<u64> = numbers.iter().copied().skip(place).step_by(count).collect();
            let (base, version) = (lab.options().vm.disk.clone(), version.clone());
            let (store, seed) = (self.store, self.wanted.seed);
            let recorded = Recorded { lab, store, seed, machine, version, base, since: *since };
            async move { Box::pin(recorded.replay(&own)).await }
        });
        Ok(try_join_all(replays).await?.into_iter().all(|good| good))
    }

    fn log_length(&self, machine: &TerminalRef) -> Result<u64> {
        let log = self.lab.vm_write_log(machine)?;
        Ok(log.metadata().with_context(|| format!("cannot look at {}", log.display()))?.len())
    }

    /// Brings the next release out.
    async fn bring_out(&mut self) -> Result<Version> {
        self.releases += 1;
        self.bring_out_as(self.releases).await
    }

    async fn bring_out_as(&self, number: usize) -> Result<Version> {
        let begun = Instant::now();
        let version = images::version(number)?;
        let folder = self.lab.folder().join("images");
        let (pattern, wanted) = (self.pattern, version.clone());
        let image = tokio::task::block_in_place(|| pattern.make(&wanted, &folder))?;
        let spec = ReleaseSpec::new(&version.to_string(), &image)?.of(&self.lab.options().vm.product);
        self.lab.publish(&spec, PUBLISHED).await?;
        // Head office has it. What it was made of takes a third of a gigabyte.
        for bulk in [folder, self.lab.folder().join("releases")] {
            std::fs::remove_dir_all(&bulk).with_context(|| format!("cannot remove {}", bulk.display()))?;
        }
        say(format_args!("{version} is published ({:.0} s)", begun.elapsed().as_secs_f64()));
        Ok(version)
    }
}

fn shown(plans: &[Vec<Phase>]) -> String {
    let one = |plan: &Vec<Phase>| plan.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
    plans.iter().map(one).collect::<Vec<_>>().join(" | ")
}
