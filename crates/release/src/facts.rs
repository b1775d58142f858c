//! What is known of the fleet, the time and the shop's own command where the rules are evaluated.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ModelName, TerminalRef, Version, VersionRange};

use crate::external::External;

/// The smallest slot of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallestSlot {
    /// Its size in bytes.
    pub bytes: u64,
    /// Which terminal has it, if one does.
    pub terminal: Option<TerminalRef>,
}

impl SmallestSlot {
    /// A slot of `bytes`, of no terminal in particular.
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, terminal: None }
    }
}

/// Terminals that run the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningVersion {
    /// The version; none if they have not said what they run.
    pub version: Option<Version>,
    /// How many they are.
    pub terminals: u64,
    /// The first of them by branch and name: at most as many as are worth naming.
    pub some: Vec<TerminalRef>,
}

/// What the terminals run that the release is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Most frequent first; bounded.
    pub versions: Vec<RunningVersion>,
    /// How many terminals run versions for which there was no place in `versions`.
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
    /// What the store may hold in all, in bytes.
    pub capacity_bytes: u64,
    /// What a new artifact may take now, in bytes.
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

/// The keys that sign a product's releases, and what they signed of this version already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseKeys {
    /// Nobody was given the product's role.
    Nobody,
    /// So many of so many keys must sign; nothing is signed of this version.
    Holders {
        /// How many must.
        threshold: u32,
        /// How many there are.
        keys: u32,
    },
    /// They signed exactly this release.
    Signed,
    /// They signed something else as this version.
    SignedOtherwise,
}

/// What is known. `None` means: not known here, so that what depends on it is `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the release is judged.
    pub now: Option<DateTime<Utc>>,
    /// The hardware models of the fleet, each with its smallest slot.
    pub models: Option<BTreeMap<ModelName, SmallestSlot>>,
    /// The versions of the release's product that were published so far or are on their way there, in any order.
    pub published: Option<Vec<Version>>,
    /// What the terminals run that the release is for.
    pub running: Option<Running>,
    /// The product's published releases, in any order; bounded.
    pub steps: Option<Vec<PublishedStep>>,
    /// The branches that have terminals which the release is for.
    pub branches: Option<Vec<BranchStore>>,
    /// The product's newest published release below this version: `Some(None)` if there is none.
    pub previous: Option<Option<PreviousRelease>>,
    /// Who signs releases of the product.
    pub release_keys: Option<ReleaseKeys>,
    /// What became of the shop's own command.
    pub external: Option<External>,
}

impl Facts {
    /// Nothing is known.
    pub const fn unknown() -> Self {
        Self {
            now: None,
            models: None,
            published: None,
            running: None,
            steps: None,
            branches: None,
            previous: None,
            release_keys: None,
            external: None,
        }
    }

    /// Only the time is known: how an operator's own machine judges.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now: Some(now), ..Self::unknown() }
    }
}
