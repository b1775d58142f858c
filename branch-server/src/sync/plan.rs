//! Decides what to fetch, seed and drop. Pure: no clock, no I/O, no async; [`super::run`] does exactly what comes out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash, ProductName, Version};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan};

pub use super::action::{Action, Waiting};

/// An artifact that the plan names, with what is needed to describe it to terminals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What travels.
    pub artifact: ArtifactRef,
    /// What it becomes in a slot, or is unpacked from it.
    pub payload: PayloadRef,
    /// The release's manifest.
    pub manifest: Digest,
    /// Of which product.
    pub product: ProductName,
    /// Of which version.
    pub version: Version,
}

/// The plan's artifacts in the order of its steps, then of its packages, each once.
pub fn wanted(plan: &Plan) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for step in plan.entries() {
        if wanted.iter().all(|w| w.artifact.sha256 != step.artifact.sha256) {
            wanted.push(Wanted {
                artifact: step.artifact.clone(),
                payload: step.payload.clone(),
                manifest: step.manifest,
                product: step.product.clone(),
                version: step.version.clone(),
            });
        }
    }
    wanted
}

/// Every manifest that the plan names, with the artifacts whose steps or packages name it.
pub fn manifests(plan: &Plan) -> BTreeMap<Digest, BTreeSet<Digest>> {
    let mut manifests: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
    for step in plan.entries() {
        manifests.entry(step.manifest).or_default().insert(step.artifact.sha256);
    }
    manifests
}

/// The plan's artifacts that terminals can begin with: those in `offered` (described as the plan does, and accepted by
/// the tracker) all of whose manifests are among `here`.
pub fn available(plan: &Plan, offered: &[Wanted], here: &BTreeSet<Digest>) -> Vec<Digest> {
    let ready = |w: &Wanted| {
        let same = offered.iter().any(|o| o.artifact == w.artifact);
        same && plan.entries().filter(|s| s.artifact.sha256 == w.artifact.sha256).all(|s| here.contains(&s.manifest))
    };
    wanted(plan).iter().filter(|w| ready(w)).map(|w| w.artifact.sha256).collect()
}

/// How far an artifact is, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Named by a plan; index and torrent are not here.
    Wanted,
    /// Index, torrent and manifest are here and checked.
    Described,
    /// The local tracker accepts it: terminals may begin, and so may the engine.
    Listed,
    /// The whole file was hashed and is what the plan says.
    Held,
    /// On its way out; whatever remains of it is being removed.
    Dropping,
}

impl Stage {
    /// The stage as the database has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Described => "described",
            Self::Listed => "listed",
            Self::Held => "held",
            Self::Dropping => "dropping",
        }
    }

    /// Whether terminals may have its index and torrent.
    pub const fn is_available(self) -> bool {
        matches!(self, Self::Listed | Self::Held)
    }
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
    /// How far it is.
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

/// What the settings say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long an artifact stays after the last plan stopped naming it. One that is in use stays up to twice as long.
    pub retention: TimeDelta,
    /// Most artifacts that arrive at the same time. One that is stalled holds up no other.
    pub fetch_at_once: usize,
}

impl Known {
    fn artifact(&self) -> Digest {
        self.wanted.artifact.sha256
    }

    fn length(&self) -> u64 {
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

/// What a pass sees.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the plan names, in its order.
    pub wanted: &'a [Wanted],
    /// What this server has a record of.
    pub known: &'a [Known],
    /// Manifests that the plan names and that are not here, with the artifacts whose steps name them.
    pub missing: &'a BTreeMap<Digest, BTreeSet<Digest>>,
    /// Torrents of the engine that no record knows.
    pub foreign: &'a BTreeSet<InfoHash>,
    /// The store's disk.
    pub disk: &'a Disk,
}

/// What to do now, in the order in which to do it: room is made before it is used.
pub fn decide(seen: Seen<'_>, rules: Rules, now: DateTime<Utc>) -> Vec<Action> {
    let Seen { wanted, known, missing, foreign, disk } = seen;
    let named: BTreeMap<Digest, &Wanted> = wanted.iter().map(|w| (w.artifact.sha256, w)).collect();
    let by_digest: BTreeMap<Digest, &Known> = known.iter().map(|k| (k.artifact(), k)).collect();
    let over = |since: DateTime<Utc>, times: i32| now.signed_duration_since(since) >= rules.retention * times;
    let mut actions: Vec<Action> = foreign.iter().copied().map(Action::Release).collect();
    let gone = |k: &&Known| !named.contains_key(&k.artifact()) || k.stage == Stage::Dropping;
    let mut unnamed: Vec<&Known> = known.iter().filter(gone).collect();
    // Least recently wanted first: a stop in the middle has then removed the right ones.
    unnamed.sort_by_key(|k| k.unnamed_since);
    for k in unnamed {
        retire(k, &over, now, &mut actions);
    }
    for stray in &disk.strays {
        let known = named.contains_key(&stray.artifact) || by_digest.contains_key(&stray.artifact);
        if !known && over(stray.modified, 1) {
            actions.push(Action::Sweep(stray.artifact));
        }
    }
    let mut room = Room::new(known, disk, rules.fetch_at_once);
    for w in wanted {
        match by_digest.get(&w.artifact.sha256) {
            // Its removal began: it comes back as a new one on the next pass, after the removal is finished.
            Some(k) if k.stage == Stage::Dropping => {}
            Some(k) => keep(w, k, &mut room, now, &mut actions),
            None => actions.push(room.admit(w, 0)),
        }
    }
    // An artifact that is not described yet brings its manifest with its description.
    let described = |a: &Digest| by_digest.get(a).is_some_and(|k| !matches!(k.stage, Stage::Wanted | Stage::Dropping));
    let loose = missing.iter().filter(|(_, artifacts)| artifacts.iter().any(described));
    actions.extend(loose.map(|(manifest, _)| Action::Manifest(*manifest)));
    actions
}

/// What becomes of a record that the plan names.
fn keep(w: &Wanted, k: &Known, room: &mut Room, now: DateTime<Utc>, actions: &mut Vec<Action>) {
    if k.unnamed_since.is_some() {
        actions.push(Action::Name(k.artifact()));
    }
    if (&k.wanted.artifact, &k.wanted.payload) != (&w.artifact, &w.payload) {
        return actions.push(Action::Redescribe(w.clone()));
    }
    if k.wanted != *w {
        actions.push(Action::Retitle(w.clone()));
    }
    actions.push(advance(w, k, room, now));
}

/// What becomes of a record that no plan names, or whose removal began.
fn retire(k: &Known, over: &dyn Fn(DateTime<Utc>, i32) -> bool, now: DateTime<Utc>, actions: &mut Vec<Action>) {
    if k.stage == Stage::Dropping || k.unnamed_since.is_some_and(|since| over(since, if k.in_use { 2 } else { 1 })) {
        return actions.push(Action::Drop(k.artifact()));
    }
    if k.unnamed_since.is_none() {
        actions.push(Action::Unname(k.artifact()));
    }
    match (k.stage, k.engine) {
        (Stage::Held, InEngine::Absent) if k.retry_after.is_none_or(|until| until <= now) => {
            actions.push(Action::Seed(k.artifact()));
        }
        // A daemon that was started again leaves it standing still.
        (Stage::Held, InEngine::Present) => actions.push(Action::Watch(k.artifact())),
        (Stage::Wanted | Stage::Described | Stage::Listed, InEngine::Present) => {
            actions.push(Action::Stop(k.artifact()))
        }
        _ => {}
    }
}

/// The next step of an artifact that is named and has a record.
fn advance(w: &Wanted, k: &Known, room: &mut Room, now: DateTime<Utc>) -> Action {
    let wait = |why| Action::Wait { wanted: w.clone(), why };
    if k.carried && !matches!(k.stage, Stage::Wanted | Stage::Dropping) {
        return Action::Place(k.artifact());
    }
    if let Some(until) = k.retry_after.filter(|until| *until > now) {
        return wait(Waiting::Resting { until });
    }
    match (k.stage, k.engine) {
        (Stage::Listed | Stage::Held, InEngine::Unknown) => wait(Waiting::EngineUnknown),
        (Stage::Held, InEngine::Absent) => Action::Seed(k.artifact()),
        (Stage::Listed | Stage::Held, InEngine::Present) => Action::Watch(k.artifact()),
        (Stage::Listed, InEngine::Absent) => Action::Fetch(w.clone()),
        (Stage::Wanted | Stage::Described, _) => room.admit(w, k.have_bytes),
        // Never reached from `decide`; what is on its way out is finished before anything else.
        (Stage::Dropping, _) => Action::Drop(k.artifact()),
    }
}

/// The room that is left while admissions are made one after the other.
struct Room {
    free: Option<u64>,
    budget: Option<u64>,
    strays: BTreeMap<Digest, u64>,
    arriving: usize,
    at_once: usize,
}

impl Room {
    fn new(known: &[Known], disk: &Disk, at_once: usize) -> Self {
        let started = || known.iter().filter(|k| !matches!(k.stage, Stage::Wanted | Stage::Described));
        // Files are sparse while they arrive: what others still have to write is spoken for.
        let arriving = |k: &&Known| k.stage == Stage::Listed && k.unnamed_since.is_none();
        let promised: u64 = started().filter(arriving).map(|k| k.length().saturating_sub(k.have_bytes)).sum();
        let taken: u64 = started().map(|k| k.length()).sum();
        Self {
            free: disk.free_bytes.map(|free| free.saturating_sub(promised).saturating_sub(RESERVE_BYTES)),
            budget: disk.budget_bytes.map(|budget| budget.saturating_sub(taken)),
            strays: disk.strays.iter().map(|s| (s.artifact, s.bytes)).collect(),
            arriving: started().filter(arriving).filter(|k| !k.stalled).count(),
            at_once,
        }
    }

    /// Fetches `w`, of which `here` bytes are on the disk, if there is room for it, and takes that room.
    fn admit(&mut self, w: &Wanted, here: u64) -> Action {
        let wait = |why| Action::Wait { wanted: w.clone(), why };
        let Some(free) = self.free else { return wait(Waiting::RoomUnknown) };
        // What lies there without a record is this artifact's own beginning: it needs no second room.
        let there = self.strays.get(&w.artifact.sha256).copied().unwrap_or(0).max(here);
        let needs = w.artifact.length.saturating_sub(there);
        let budget = self.budget.unwrap_or(u64::MAX);
        if needs > free || w.artifact.length > budget {
            let short_of_budget = w.artifact.length > budget;
            let (needs, room) = if short_of_budget { (w.artifact.length, budget) } else { (needs, free) };
            return wait(Waiting::NoRoom { needs, room });
        }
        if self.arriving >= self.at_once {
            return wait(Waiting::Turn { others: self.arriving });
        }
        self.arriving += 1;
        self.free = Some(free - needs);
        self.budget = self.budget.map(|b| b - w.artifact.length);
        Action::Fetch(w.clone())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
