//! What to do next: a pure function of the state, of what was observed, and of the time. No clock, no I/O.
//!
//! A boot variable is never changed and believed: a decision to write it leads to no move, and the next observation
//! shows whether it holds. So a failing write cannot advance a state.

use std::time::Duration;

use bootslot::{BootState, Trial};
use fleet_types::{Digest, Slot};
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::verdicts::{boot_state_changed, branch_silent, never_judged, never_ran, not_healthy_in_time, of_trial};
use crate::model::event::Event;
use crate::model::health::Health;
use crate::model::limits::Limits;
use crate::model::memory::Trouble;
use crate::model::reasons::{boot_id_unknown, engine_unavailable, running_slot_unknown, transfer_trouble};
use crate::model::seen::{BootSeen, Known, Observation, Transfer};
use crate::model::state::State;
use crate::model::update::{Intent, Retry, TrialBoot, Update, Verdict};
use crate::model::wanted::Wanted;

/// Exactly one thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Record that something happened; nothing outside changes.
    Move(Event),
    /// Read the bootloader's state again.
    ///
    /// It could not be read, and that is only borne for so long.
    ReadBoot,
    /// Have the running slot made the default and the other one taken off trial.
    ///
    /// An unusable boot block is replaced.
    Settle,
    /// Have the bootloader try the slot that was written.
    StartTrial,
    /// Have the running slot, which is on trial, made the default.
    Confirm,
    /// Have the running slot taken off trial: the old one boots next.
    GiveUp,
    /// Fetch and check manifest, index and torrent, and whether the update fits this machine.
    Prepare,
    /// Give the torrent to the engine.
    AddTorrent,
    /// Write segments whose bytes are here to the inactive slot.
    WriteSegments {
        /// Their numbers.
        numbers: Vec<u64>,
        /// The torrent is complete: a segment that does not check needs a verification.
        complete: bool,
    },
    /// Let the engine hash the complete torrent again.
    Verify,
    /// Sync the slot, and read all of it back from the medium.
    ReadBack,
    /// Note the boot and the failed units of now, from which the activation begins.
    BeginActivation,
    /// Restart the machine.
    Restart,
    /// Compare the slot that runs, which was delivered, with what the plan wants there.
    CheckRunning(Box<Update>),
    /// Record and count the request, then restart the machine into the trial.
    RestartIntoTrial,
    /// The trial ended and the old slot runs.
    ///
    /// Collect what is left of the failed boots, and record both.
    FallBack {
        /// Why.
        verdict: Verdict,
        /// The boot in which the activation was begun, if that is known.
        begun_in: Option<String>,
    },
    /// Remove an artifact that is no longer wanted from the engine and the disk.
    Drop(Digest),
    /// Nothing, for so long at most.
    Wait {
        /// How long.
        time: Duration,
        /// What for, if there is something to say.
        why: Option<Reason>,
    },
}

/// What to do next. `now` is the time since the machine started.
pub fn decide(state: &State, seen: &Observation, limits: &Limits, now: Duration) -> Action {
    let action = match state {
        State::Idle
        | State::Confirmed { .. }
        | State::Failed { .. }
        | State::RolledBack { .. }
        | State::Withdrawn { .. } => at_rest(seen, limits),
        State::Assigned { update } => before_trial(update, seen, limits, || Action::Prepare),
        State::Fetching { update, done, total, verifies } => {
            before_trial(update, seen, limits, || fetching(seen, limits, (*done, *total), *verifies))
        }
        State::Installing { update, .. } => before_trial(update, seen, limits, || Action::ReadBack),
        State::Ready { update, .. } => before_trial(update, seen, limits, || Action::BeginActivation),
        State::Activating { update, intent, .. } => activating(update, intent, seen, limits, now),
        State::Trying { update, boot, .. } => trying(update, boot, seen, limits, now),
    };
    match (&action, seen.droppable) {
        (Action::Wait { .. }, Some(artifact)) => Action::Drop(artifact),
        _ => action,
    }
}

/// Waits out the backoff of a failure.
fn hold(seen: &Observation) -> Option<Action> {
    let why = seen.trouble.as_ref().map(|t| t.verdict.reason.clone());
    (!seen.retry_in.is_zero()).then_some(Action::Wait { time: seen.retry_in, why })
}

fn wait(time: Duration) -> Action {
    Action::Wait { time, why: None }
}

fn wait_for(time: Duration, why: Reason) -> Action {
    Action::Wait { time, why: Some(why) }
}

fn fail(reason: Reason, retry: Retry) -> Action {
    Action::Move(Event::Fail(Verdict::new(reason, retry)))
}

fn fall_back(verdict: Verdict, begun_in: Option<&str>, seen: &Observation) -> Action {
    Action::FallBack { verdict: of_trial(verdict, seen.unjudged), begun_in: begun_in.map(str::to_owned) }
}

/// Between updates: keep the bootloader tidy, take up what the plan wants.
fn at_rest(seen: &Observation, limits: &Limits) -> Action {
    let running = match &seen.running {
        Known::Is(slot) => *slot,
        Known::Unknown(why) => return wait_for(limits.idle_poll, running_slot_unknown(why)),
    };
    if let Some(hold) = hold(seen) {
        return hold;
    }
    if let Some(action) = settle(running, seen, limits) {
        return action;
    }
    match &seen.wanted {
        Wanted::Step(update) => Action::Move(Event::Assign(update.clone())),
        Wanted::Check(update) => Action::CheckRunning(update.clone()),
        Wanted::Tell(update) => Action::Move(Event::Delivered(update.clone())),
        Wanted::Nothing(why) => {
            Action::Wait { time: limits.idle_poll, why: why.clone().or_else(|| seen.plan_refused.clone()) }
        }
        Wanted::Unknown => Action::Wait { time: limits.idle_poll, why: seen.plan_refused.clone() },
    }
}

/// Settles the boot state before the other slot is touched.
///
/// The running slot is to be the default, and no slot on trial.
fn settle(running: Slot, seen: &Observation, limits: &Limits) -> Option<Action> {
    match &seen.boot {
        BootSeen::Is(boot) if *boot == BootState::settled(running) => None,
        BootSeen::Is(boot) => Some(match boot.adopt(running) {
            Ok(_) => Action::Settle,
            // This boot is a trial that no journal knows of: it cannot be confirmed, so its attempts are used up.
            Err(_) => match seen.restart_asked {
                Some(ago) if ago < limits.restart_patience => wait(limits.idle_poll),
                _ => Action::Restart,
            },
        }),
        BootSeen::Invalid(_) => Some(Action::Settle),
        BootSeen::Unknown(_) => Some(Action::ReadBoot),
    }
}

/// What every state before the activation has in common; then `work`.
fn before_trial(update: &Update, seen: &Observation, limits: &Limits, work: impl FnOnce() -> Action) -> Action {
    if let Some(reason) = superseded(update, &seen.wanted) {
        return Action::Move(Event::Withdraw(reason));
    }
    let running = match &seen.running {
        Known::Is(slot) => *slot,
        Known::Unknown(why) => return wait_for(limits.idle_poll, running_slot_unknown(why)),
    };
    if running == update.target {
        let reason = Reason::of(ReasonCode::SlotChanged).with("slot", running);
        return Action::Move(Event::Withdraw(reason));
    }
    if let Some(verdict) = seen.given_up(limits) {
        return Action::Move(Event::Fail(verdict));
    }
    if let Some(action) = hold(seen).or_else(|| settle(running, seen, limits)) {
        return action;
    }
    work()
}

/// Why the plan does not want this update any more.
///
/// A plan that is not known wants what it wanted.
fn superseded(update: &Update, wanted: &Wanted) -> Option<Reason> {
    let replaced = Reason::of(ReasonCode::Superseded);
    match wanted {
        Wanted::Unknown => None,
        // The payload is what ends up in the slot: another artifact of it is another way to get there.
        Wanted::Step(step) if step.payload.sha256 == update.payload.sha256 => None,
        Wanted::Step(step) => Some(replaced.with("product", &step.product).with("version", &step.version)),
        Wanted::Nothing(_) | Wanted::Check(_) | Wanted::Tell(_) => {
            Some(replaced.with("cause", "A newer plan no longer assigns this release to this terminal."))
        }
    }
}

fn fetching(seen: &Observation, limits: &Limits, (done, total): (u64, u64), verifies: u32) -> Action {
    let Some(work) = seen.work else { return Action::Prepare };
    if work.total != total {
        return Action::Prepare;
    }
    if work.done != done {
        return Action::Move(Event::Progress { done: work.done });
    }
    if done == total {
        return Action::Move(Event::AllWritten);
    }
    match &seen.transfer {
        Known::Unknown(why) => wait_for(limits.engine_poll, engine_unavailable(why)),
        Known::Is(None) => Action::AddTorrent,
        Known::Is(Some(Transfer { ready, complete, .. })) if !ready.is_empty() => Action::WriteSegments {
            numbers: ready.iter().copied().take(limits.batch.max(1)).collect(),
            complete: *complete,
        },
        Known::Is(Some(Transfer { complete: true, refused: true, .. })) if verifies < limits.verifies => Action::Verify,
        Known::Is(Some(Transfer { complete: true, refused: true, .. })) => {
            fail(Reason::of(ReasonCode::ArtifactDoesNotCheck).with("verifies", verifies), Retry::Later)
        }
        Known::Is(Some(Transfer { trouble, .. })) => {
            Action::Wait { time: limits.engine_poll, why: trouble.as_deref().map(transfer_trouble) }
        }
    }
}

fn activating(update: &Update, intent: &Intent, seen: &Observation, limits: &Limits, now: Duration) -> Action {
    let (running, boot_id) = match (&seen.running, &seen.boot_id) {
        (Known::Is(slot), Known::Is(boot_id)) => (*slot, boot_id),
        (Known::Unknown(why), _) => {
            return wait_for(limits.idle_poll, running_slot_unknown(why));
        }
        (_, Known::Unknown(why)) => return wait_for(limits.idle_poll, boot_id_unknown(why)),
    };
    if running == update.target {
        return Action::Move(Event::TrialBooted { boot_id: boot_id.clone(), since: now });
    }
    if *boot_id != intent.boot_id {
        return not_tried(update, intent, running, seen, limits);
    }
    if let Some(reason) = superseded(update, &seen.wanted).filter(|_| intent.restarts == 0) {
        return match &seen.boot {
            BootSeen::Is(boot) if boot.trial.is_some() => match boot.adopt(running) {
                Ok(_) => hold(seen).unwrap_or(Action::Settle),
                Err(error) => Action::Move(Event::Fail(boot_state_changed(&error))),
            },
            _ => Action::Move(Event::Withdraw(reason)),
        };
    }
    if let Some(verdict) = seen.given_up(limits) {
        return Action::Move(Event::Fail(verdict));
    }
    if let Some(hold) = hold(seen) {
        return hold;
    }
    activate(update, intent, running, seen, limits)
}

/// Still in the boot in which the activation began.
fn activate(update: &Update, intent: &Intent, running: Slot, seen: &Observation, limits: &Limits) -> Action {
    if seen.restart_asked.is_some_and(|ago| ago < limits.restart_patience) {
        return wait_for(limits.idle_poll, Reason::of(ReasonCode::Restarting));
    }
    match &seen.boot {
        BootSeen::Is(boot) if boot.default == running && is_on_trial(boot, update.target) => {
            if intent.restarts >= limits.restarts {
                let refused = Reason::of(ReasonCode::RestartRefused).with("restarts", intent.restarts);
                return fail(refused, Retry::Later);
            }
            Action::RestartIntoTrial
        }
        BootSeen::Is(boot) => {
            match boot.adopt(running).and_then(|b| b.start_trial(update.target, limits.trial_attempts)) {
                Ok(_) => Action::StartTrial,
                Err(error) => Action::Move(Event::Fail(boot_state_changed(&error))),
            }
        }
        BootSeen::Invalid(_) => Action::Settle,
        BootSeen::Unknown(_) => Action::ReadBoot,
    }
}

fn is_on_trial(boot: &BootState, slot: Slot) -> bool {
    matches!(boot.trial, Some(Trial { slot: on_trial, left }) if on_trial == slot && left > 0)
}

/// The machine restarted since the activation began, and runs the old slot.
///
/// The boot state says why.
fn not_tried(update: &Update, intent: &Intent, running: Slot, seen: &Observation, limits: &Limits) -> Action {
    if let Some(verdict) = seen.given_up(limits) {
        return Action::Move(Event::Fail(verdict));
    }
    if let Some(hold) = hold(seen) {
        return hold;
    }
    match &seen.boot {
        BootSeen::Is(boot) if is_on_trial(boot, update.target) => {
            if intent.restarts >= limits.restarts {
                return fail(Reason::of(ReasonCode::TrialIgnored), Retry::NextPlan);
            }
            match seen.restart_asked {
                Some(ago) if ago < limits.restart_patience => wait(limits.idle_poll),
                _ => Action::RestartIntoTrial,
            }
        }
        BootSeen::Is(BootState { trial: Some(Trial { slot, .. }), .. }) if *slot == update.target => {
            fall_back(never_ran(update), Some(&intent.boot_id), seen)
        }
        BootSeen::Is(BootState { default, trial: None }) if *default == running => {
            if intent.again >= limits.restarts {
                let reason = Reason::of(ReasonCode::ActivationInterrupted).with("restarts", intent.again + 1);
                return fail(reason, Retry::Later);
            }
            Action::BeginActivation
        }
        BootSeen::Is(_) => {
            fail(Reason::new(ReasonCode::BootStateChanged, "Another process changed the boot state."), Retry::Later)
        }
        BootSeen::Invalid(_) => Action::Settle,
        BootSeen::Unknown(_) => Action::ReadBoot,
    }
}

fn trying(update: &Update, boot: &TrialBoot, seen: &Observation, limits: &Limits, now: Duration) -> Action {
    let (running, boot_id) = match (&seen.running, &seen.boot_id) {
        (Known::Is(slot), Known::Is(boot_id)) => (*slot, boot_id),
        (Known::Unknown(why), _) => {
            return wait_for(limits.health_poll, running_slot_unknown(why));
        }
        (_, Known::Unknown(why)) => return wait_for(limits.health_poll, boot_id_unknown(why)),
    };
    if running != update.target {
        let verdict = boot.verdict.clone().unwrap_or_else(|| never_judged(update));
        return fall_back(verdict, boot.begun_in.as_deref(), seen);
    }
    if *boot_id != boot.boot_id {
        return Action::Move(Event::TrialBooted { boot_id: boot_id.clone(), since: now });
    }
    if boot.verdict.is_some() {
        return leave_trial(update, seen, limits);
    }
    let (unhealthy, tried) = (|v| Action::Move(Event::Unhealthy(v)), now.saturating_sub(boot.since));
    match (&seen.boot, &seen.health) {
        (BootSeen::Is(b), _) if *b == BootState::settled(running) => Action::Move(Event::Confirmed),
        (_, Known::Is(Health::Unhealthy(reason))) => unhealthy(Verdict { reason: reason.clone(), retry: Retry::Never }),
        (BootSeen::Is(b), Known::Is(Health::Healthy)) => match (b.confirm(running), seen.given_up(limits)) {
            (Ok(_), Some(verdict)) => unhealthy(verdict),
            (Ok(_), None) => hold(seen).unwrap_or(Action::Confirm),
            (Err(error), _) => unhealthy(boot_state_changed(&error)),
        },
        (_, Known::Is(Health::NotYet { branch_silent: true, others: false, .. })) if tried >= limits.branch_wait => {
            unhealthy(branch_silent())
        }
        (_, Known::Is(Health::NotYet { branch_silent: true, .. })) if tried >= limits.trial_deadline => {
            unhealthy(branch_silent())
        }
        (BootSeen::Invalid(_), _) if tried < limits.trial_deadline => hold(seen).unwrap_or(Action::Settle),
        (_, health) => {
            let why = health.not_yet();
            if tried < limits.trial_deadline {
                return Action::Wait { time: limits.health_poll, why: Some(why) };
            }
            unhealthy(not_healthy_in_time(limits.trial_deadline, &why))
        }
    }
}

/// The trial is lost: make the old slot the next one to boot, then restart.
///
/// If even that cannot be written, restart all the same: the bootloader's attempts run out by themselves.
fn leave_trial(update: &Update, seen: &Observation, limits: &Limits) -> Action {
    if seen.restart_asked.is_some_and(|ago| ago < limits.restart_patience) {
        return wait(limits.health_poll);
    }
    if let Some(hold) = hold(seen) {
        return hold;
    }
    let old = BootState::settled(update.target.other());
    let tired = matches!(&seen.trouble, Some(Trouble { count, .. }) if *count >= limits.attempts);
    match &seen.boot {
        BootSeen::Is(boot) if *boot != old && !tired => Action::GiveUp,
        BootSeen::Invalid(_) if !tired => Action::GiveUp,
        _ => Action::Restart,
    }
}
