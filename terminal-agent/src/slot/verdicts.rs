//! The verdicts of trials and activations that failed, in words. Pure.

use std::time::Duration;

use bootslot::EditError;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::update::{Retry, Update, Verdict};

/// The attempts are used up, and the agent never ran in any of them.
pub fn never_ran(update: &Update) -> Verdict {
    let Update { target, product, version, .. } = update;
    let text = format!(
        "Slot {target} with {product} {version} was never confirmed: the terminal agent did not get as far as judging \
         it, and the bootloader went back"
    );
    Verdict::new(Reason::new(ReasonCode::FellBack, text), Retry::Never)
}

/// The agent ran in the slot, but the machine restarted before it had judged.
pub fn never_judged(update: &Update) -> Verdict {
    let Update { target, product, version, .. } = update;
    let text = format!(
        "Slot {target} with {product} {version} was started and never confirmed: the terminal agent ran in it, but the \
         machine restarted each time before it had judged it, and the bootloader went back"
    );
    Verdict::new(Reason::new(ReasonCode::FellBack, text), Retry::Never)
}

/// The branch server stayed silent although everything else was healthy.
pub fn branch_silent() -> Verdict {
    let text = "The branch server did not answer from the new slot. The update is repeated once it answers from the old \
                slot.";
    Verdict::new(Reason::new(ReasonCode::BranchUnreachable, text), Retry::Later)
}

/// The slot was not healthy by its deadline, and what it last waited for.
pub fn not_healthy_in_time(deadline: Duration, last: &Reason) -> Verdict {
    let text = format!("Not healthy within {} s: {}", deadline.as_secs(), last.text);
    Verdict::new(Reason::new(ReasonCode::Unhealthy, text), Retry::Never)
}

/// The boot state does not allow the change that was decided.
pub fn boot_state_changed(error: &EditError) -> Verdict {
    Verdict::new(Reason::new(ReasonCode::BootStateChanged, error.to_string()), Retry::Later)
}
