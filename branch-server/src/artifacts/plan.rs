//! Decides what to fetch, seed and drop. Pure: no clock, no I/O, no async; [`super::run`] does exactly what comes out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash};
use service_kit::age::age;

use super::action::Action;
use super::model::{Disk, InEngine, Known, RESERVE_BYTES, Stage, Wanted};
use super::trouble::Waiting;

/// What the settings say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long an artifact stays after the last plan stopped naming it. One that is in use stays up to twice as long.
    pub retention: TimeDelta,
    /// Since when the clock has run without a jump. Nothing is older than that.
    pub steady: DateTime<Utc>,
    /// Most artifacts that arrive at the same time. One that is stalled holds up no other.
    pub fetch_at_once: usize,
}

/// What a pass sees.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the plan names, in its order.
    pub wanted: &'a [Wanted],
    /// What this server has a record of.
    pub known: &'a [Known],
    /// Manifests that the plan names and that are not here, with the artifacts whose steps name them.
    pub missing: &'a BTreeMap<Digest, BTreeSet<Digest>>,
    /// Until when manifests that could not be fetched are in backoff.
    pub backoffs: &'a BTreeMap<Digest, DateTime<Utc>>,
    /// Torrents of the engine that no record knows.
    pub foreign: &'a BTreeSet<InfoHash>,
    /// The store's disk.
    pub disk: &'a Disk,
}

/// What to do now, in the order in which to do it: room is made before it is used.
pub fn decide(seen: Seen<'_>, rules: Rules, now: DateTime<Utc>) -> Vec<Action> {
    let Seen { wanted, known, missing, backoffs, foreign, disk } = seen;
    let named: BTreeMap<Digest, &Wanted> = wanted.iter().map(|w| (w.artifact.sha256, w)).collect();
    let by_digest: BTreeMap<Digest, &Known> = known.iter().map(|k| (k.artifact(), k)).collect();
    let over = |since: DateTime<Utc>, times: i32| age(since, rules.steady, now) >= rules.retention * times;
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
    let due = |manifest: &Digest| backoffs.get(manifest).is_none_or(|until| *until <= now);
    let loose = missing.iter().filter(|(manifest, artifacts)| due(manifest) && artifacts.iter().any(described));
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
        return wait(Waiting::Backoff { until });
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

#[cfg(test)]
#[path = "plan_retention_tests.rs"]
mod retention_tests;
