//! What came of an action.

use fleet_types::Digest;
use service_kit::edge::chain;
use wire::ReasonCode;

use crate::model::event::Event;
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
    pub fn bounded(code: impl Into<ReasonCode>, text: impl AsRef<str>, retry: Retry) -> Self {
        Self::Trouble { verdict: Verdict::new(code, text, retry), bounded: true }
    }

    /// Trouble with something that the root helper does: waited out if it does not answer.
    pub fn of_port(code: impl Into<ReasonCode>, error: &(dyn std::error::Error + 'static), retry: Retry) -> Self {
        match HelperTrouble::is_behind(error) {
            true => Self::waits(ReasonCode::HelperUnreachable, chain(error)),
            false => Self::bounded(code, chain(error), retry),
        }
    }

    /// Trouble that is waited out.
    pub fn waits(code: impl Into<ReasonCode>, text: impl AsRef<str>) -> Self {
        Self::Trouble { verdict: Verdict::new(code, text, Retry::Later), bounded: false }
    }

    /// The update ends with this verdict.
    pub fn fail(code: impl Into<ReasonCode>, text: impl AsRef<str>, retry: Retry) -> Self {
        Self::Event(Event::Fail(Verdict::new(code, text, retry)))
    }
}

/// What the root helper's trouble means for anything but a trial.
pub fn of_helper(trouble: &HelperTrouble) -> Outcome {
    Outcome::of_port(trouble.reason().code, trouble, Retry::Later)
}
