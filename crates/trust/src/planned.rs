//! A plan's steps as programs act on them, whichever format they travelled in: what is delivered, by which artifacts, and
//! how it is carried out. Pure.
//!
//! Branch servers mirror every artifact of a payload; a terminal fetches the one that [`Artifacts::choose`] returns.

use fleet_types::{Digest, ProductName, TerminalName, Version};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan, Step};

/// One payload of a release for some terminals of the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedStep<'p> {
    /// The terminals, each by name.
    pub terminals: &'p [TerminalName],
    /// The product.
    pub product: &'p ProductName,
    /// The version.
    pub version: &'p Version,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// What ends up in the slot, or is unpacked.
    pub payload: &'p PayloadRef,
    /// What travels.
    pub artifacts: Artifacts<'p>,
    /// How it is carried out.
    pub execution: Execution,
}

/// How a terminal carries a step out: in its turn, under these conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execution {
    /// The version may lie below the installed one. Says nothing of a package.
    pub downgrade: bool,
}

/// The artifacts that carry one payload.
///
/// The full artifact always exists: it is the only one that needs nothing installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Artifacts<'p> {
    full: &'p ArtifactRef,
}

impl<'p> Artifacts<'p> {
    /// Iterates over all of them.
    pub fn iter(self) -> impl Iterator<Item = &'p ArtifactRef> {
        std::iter::once(self.full)
    }

    /// Returns whether one of them has this digest.
    pub fn contains(self, artifact: &Digest) -> bool {
        self.iter().any(|a| a.sha256 == *artifact)
    }

    /// Returns the artifact to fetch: the full one, the only kind that format 1 names.
    pub const fn choose(self) -> &'p ArtifactRef {
        self.full
    }
}

impl<'p> From<&'p Step> for PlannedStep<'p> {
    fn from(step: &'p Step) -> Self {
        let Step { terminals, product, version, manifest, payload, artifact, downgrade } = step;
        Self {
            terminals,
            product,
            version,
            manifest: *manifest,
            payload,
            artifacts: Artifacts { full: artifact },
            execution: Execution { downgrade: *downgrade },
        }
    }
}

/// The steps of the slot, in the plan's order.
pub fn steps(plan: &Plan) -> impl Iterator<Item = PlannedStep<'_>> {
    plan.steps.iter().map(PlannedStep::from)
}

/// The packages.
pub fn packages(plan: &Plan) -> impl Iterator<Item = PlannedStep<'_>> {
    plan.packages.iter().map(PlannedStep::from)
}

/// Everything that the plan names: the steps in their order, then the packages.
pub fn entries(plan: &Plan) -> impl Iterator<Item = PlannedStep<'_>> {
    steps(plan).chain(packages(plan))
}
