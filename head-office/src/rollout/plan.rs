//! What a branch's plan should say. Pure: assignments, terminals, the previous plan and the time go in; steps, and for
//! every terminal that gets none the reason, come out.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, ModelName, ProductName, TerminalName, UpdateState, Version, size};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan, Step};

/// The plan's format that this planner writes.
const FORMAT: u32 = 1;

/// A payload of a published release that is for terminals: a slot image or a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The models it is for. A package without any is for every model.
    pub compatible: Vec<ModelName>,
    /// What ends up in the slot, or is unpacked.
    pub payload: PayloadRef,
    /// What travels.
    pub artifact: ArtifactRef,
}

/// This branch shall run this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// The release's manifest.
    pub manifest: Digest,
    /// Whether the version may lie below the installed one.
    pub downgrade: bool,
    /// When it was assigned.
    pub at: DateTime<Utc>,
    /// The release's slot images.
    pub images: Vec<Payload>,
    /// The release's packages.
    pub packages: Vec<Payload>,
}

/// A terminal of the branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Its name.
    pub name: TerminalName,
    /// Its model.
    pub model: ModelName,
    /// Size of its smaller slot in bytes.
    pub slot_bytes: u64,
    /// Its newest update of each product that the branch is assigned.
    pub updates: Vec<Update>,
    /// How it is.
    pub health: Health,
}

/// How far a terminal's newest update of a product is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The product.
    pub product: ProductName,
    /// The payload that it installs.
    pub payload: Digest,
    /// Its state.
    pub state: UpdateState,
}

/// What is known of a terminal's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// When a report about it arrived last.
    pub last_heard: Option<DateTime<Utc>>,
}

/// What the planner knows of a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// What it is assigned, a product each.
    pub assignments: Vec<Assignment>,
    /// Its terminals.
    pub terminals: Vec<Terminal>,
}

/// Why an assignment gives a terminal nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The release has images, and none for its model.
    NotForModel(ModelName),
    /// The release has packages alone, and none for its model.
    NoPackage(ModelName),
    /// Its slot is smaller than the image.
    SlotTooSmall {
        /// Size of its smaller slot in bytes.
        slot: u64,
        /// Length of the image in bytes.
        image: u64,
    },
    /// A later assignment of another product has the slot.
    SlotTaken(ProductName),
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForModel(model) => write!(f, "the release has no image for model {model}"),
            Self::NoPackage(model) => write!(f, "the release has no package for model {model}"),
            Self::SlotTooSmall { slot, image } => write!(f, "its slot has {}, the image {}", size(*slot), size(*image)),
            Self::SlotTaken(product) => write!(f, "its slot goes to {product}, which was assigned later"),
        }
    }
}

/// A terminal that an assignment leaves out, and why.
///
/// It gets nothing for its slot although it could, or nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// The terminal.
    pub terminal: TerminalName,
    /// The assignment's product.
    pub product: ProductName,
    /// Why.
    pub why: Exclusion,
}

/// What the plan should say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposal {
    /// The steps, in order: products by name, images in the manifest's order, terminals by name.
    pub steps: Vec<Step>,
    /// The packages, in order: products by name, payloads by name, terminals by name.
    pub packages: Vec<Step>,
    /// Who is left out.
    pub excluded: Vec<Excluded>,
}

/// The plan before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Its serial.
    pub serial: u64,
    /// When it was made.
    pub issued: DateTime<Utc>,
    /// Until when it is accepted.
    pub expires: DateTime<Utc>,
    /// What it orders.
    pub steps: Vec<Step>,
    /// The packages that it names.
    pub packages: Vec<Step>,
    /// Whether present plan keys signed it: those before them may have been stolen.
    pub sealed: bool,
}

/// Decides the steps for a branch.
pub fn propose(fleet: &Fleet) -> Proposal {
    let mut proposal = Proposal::default();
    let slots = slot_owners(fleet);
    let mut assignments: Vec<&Assignment> = fleet.assignments.iter().collect();
    assignments.sort_by(|a, b| a.product.cmp(&b.product));
    for assignment in assignments {
        let mut named: Vec<Vec<TerminalName>> = vec![Vec::new(); assignment.images.len()];
        let mut terminals: Vec<&Terminal> = fleet.terminals.iter().collect();
        terminals.sort_by(|a, b| a.name.cmp(&b.name));
        packages(assignment, &terminals, &mut proposal.packages);
        for terminal in terminals {
            // A release of packages alone leaves the slot alone.
            if assignment.images.is_empty() && assignment.packages.iter().any(|p| is_for(p, terminal)) {
                continue;
            }
            match image_for(assignment, terminal, &slots) {
                Ok(image) => named[image].push(terminal.name.clone()),
                Err(why) => proposal.excluded.push(Excluded {
                    terminal: terminal.name.clone(),
                    product: assignment.product.clone(),
                    why,
                }),
            }
        }
        for (image, terminals) in assignment.images.iter().zip(named) {
            if !terminals.is_empty() {
                proposal.steps.push(step(assignment, image, terminals));
            }
        }
    }
    proposal
}

/// Returns the plan to issue now, if one is needed.
///
/// None is if the previous plan says the same, present keys signed it, and it is in the first half of its life.
///
/// A branch that was never told anything gets no empty plan; one whose terminals all fell out does.
pub fn issue(
    branch: &BranchName,
    proposal: &Proposal,
    previous: Option<&Previous>,
    now: DateTime<Utc>,
    life: TimeDelta,
) -> Option<Plan> {
    let needed = match previous {
        None => !(proposal.steps.is_empty() && proposal.packages.is_empty()),
        Some(previous) => {
            let says_the_same = previous.steps == proposal.steps && previous.packages == proposal.packages;
            !says_the_same || is_due(previous.issued, previous.expires, previous.sealed, now)
        }
    };
    needed.then(|| Plan {
        format: FORMAT,
        branch: branch.clone(),
        serial: next_serial(previous.map(|p| p.serial), now),
        issued: now,
        expires: now + life,
        steps: proposal.steps.clone(),
        packages: proposal.packages.clone(),
        audit: None,
    })
}

/// `max(last + 1, Unix milliseconds)`: rises also after a restore from an old backup.
pub fn next_serial(last: Option<u64>, now: DateTime<Utc>) -> u64 {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    last.map_or(1, |last| last + 1).max(millis)
}

/// Whether a plan is due for a new one although nothing changed.
///
/// Less than half of its life is left, so that a branch that is cut off always has at least that much; or present
/// plan keys did not sign it.
pub fn is_due(issued: DateTime<Utc>, expires: DateTime<Utc>, sealed: bool, now: DateTime<Utc>) -> bool {
    !sealed || expires - now < (expires - issued) / 2
}

/// Which product has each terminal's slot.
///
/// Of those with an image for it, the one assigned last.
fn slot_owners(fleet: &Fleet) -> BTreeMap<&TerminalName, &ProductName> {
    let mut by_time: Vec<&Assignment> = fleet.assignments.iter().collect();
    by_time.sort_by(|a, b| (a.at, &a.product).cmp(&(b.at, &b.product)));
    let mut owners = BTreeMap::new();
    for assignment in by_time {
        for terminal in &fleet.terminals {
            if assignment.images.iter().any(|i| i.compatible.contains(&terminal.model)) {
                owners.insert(&terminal.name, &assignment.product);
            }
        }
    }
    owners
}

/// The release's packages for these terminals: each terminal gets all that are for it.
fn packages(assignment: &Assignment, terminals: &[&Terminal], into: &mut Vec<Step>) {
    let mut payloads: Vec<&Payload> = assignment.packages.iter().collect();
    payloads.sort_by(|a, b| a.payload.name.cmp(&b.payload.name));
    for payload in payloads {
        let named: Vec<TerminalName> =
            terminals.iter().filter(|t| is_for(payload, t)).map(|t| t.name.clone()).collect();
        if !named.is_empty() {
            into.push(step(assignment, payload, named));
        }
    }
}

fn is_for(package: &Payload, terminal: &Terminal) -> bool {
    package.compatible.is_empty() || package.compatible.contains(&terminal.model)
}

fn image_for(
    assignment: &Assignment,
    terminal: &Terminal,
    slots: &BTreeMap<&TerminalName, &ProductName>,
) -> Result<usize, Exclusion> {
    let found = assignment.images.iter().position(|i| i.compatible.contains(&terminal.model));
    let number = found.ok_or_else(|| match assignment.images.is_empty() && !assignment.packages.is_empty() {
        true => Exclusion::NoPackage(terminal.model.clone()),
        false => Exclusion::NotForModel(terminal.model.clone()),
    })?;
    if let Some(owner) = slots.get(&terminal.name).filter(|owner| **owner != &assignment.product) {
        return Err(Exclusion::SlotTaken((*owner).clone()));
    }
    let image = assignment.images[number].payload.length;
    if terminal.slot_bytes < image {
        return Err(Exclusion::SlotTooSmall { slot: terminal.slot_bytes, image });
    }
    Ok(number)
}

fn step(assignment: &Assignment, payload: &Payload, terminals: Vec<TerminalName>) -> Step {
    Step {
        terminals,
        product: assignment.product.clone(),
        version: assignment.version.clone(),
        manifest: assignment.manifest,
        payload: payload.payload.clone(),
        artifact: payload.artifact.clone(),
        downgrade: assignment.downgrade,
    }
}
