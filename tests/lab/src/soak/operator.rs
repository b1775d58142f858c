//! What an operator does meanwhile: uploads releases, assigns them, back and forth. Refusals and failures are part of
//! the day; an upload that was acknowledged is remembered, because it must not be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet_types::{BranchName, ReleaseState, Version};
use lab::{Lab, ReleaseSpec, SmallImage};
use wire::v1::fleet::Assign;

use super::log::Log;
use super::schedule::Dice;

/// An upload that does not get on for so long is begun again, as a person would.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(120);

/// The operator.
pub(super) struct Operator<'a> {
    lab: &'a Lab,
    log: &'a Log,
    /// Where images are made.
    images: &'a Path,
    dice: Dice,
    next: u64,
    /// What head office has acknowledged.
    acknowledged: &'a Mutex<Vec<Version>>,
    assigned: BTreeMap<BranchName, BTreeSet<Version>>,
    /// What each branch was last given to run, and when.
    changed: BTreeMap<BranchName, (Version, Instant)>,
}

/// An operator waits for what was ordered before ordering something else, but not for ever.
const COMES_TO_REST: Duration = Duration::from_secs(60);
/// Most releases that are uploaded while faults come: head office keeps all of them.
const MOST: u64 = 12;

impl<'a> Operator<'a> {
    pub(super) fn new(lab: &'a Lab, log: &'a Log, images: &'a Path, seed: u64, kept: &'a Mutex<Vec<Version>>) -> Self {
        let dice = Dice::new(seed, "operator");
        Self {
            lab,
            log,
            images,
            dice,
            next: 2,
            acknowledged: kept,
            assigned: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// Which versions each branch was to run.
    pub(super) fn assigned(&self) -> &BTreeMap<BranchName, BTreeSet<Version>> {
        &self.assigned
    }

    fn acknowledge(&self, version: &Version) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(version.clone());
    }

    /// Works until the soak's end.
    pub(super) async fn work(&mut self, until: Instant) {
        while Instant::now() < until {
            match self.dice.below(10) {
                // Without a release there is nothing to assign.
                chance if self.next == 2 || (chance < 4 && self.next < MOST) => {
                    let left = until.saturating_duration_since(Instant::now());
                    // What is unfinished at the end continues by itself and is not awaited.
                    if let Err(e) = self.release(left).await {
                        self.log.note(&format!("operator: {}", first_line(&e)));
                    }
                }
                0..9 => self.assign_something().await,
                _ => {}
            }
            let rest = Duration::from_secs(self.dice.within((2, 8)));
            tokio::time::sleep(rest.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// A new release, uploaded to its end; its version.
    pub(super) async fn release(&mut self, patience: Duration) -> anyhow::Result<Version> {
        let number = self.next;
        self.next += 1;
        let noise = usize::try_from(self.dice.within((1_000_000, 14_000_000)))?;
        let (folder, text) = (self.images.to_owned(), format!("{number}.0.0"));
        let image = SmallImage::new(&text).with_noise(noise);
        let image = tokio::task::spawn_blocking(move || lab::small_image(&folder, &image)).await??;
        let spec = ReleaseSpec::new(&text, &image)?;
        let archive = self.lab.pack(&spec).await?;
        self.lab.remember(&spec.version, &image).await?;
        std::fs::remove_file(&image)?;
        let begun = Instant::now();
        self.log.note(&format!("operator: uploads {text}, {} bytes of noise", noise));
        loop {
            let upload = self.lab.filial([Path::new("release"), Path::new("upload"), Path::new("--no-wait"), &archive]);
            match tokio::time::timeout(UPLOAD_PATIENCE, upload).await {
                Ok(Ok(_)) => break,
                Ok(Err(e)) if begun.elapsed() > patience => return Err(e.into()),
                Err(_) if begun.elapsed() > patience => anyhow::bail!("the upload of {text} did not end"),
                Ok(Err(e)) => self.log.note(&format!("operator: upload of {text} again: {}", first_line(&e))),
                Err(_) => self.log.note(&format!("operator: upload of {text} again: it did not get on")),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.acknowledge(&spec.version);
        self.log.note(&format!("operator: head office acknowledged {text}"));
        std::fs::remove_file(&archive)?;
        Ok(spec.version)
    }

    /// Any published version to one branch or to all: forwards or back.
    async fn assign_something(&mut self) {
        let Ok(releases) = self.lab.api().releases().await else { return };
        let published =
            |r: &wire::v1::releases::Release| (r.state == ReleaseState::Published).then(|| r.version.clone());
        let versions: Vec<Option<Version>> = releases.iter().filter_map(published).collect();
        let Some(version) = self.dice.one_of(&versions) else { return };
        let mut branches = self.lab.branches();
        if self.dice.below(2) == 0 {
            let one = usize::try_from(self.dice.below(branches.len() as u64)).unwrap_or(0);
            branches = branches.split_off(one).into_iter().take(1).collect();
        }
        for branch in branches {
            if !self.may_change(&branch).await {
                continue;
            }
            let said = match self.assign(&branch, &version).await {
                Ok(()) => format!("operator: {branch} shall run {version}"),
                Err(e) => format!("operator: {branch} cannot be assigned {version}: {}", first_line(&e)),
            };
            self.log.note(&said);
        }
    }

    /// Whether what was ordered last is there, or took too long.
    async fn may_change(&self, branch: &BranchName) -> bool {
        let Some((version, since)) = self.changed.get(branch) else { return true };
        if since.elapsed() > COMES_TO_REST {
            return true;
        }
        let Ok(terminals) = self.lab.api().terminals().await else { return false };
        let mut updates = terminals.iter().filter(|t| t.branch == *branch).map(|t| t.update.as_ref());
        updates.all(|u| u.is_some_and(|u| u.version == *version && u.state.is_end()))
    }

    /// Orders a version for a branch, also one below the one that runs.
    pub(super) async fn assign(&mut self, branch: &BranchName, version: &Version) -> anyhow::Result<()> {
        let product = self.lab.options().product.clone();
        let assign = Assign { branch: branch.clone(), product, version: version.clone(), downgrade: true };
        self.lab.api().assign(&assign).await?;
        self.changed.insert(branch.clone(), (version.clone(), Instant::now()));
        self.assigned.entry(branch.clone()).or_default().insert(version.clone());
        Ok(())
    }
}

/// Enough of an error for a line of the log.
pub(super) fn first_line(error: &(impl std::fmt::Display + ?Sized)) -> String {
    let short = |line: &str| line.chars().take(220).collect::<String>();
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    // What a program said stands at the end.
    match lines[..] {
        [] => String::new(),
        [only] => short(only),
        [first, .., last] => format!("{} … {}", short(first), short(last)),
    }
}
