//! What the plan wants of this terminal.

use fleet_types::{BranchName, Slot, TerminalName, Version};
use wire::v1::reports::Reason;

use super::update::Update;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No plan is known, or not enough of this terminal to read it.
    ///
    /// Go on as before, begin nothing.
    Unknown,
    /// Nothing, and why, if there is something to say.
    Nothing(Option<Reason>),
    /// That the slot that runs, which was delivered, is compared with this.
    Check(Box<Update>),
    /// That it is confirmed again: it runs and was confirmed here, and another update was under way since.
    Tell(Box<Update>),
    /// This update.
    Step(Box<Update>),
}

/// The terminal that a plan is read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The branch that this terminal enrolled at.
    pub branch: BranchName,
    /// Its name.
    pub name: TerminalName,
}

/// What runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The slot.
    pub slot: Slot,
    /// Its version.
    pub version: Version,
}
