//! An artifact's life as values: what a plan wants, what is recorded, what the store's disk says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use trust::planned;
use wire::v1::plan::Plan;

pub use crate::model::{Stage, Wanted};

/// The plan's artifacts in the order of its steps, then of its packages, each once.
pub fn wanted(plan: &Plan) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for step in planned::entries(plan) {
        for artifact in step.artifacts.iter() {
            if wanted.iter().all(|w| w.artifact.sha256 != artifact.sha256) {
                wanted.push(Wanted {
                    artifact: artifact.clone(),
                    payload: step.payload.clone(),
                    manifest: step.manifest,
                    product: step.product.clone(),
                    version: step.version.clone(),
                });
            }
        }
    }
    wanted
}

/// Every manifest that the plan names, with the artifacts whose steps or packages name it.
pub fn manifests(plan: &Plan) -> BTreeMap<Digest, BTreeSet<Digest>> {
    let mut manifests: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
    for step in planned::entries(plan) {
        manifests.entry(step.manifest).or_default().extend(step.artifacts.iter().map(|a| a.sha256));
    }
    manifests
}

/// The plan's artifacts that terminals can begin with: those in `offered` (described as the plan does, and accepted by
/// the tracker) all of whose manifests are among `here`.
pub fn available(plan: &Plan, offered: &[Wanted], here: &BTreeSet<Digest>) -> Vec<Digest> {
    let ready = |w: &Wanted| {
        let same = offered.iter().any(|o| o.artifact == w.artifact);
        let mut carried = planned::entries(plan).filter(|s| s.artifacts.contains(&w.artifact.sha256));
        same && carried.all(|s| here.contains(&s.manifest))
    };
    wanted(plan).iter().filter(|w| ready(w)).map(|w| w.artifact.sha256).collect()
}

/// Whether the engine has an artifact's torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InEngine {
    /// The daemon did not answer.
    Unknown,
    /// It does not have it.
    Absent,
    /// It has it.
    Present,
}

/// An artifact that this server has a record of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What a plan said about it when it was recorded.
    pub wanted: Wanted,
    /// Its stage.
    pub stage: Stage,
    /// Bytes on the disk, as last seen.
    pub have_bytes: u64,
    /// Whether the engine has it.
    pub engine: InEngine,
    /// Since when no plan names it.
    pub unnamed_since: Option<DateTime<Utc>>,
    /// Until when a failed one rests.
    pub retry_after: Option<DateTime<Utc>>,
    /// It arrives no further, for a reason that is known.
    pub stalled: bool,
    /// A terminal fetches it from here, or it is being read.
    pub in_use: bool,
    /// Its whole file was brought by hand, and waits to be put in place.
    pub carried: bool,
}

impl Known {
    /// Its digest.
    pub const fn artifact(&self) -> Digest {
        self.wanted.artifact.sha256
    }

    /// Its length in bytes.
    pub const fn length(&self) -> u64 {
        self.wanted.artifact.length
    }
}

/// A file in the store that no record knows, such as after a restored database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The digest that its name claims.
    pub artifact: Digest,
    /// The space that it takes, in bytes.
    pub bytes: u64,
    /// When it was last written.
    pub modified: DateTime<Utc>,
}

/// The store's disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that can still be written; none if that could not be learned.
    pub free_bytes: Option<u64>,
    /// Most bytes that the store may take.
    pub budget_bytes: Option<u64>,
    /// Files without a record.
    pub strays: Vec<Stray>,
    /// Artifacts with a record whose whole file was brought by hand.
    pub carried: BTreeSet<Digest>,
}

/// Kept free on the store's disk whatever the plan says, in bytes: the database and the log live there too.
pub const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
