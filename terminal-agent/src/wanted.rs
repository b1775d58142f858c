//! What the plan wants of this terminal: pure.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest, Slot, TerminalName, Version};
use trust::plans::{Claim, VerifiedPlan, check_claim};
use wire::v1::plan::Step;
use wire::v1::reports::Reason;

use crate::believed::reason;
use crate::journal::Memory;
use crate::state::{Then, Update};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No plan is known, or not enough of this terminal to read it: go on as before, begin nothing.
    Unknown,
    /// Nothing, and why, if there is something to say.
    Nothing(Option<Reason>),
    /// This update.
    Step(Box<Update>),
}

/// Who reads the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The branch that this terminal enrolled at.
    pub branch: BranchName,
    /// Its name.
    pub name: TerminalName,
}

/// How a bad end is followed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most further attempts under one plan.
    pub attempts: u32,
    /// The wait before the first; it doubles with each.
    pub wait: TimeDelta,
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: Slot,
    /// Its version.
    pub version: Version,
}

/// The first step of an accepted plan that names this terminal and is not done yet. `current` is the payload being
/// installed: what was remembered of it must not stop it.
pub fn wanted(
    plan: &VerifiedPlan,
    me: &Me,
    running: &Running,
    memory: &Memory,
    policy: &RetryPolicy,
    current: Option<&Digest>,
    now: DateTime<Utc>,
) -> Wanted {
    let (mut why, serial) = (None, plan.plan().serial);
    for step in plan.plan().steps.iter().filter(|s| s.terminals.contains(&me.name)) {
        if is_done(step, running, memory) {
            continue;
        }
        if let Err(refusal) = check_claim(plan, claim(step, me, running)) {
            why = Some(reason(&refusal));
            continue;
        }
        let mine = current == Some(&step.payload.sha256);
        // A later step may need this one: the order is the plan's.
        if let Some(reason) = held_back(step, serial, memory, policy, now).filter(|_| !mine) {
            return Wanted::Nothing(Some(reason));
        }
        return Wanted::Step(Box::new(Update {
            serial,
            product: step.product.clone(),
            version: step.version.clone(),
            manifest: step.manifest,
            payload: step.payload.clone(),
            artifact: step.artifact.clone(),
            target: running.slot.other(),
        }));
    }
    Wanted::Nothing(why)
}

/// What would be installed by this step.
fn claim<'a>(step: &'a Step, me: &'a Me, running: &'a Running) -> Claim<'a> {
    let (manifest, payload) = (step.manifest, step.payload.sha256);
    Claim { terminal: &me.name, product: &step.product, manifest, payload, installed: Some(&running.version) }
}

/// Whether the step's payload runs, confirmed. What a slot was provisioned with is taken at its version.
fn is_done(step: &Step, running: &Running, memory: &Memory) -> bool {
    step.version == running.version
        && memory.confirmed.get(&running.slot).is_none_or(|payload| *payload == step.payload.sha256)
}

fn held_back(step: &Step, serial: u64, memory: &Memory, policy: &RetryPolicy, now: DateTime<Utc>) -> Option<Reason> {
    let payload = &step.payload.sha256;
    if let Some(blamed) = memory.blamed.get(payload) {
        let text = format!("{} {} failed here before: {}", step.product, step.version, blamed.reason.text);
        return Some(Reason::new("failed-before", text));
    }
    // Another plan is another chance. Its serial may be lower, too: a new plan key begins anew.
    let setback = memory.setbacks.get(payload).filter(|s| serial == s.serial)?;
    let again = |text: String| Some(Reason::new(&setback.reason.code, text));
    if setback.then == Then::NextPlan || setback.count > policy.attempts {
        return again(format!("waits for a newer plan, because: {}", setback.reason.text));
    }
    let wait = policy.wait * 2i32.saturating_pow(setback.count.saturating_sub(1).min(10));
    let due = setback.at + wait;
    // A clock that was set back must not make the wait longer than it is.
    if now >= setback.at && now < due {
        return again(format!("is tried again after {}, because: {}", due.format("%F %T UTC"), setback.reason.text));
    }
    None
}
