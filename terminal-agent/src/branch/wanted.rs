//! What the followed plan wants of this terminal. No I/O, no clock.

use chrono::{DateTime, Utc};
use trust::planned::{self, PlannedStep};
use trust::plans::{Claim, VerifiedPlan, check_claim};
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::limits::RetryPolicy;
use crate::model::memory::Memory;
use crate::model::reasons::reason;
use crate::model::state::State;
use crate::model::update::{Retry, Update};
use crate::model::wanted::{Recipient, Running, Wanted};

/// The plan in force, as decisions see it.
#[derive(Debug, Clone, Copy)]
pub struct PlanInForce<'a> {
    /// The plan that is followed.
    pub plan: Option<&'a VerifiedPlan>,
    /// This terminal; `None` before it enrolled.
    pub recipient: Option<&'a Recipient>,
    /// Why the plan that the branch server offers is not followed.
    pub refused: Option<&'a Reason>,
    /// The time that plans are judged by.
    ///
    /// The clock, or the newest verified time if that is later.
    pub time: DateTime<Utc>,
}

/// The first step of an accepted plan that names this terminal and is not done yet.
///
/// What was remembered of the payload that `state` installs must not stop it. What runs and was confirmed is told again if `state` is of
/// another update: head office waits for a statement by this plan.
pub fn wanted(
    plan: &VerifiedPlan,
    recipient: &Recipient,
    running: &Running,
    memory: &Memory,
    policy: &RetryPolicy,
    state: &State,
    now: DateTime<Utc>,
) -> Wanted {
    let (mut why, mut again, serial) = (None, None, plan.plan().serial);
    let last = state.update().map(|update| &update.payload.sha256);
    let is_confirmed = matches!(state, State::Confirmed { .. });
    let current = last.filter(|_| state.is_active());
    for step in planned::steps(plan.plan()).filter(|s| s.terminals.contains(&recipient.name)) {
        let runs = runs(&step, running, memory);
        let update = |target| {
            Box::new(Update {
                serial,
                product: step.product.clone(),
                version: step.version.clone(),
                manifest: step.manifest,
                payload: step.payload.clone(),
                artifact: step.artifacts.choose().clone(),
                target,
            })
        };
        if runs == Runs::Payload {
            let is_told = last.is_none_or(|payload| is_confirmed && *payload == step.payload.sha256);
            again = Some(update(running.slot)).filter(|_| !is_told);
            continue;
        }
        if let Err(refusal) = check_claim(plan, claim(&step, recipient, running)) {
            why = Some(reason(&refusal));
            continue;
        }
        if runs == Runs::Version {
            return Wanted::Check(update(running.slot));
        }
        let mine = current == Some(&step.payload.sha256);
        // A later step may need this one: the order is the plan's.
        if let Some(reason) = held_back(&step, serial, memory, policy, now).filter(|_| !mine) {
            return Wanted::Nothing(Some(reason));
        }
        return Wanted::Step(update(running.slot.other()));
    }
    match (why, again) {
        (None, Some(update)) => Wanted::Tell(update),
        (why, _) => Wanted::Nothing(why),
    }
}

/// What would be installed by this step.
fn claim<'a>(step: &PlannedStep<'a>, recipient: &'a Recipient, running: &'a Running) -> Claim<'a> {
    let (manifest, payload) = (step.manifest, step.payload.sha256);
    Claim { terminal: &recipient.name, product: step.product, manifest, payload, installed: Some(&running.version) }
}

/// What runs, compared with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// Its payload, confirmed.
    Payload,
    /// Its version, in a slot that was delivered: what it holds is not known yet.
    Version,
    /// Something else.
    Other,
}

fn runs(step: &PlannedStep<'_>, running: &Running, memory: &Memory) -> Runs {
    match memory.confirmed.get(&running.slot) {
        _ if *step.version != running.version => Runs::Other,
        None => Runs::Version,
        Some(payload) if *payload == step.payload.sha256 => Runs::Payload,
        Some(_) => Runs::Other,
    }
}

fn held_back(
    step: &PlannedStep<'_>,
    serial: u64,
    memory: &Memory,
    policy: &RetryPolicy,
    now: DateTime<Utc>,
) -> Option<Reason> {
    let payload = &step.payload.sha256;
    if let Some(blamed) = memory.blamed.get(payload) {
        let failed = Reason::of(ReasonCode::FailedBefore).with("product", step.product).with("version", step.version);
        return Some(failed.with("earlier", &blamed.reason.text));
    }
    // Another plan is another chance. Its serial may be lower, too: a new plan key starts its serials again.
    let setback = memory.setbacks.get(payload).filter(|s| serial == s.serial)?;
    let again = |text: String| Some(Reason::new(&setback.reason.code, text));
    if setback.retry == Retry::NextPlan || setback.count > policy.attempts {
        return again(format!("Waiting for a newer plan: {}", setback.reason.text));
    }
    let wait = policy.wait * 2i32.saturating_pow(setback.count.saturating_sub(1).min(10));
    let due = setback.at + wait;
    // A clock that was set back must not make the wait longer than it is.
    if now >= setback.at && now < due {
        return again(format!("Next attempt after {}: {}", due.format("%F %T UTC"), setback.reason.text));
    }
    None
}
