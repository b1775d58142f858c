//! The lab's report: what the API says, checked against what the lab finds when it looks for itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, Slot, TerminalRef, UpdateState, Version};
use serde::{Deserialize, Serialize};
use wire::v1::fleet::Terminal;

use crate::error::LabError;
use crate::lab::Lab;
use crate::net::Counters;

/// One run of one release through the lab, in figures. The format is stable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The BitTorrent engine.
    pub engine: String,
    /// Length of the artifact that crossed the WAN.
    pub artifact_bytes: u64,
    /// SHA-256 of the image, computed by the lab before it was uploaded.
    pub expected_sha256: Digest,
    /// How long things took.
    pub seconds: Seconds,
    /// The branches.
    pub branches: Vec<BranchFigures>,
    /// The terminals.
    pub terminals: Vec<TerminalFigures>,
    /// Every move of every terminal, in order of time.
    pub transitions: Vec<Transition>,
    /// The report of the virtual machines' own release, if they had one after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<Box<Report>>,
}

/// How long things took, in seconds; 0 for what did not happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// From the beginning of the upload until published.
    pub publish: f64,
    /// From the first assignment until every branch held the whole artifact.
    pub branches_complete: f64,
    /// From the first assignment until every terminal was confirmed.
    pub all_confirmed: f64,
}

/// Bytes at a branch's interfaces, from the beginning of the upload to the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchFigures {
    /// Its name.
    pub name: BranchName,
    /// Received from the WAN.
    pub wan_rx_bytes: u64,
    /// Sent to the WAN.
    pub wan_tx_bytes: u64,
    /// Received from the WAN ÷ the artifact.
    pub wan_ratio: f64,
    /// Sent by the branch server to its LAN.
    pub lan_tx_bytes: u64,
    /// Sent by the branch server to its LAN ÷ the artifact.
    pub lan_tx_ratio: f64,
}

/// A terminal at the end. Slot and digest are the lab's own reading, the rest is the API's and was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalFigures {
    /// Its name.
    pub name: String,
    /// Its branch.
    pub branch: BranchName,
    /// The state of its update; none if it had none.
    pub state: Option<UpdateState>,
    /// The slot that runs.
    pub slot: Slot,
    /// The slot that ran before.
    pub slot_before: Slot,
    /// The version that runs.
    pub version: Version,
    /// The version that ran before.
    pub version_before: Version,
    /// SHA-256 of the running slot, over the length of the image that belongs there.
    pub slot_sha256: Digest,
    /// Why the update ended as it did, if there is more to say.
    pub reason: Option<String>,
}

/// One move of one terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// `branch/terminal`.
    pub terminal: String,
    /// From; none for the first.
    pub from: Option<UpdateState>,
    /// To.
    pub to: UpdateState,
    /// When, by the terminal's clock.
    pub at: DateTime<Utc>,
}

/// A release on its way: what was before it, and when its steps were done.
#[derive(Debug, Clone)]
pub struct Run {
    product: ProductName,
    version: Version,
    /// The terminals of its product.
    members: Vec<TerminalRef>,
    begun: Instant,
    assigned: Option<Instant>,
    before: BTreeMap<TerminalRef, (Slot, Version)>,
    counters: BTreeMap<BranchName, Counters>,
    seconds: Seconds,
}

impl Run {
    /// Its product.
    pub fn product(&self) -> &ProductName {
        &self.product
    }

    /// The terminals that run its product.
    pub fn members(&self) -> &[TerminalRef] {
        &self.members
    }

    /// Whether a terminal runs its product.
    pub fn concerns(&self, told: &Terminal) -> bool {
        self.members.contains(&name_of(told))
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// How long things took so far.
    pub fn seconds(&self) -> Seconds {
        self.seconds
    }

    /// Since when it is assigned.
    pub fn since_assigned(&self) -> Option<Duration> {
        self.assigned.map(|a| a.elapsed())
    }

    /// Since the upload began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The release is published now.
    pub fn published(&mut self) {
        self.seconds.publish = self.begun.elapsed().as_secs_f64();
    }

    /// It is being assigned now.
    pub fn assigned(&mut self) {
        self.assigned.get_or_insert_with(Instant::now);
    }

    /// Every branch holds the whole artifact now. Only the first call counts.
    pub fn branches_complete(&mut self) {
        if let (Some(assigned), 0.0) = (self.assigned, self.seconds.branches_complete) {
            self.seconds.branches_complete = assigned.elapsed().as_secs_f64();
        }
    }

    /// Every terminal is confirmed now. Only the first call counts.
    pub fn all_confirmed(&mut self) {
        if let (Some(assigned), 0.0) = (self.assigned, self.seconds.all_confirmed) {
            self.seconds.all_confirmed = assigned.elapsed().as_secs_f64();
        }
    }
}

impl Lab {
    /// Takes down how things stand before a release, by the lab's own reading. Call it right before the upload.
    ///
    /// # Errors
    /// Head office or a counter cannot be read.
    pub async fn begin(&self, version: &Version) -> Result<Run, LabError> {
        self.begin_of(&self.options.product, version).await
    }

    /// The same for a release of a product.
    ///
    /// # Errors
    /// As [`Lab::begin`].
    pub async fn begin_of(&self, product: &ProductName, version: &Version) -> Result<Run, LabError> {
        let mut before = BTreeMap::new();
        let members = self.members(product);
        for name in &members {
            before.extend(self.booted(name)?.map(|last| (name.clone(), last)));
        }
        let counters = self.branches().into_iter().map(|b| Ok((b.clone(), self.counters(&b)?)));
        Ok(Run {
            product: product.clone(),
            version: version.clone(),
            members,
            begun: Instant::now(),
            assigned: None,
            before,
            counters: counters.collect::<Result<_, LabError>>()?,
            seconds: Seconds::default(),
        })
    }

    /// The terminals that run a product.
    pub(crate) fn members(&self, product: &ProductName) -> Vec<TerminalRef> {
        let own = self.terminals.keys().filter(|_| *product == self.options.product);
        own.chain(self.vms.keys().filter(|_| *product == self.options.vm.product)).cloned().collect()
    }

    /// The branches that a product is for: every one, or where the virtual machines are.
    pub(crate) fn branches_of(&self, product: &ProductName) -> Vec<BranchName> {
        let mut branches = self.branches();
        if *product != self.options.product {
            branches.retain(|b| self.vms.keys().any(|t| t.branch == *b));
        }
        branches
    }

    /// The report of a run. The lab reads slots and environment blocks itself.
    ///
    /// # Errors
    /// Something cannot be read, or is not as the API says ([`LabError::Differs`], with every difference).
    pub async fn report(&self, run: &Run) -> Result<Report, LabError> {
        let unknown = || LabError::Options(format!("the lab did not bring out version {}", run.version));
        let shipped = self.shipped_of(&run.product, &run.version).ok_or_else(unknown)?;
        let release = self.api.release(&run.product, &run.version).await?.ok_or_else(unknown)?;
        let payload = release.payloads.first().ok_or_else(unknown)?;
        let artifact_bytes = payload.artifact.as_ref().map_or(0, |a| a.length);
        let mut differences = Vec::new();
        if payload.payload.sha256 != shipped.sha256 || payload.payload.length != shipped.length {
            differences.push(format!("head office has another payload than the image of {}", run.version));
        }
        let mut terminals = Vec::new();
        let mut transitions = Vec::new();
        let mut told = self.api.terminals().await?;
        told.retain(|t| run.members.contains(&name_of(t)));
        for terminal in told {
            terminals.push(self.terminal_figures(run, &terminal, &mut differences).await?);
            transitions.extend(moves(&terminal));
        }
        transitions.sort_by(|a, b| (a.at, &a.terminal).cmp(&(b.at, &b.terminal)));
        if terminals.len() != run.members.len() {
            let (known, there) = (terminals.len(), run.members.len());
            differences.push(format!("head office knows {known} terminals, there are {there}"));
        }
        if !differences.is_empty() {
            return Err(LabError::Differs(differences));
        }
        Ok(Report {
            engine: self.options.engine.to_string(),
            artifact_bytes,
            expected_sha256: shipped.sha256,
            seconds: run.seconds,
            branches: self.branch_figures(run, artifact_bytes)?,
            terminals,
            transitions,
            vm: None,
        })
    }

    /// The bytes of a run at each branch's interfaces so far.
    ///
    /// # Errors
    /// A counter cannot be read.
    pub fn branch_figures(&self, run: &Run, artifact_bytes: u64) -> Result<Vec<BranchFigures>, LabError> {
        let figures = |name: BranchName| {
            let now = self.counters(&name)?;
            let then = run.counters.get(&name).copied().unwrap_or_default();
            let wan_rx_bytes = now.wan_rx_bytes - then.wan_rx_bytes;
            let lan_tx_bytes = now.lan_tx_bytes - then.lan_tx_bytes;
            Ok(BranchFigures {
                name,
                wan_rx_bytes,
                wan_tx_bytes: now.wan_tx_bytes - then.wan_tx_bytes,
                wan_ratio: ratio(wan_rx_bytes, artifact_bytes),
                lan_tx_bytes,
                lan_tx_ratio: ratio(lan_tx_bytes, artifact_bytes),
            })
        };
        self.branches_of(&run.product).into_iter().map(figures).collect()
    }

    /// A terminal as the lab finds it; what the API says otherwise is added to `differences`.
    async fn terminal_figures(
        &self,
        run: &Run,
        told: &Terminal,
        differences: &mut Vec<String>,
    ) -> Result<TerminalFigures, LabError> {
        let name = name_of(told);
        let env = self.read_env(&name)?;
        let (slot, version) =
            self.booted(&name)?.ok_or_else(|| LabError::NotRunning(crate::Part::agent(&name).to_string()))?;
        let update = told.update.as_ref();
        let state = update.map(|u| u.state);
        let mut differ = |what: String| differences.push(format!("{name}: {what}"));
        if told.slot != Some(slot) {
            differ(format!("the API says slot {:?}, slot {slot} was booted", told.slot));
        }
        if told.version.as_ref() != Some(&version) {
            differ(format!("the API says version {:?}, the image in the booted slot is {version}", told.version));
        }
        let settled = state.is_none_or(UpdateState::is_end);
        if settled && (env.default != slot || env.trial.is_some()) {
            differ(format!("the update ended, but the environment block says {env:?} and slot {slot} runs"));
        }
        let shipped = self.shipped_of(&run.product, &version);
        let shipped =
            shipped.ok_or_else(|| LabError::Options(format!("{name} runs {version}, which is not the lab's")))?;
        let slot_sha256 = self.slot_sha256(&name, slot, shipped.length).await?;
        if slot_sha256 != shipped.sha256 {
            differ(format!("slot {slot} holds {slot_sha256}, the image of {version} is {}", shipped.sha256));
        }
        let on_target = version == run.version;
        if on_target != (state == Some(UpdateState::Confirmed)) && settled {
            differ(format!("the API says {state:?} for {}, and version {version} runs", run.version));
        }
        let (slot_before, version_before) = run.before.get(&name).cloned().unwrap_or((slot, version.clone()));
        let reason = update.and_then(|u| u.reason.as_ref()).map(|r| format!("{}: {}", r.code, r.text));
        Ok(TerminalFigures {
            name: told.name.to_string(),
            branch: told.branch.clone(),
            state,
            slot,
            slot_before,
            version,
            version_before,
            slot_sha256,
            reason,
        })
    }
}

/// A terminal's full name.
pub(crate) fn name_of(told: &Terminal) -> TerminalRef {
    TerminalRef { branch: told.branch.clone(), terminal: told.name.clone() }
}

fn moves(terminal: &Terminal) -> Vec<Transition> {
    let name = format!("{}/{}", terminal.branch, terminal.name);
    let history = terminal.update.iter().flat_map(|u| &u.history);
    history.map(|m| Transition { terminal: name.clone(), from: m.from, to: m.to, at: m.at }).collect()
}

/// To four places: more would be noise.
fn ratio(bytes: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let ratio = bytes as f64 / whole.max(1) as f64;
    (ratio * 10_000.0).round() / 10_000.0
}
