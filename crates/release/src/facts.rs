//! Facts about the fleet, the time and the external command that the rules use.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ModelName, TerminalRef, Version, VersionRange};

use crate::external::External;

/// The smallest slot of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallestSlot {
    /// Its size in bytes.
    pub bytes: u64,
    /// The terminals with the smallest slots and their sizes, the smallest first; bounded.
    pub terminals: Vec<(TerminalRef, u64)>,
}

impl SmallestSlot {
    /// A slot of `bytes` without a terminal.
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, terminals: Vec::new() }
    }
}

/// Terminals that run the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningVersion {
    /// The version; `None` if they have not reported it.
    pub version: Option<Version>,
    /// Number of terminals.
    pub terminals: u64,
    /// The first of them by branch and name; bounded.
    pub some: Vec<TerminalRef>,
}

/// Versions that the release's target terminals run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Most frequent first; bounded.
    pub versions: Vec<RunningVersion>,
    /// Number of terminals with versions beyond the bound of `versions`.
    pub beyond: u64,
}

/// A published release of the same product: perhaps a step on the way to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedStep {
    /// Its version.
    pub version: Version,
    /// What must be installed for it to be a legal step.
    pub requires: Option<VersionRange>,
}

/// The room in a branch server's store, as it last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreRoom {
    /// Total capacity in bytes.
    pub capacity_bytes: u64,
    /// Room for a new artifact now, in bytes.
    pub free_bytes: u64,
}

/// A branch that the release is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchStore {
    /// The branch.
    pub branch: BranchName,
    /// The models of its terminals, as far as the release is for them.
    pub models: Vec<ModelName>,
    /// Its store; none if it never reported one.
    pub room: Option<StoreRoom>,
}

/// The published release before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousRelease {
    /// Its version.
    pub version: Version,
    /// The length of its payloads in all, in bytes.
    pub bytes: u64,
}

/// The keys that sign a product's releases, and what they have signed for this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseKeys {
    /// The product's role has no holders.
    Unassigned,
    /// A threshold of keys must sign; nothing is signed for this version yet.
    Holders {
        /// Number of keys that must sign.
        threshold: u32,
        /// Number of keys.
        keys: u32,
    },
    /// They signed exactly this release.
    Signed,
    /// They signed other content as this version.
    SignedOtherwise,
}

/// Facts for the rules. `None` means not known here: rules that need it answer `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the release is judged.
    pub now: Option<DateTime<Utc>>,
    /// The hardware models of the fleet, each with its smallest slot.
    pub models: Option<BTreeMap<ModelName, SmallestSlot>>,
    /// Versions of the product that are published or being published, in any order.
    pub published: Option<Vec<Version>>,
    /// Payloads by name of each release of the same product and version that was published and withdrawn.
    pub withdrawn: Option<Vec<BTreeMap<String, Digest>>>,
    /// Versions that the release's target terminals run.
    pub running: Option<Running>,
    /// The product's published releases, in any order; bounded.
    pub steps: Option<Vec<PublishedStep>>,
    /// The branches that have terminals which the release is for.
    pub branches: Option<Vec<BranchStore>>,
    /// The product's newest published release below this version; `Some(None)` without one.
    pub previous: Option<Option<PreviousRelease>>,
    /// The keys that sign releases of the product.
    pub release_keys: Option<ReleaseKeys>,
    /// The outcome of the external command.
    pub external: Option<External>,
}

impl Facts {
    /// No facts.
    pub const fn unknown() -> Self {
        Self {
            now: None,
            models: None,
            published: None,
            withdrawn: None,
            running: None,
            steps: None,
            branches: None,
            previous: None,
            release_keys: None,
            external: None,
        }
    }

    /// Only the time, as on an operator's machine.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now: Some(now), ..Self::unknown() }
    }
}
