//! The verdicts of trials and activations that failed, in words. Pure.

use std::time::Duration;

use bootslot::EditError;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::limits::UNJUDGED_TRIALS;
use crate::model::reasons::continued;
use crate::model::update::{Retry, Update, Verdict};

/// The attempts are used up, and the agent never ran in any of them.
pub fn never_ran(update: &Update) -> Verdict {
    let Update { target, product, version, .. } = update;
    let text = format!(
        "Slot {target} with {product} {version} was never confirmed: the terminal agent did not get as far as judging \
         it, and the bootloader went back"
    );
    Verdict::new(Reason::new(ReasonCode::FellBack, text), Retry::Later)
}

/// The agent ran in the slot, but the machine restarted before it had judged.
pub fn never_judged(update: &Update) -> Verdict {
    let Update { target, product, version, .. } = update;
    let text = format!(
        "Slot {target} with {product} {version} was started and never confirmed: the terminal agent ran in it, but the \
         machine restarted each time before it had judged it, and the bootloader went back"
    );
    Verdict::new(Reason::new(ReasonCode::FellBack, text), Retry::Later)
}

/// The branch server stayed silent although everything else was healthy.
pub fn branch_silent() -> Verdict {
    let text = "The branch server did not answer from the new slot.";
    Verdict::new(Reason::new(ReasonCode::BranchUnreachable, text), Retry::Later)
}

/// No check failed, but not all had passed by the deadline; and what was last waited for.
pub fn not_healthy_in_time(deadline: Duration, last: &Reason) -> Verdict {
    let text = format!("Not healthy within {} s: {}", deadline.as_secs(), last.text);
    Verdict::new(Reason::new(ReasonCode::NotHealthyYet, text), Retry::Later)
}

/// The verdict on a trial that fell back, `before` earlier ones of the payload having ended without a judgement.
///
/// What says nothing about the payload (clock, power, branch server, a check that never came to an end) is tried again. Once
/// that was in vain often enough, whatever the plans, the payload is to blame.
pub fn of_trial(verdict: Verdict, before: u32) -> Verdict {
    if verdict.retry == Retry::Never {
        return verdict;
    }
    let trial = before.saturating_add(1);
    let (retry, next) = match trial < UNJUDGED_TRIALS {
        true => (verdict.retry, "the release is tried again"),
        false => (Retry::Never, "the release is not tried again on this terminal"),
    };
    let next = format!("Trial {trial} of {UNJUDGED_TRIALS} without a judgement: {next}.");
    Verdict { reason: continued(&verdict.reason, &next), retry }
}

/// The boot state does not allow the change that was decided.
pub fn boot_state_changed(error: &EditError) -> Verdict {
    Verdict::new(Reason::new(ReasonCode::BootStateChanged, error.to_string()), Retry::Later)
}
