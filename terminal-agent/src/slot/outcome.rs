//! What came of an action.

use fleet_types::{Digest, Slot};
use service_kit::edge::chain;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::event::Event;
use crate::model::reasons::{helper_unreachable, of_error};
use crate::model::update::{Retry, Verdict};
use crate::ports::HelperTrouble;

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Something happened that the transition table wants to know.
    Event(Event),
    /// Done; the next observation shows what came of it.
    Done,
    /// An artifact is gone from the engine and the disk.
    Dropped(Digest),
    /// A slot that was delivered does not hold what the plan wants, as far as it can be read.
    Differs {
        /// The slot.
        slot: Slot,
        /// Why it could not be compared, if it counts as different for that.
        unreadable: Option<Reason>,
    },
    /// It did not work. If `bounded`, failing often enough ends the update with this verdict.
    Trouble {
        /// Why, and when it may be tried again.
        verdict: Verdict,
        /// Whether it is counted against the update.
        bounded: bool,
    },
    /// Housekeeping did not work; it has time.
    Later(String),
}

impl Outcome {
    /// Trouble that ends the update when it repeats.
    pub fn bounded(reason: Reason, retry: Retry) -> Self {
        Self::Trouble { verdict: Verdict::new(reason, retry), bounded: true }
    }

    /// Trouble with something that the root helper does: waited out if it does not answer.
    pub fn of_port(code: ReasonCode, error: &(dyn std::error::Error + 'static), retry: Retry) -> Self {
        match HelperTrouble::is_behind(error) {
            true => Self::waits(helper_unreachable(chain(error))),
            false => Self::bounded(of_error(code, error), retry),
        }
    }

    /// Trouble that is waited out.
    pub fn waits(reason: Reason) -> Self {
        Self::Trouble { verdict: Verdict::new(reason, Retry::Later), bounded: false }
    }

    /// The update ends with this verdict.
    pub fn fail(reason: Reason, retry: Retry) -> Self {
        Self::Event(Event::Fail(Verdict::new(reason, retry)))
    }
}

/// What the root helper's trouble means for anything but a trial.
pub fn of_helper(trouble: &HelperTrouble) -> Outcome {
    match trouble {
        HelperTrouble::Away(_) => Outcome::waits(trouble.reason()),
        HelperTrouble::Refused(reason) => Outcome::bounded(reason.clone(), Retry::Later),
    }
}
