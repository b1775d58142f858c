//! An update, its activation and its trial, and how an attempt ends.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_types::{Digest, ProductName, Slot, Version};
use serde::{Deserialize, Serialize};
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

/// What is to be installed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The plan that it comes from.
    pub serial: u64,
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// SHA-256 of the release's manifest.
    pub manifest: Digest,
    /// What ends up in the slot.
    pub payload: PayloadRef,
    /// What travels.
    pub artifact: ArtifactRef,
    /// The slot that it is written to: never the running one.
    pub target: Slot,
}

/// An activation that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The boot in which it was begun: another one means that the machine has restarted since.
    pub boot_id: String,
    /// How often a restart was asked for.
    pub restarts: u32,
    /// How often it was begun again.
    ///
    /// The machine had restarted before the trial was set.
    pub again: u32,
    /// Units that had failed before the restart; `None` when they are not looked at.
    pub failed_before: Option<BTreeSet<String>>,
}

/// A boot of the slot on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBoot {
    /// Which boot.
    pub boot_id: String,
    /// Time since the machine started, when this was noticed.
    ///
    /// Deadlines count from here and no clock can move them.
    pub since: Duration,
    /// As in [`Intent`].
    pub failed_before: Option<BTreeSet<String>>,
    /// Set once the trial is judged and lost; what remains is to restart into the old slot.
    pub verdict: Option<Verdict>,
    /// The boot in which the activation was begun.
    ///
    /// Boots of the slot since then are this trial's. Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_in: Option<String>,
}

/// Why an attempt ended, and what follows for the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    /// What follows.
    #[serde(rename = "then")]
    pub retry: Retry,
}

/// When an update that ended badly may be begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// Never by itself: the payload's digest is to blame and is remembered.
    #[serde(rename = "blame")]
    Never,
    /// With a newer plan only: nothing would be different before.
    NextPlan,
    /// A bounded number of times, with growing waits.
    Later,
}

impl Verdict {
    /// Makes a verdict.
    pub const fn new(reason: Reason, retry: Retry) -> Self {
        Self { reason, retry }
    }
}
