//! The director of a release, and what its looks find.

use std::time::{Duration, Instant};

use fleet_types::{Slot, TerminalRef, Version};
use lab::{Held, Lab, Part};

/// How long what is started again may take to answer.
pub(super) const COMES_UP: Duration = Duration::from_secs(90);

/// What a look at a frozen part found.
pub(super) enum Look {
    /// The phase, and what proves it.
    Here(String),
    /// It comes soon.
    Near,
    /// It comes later.
    Far,
}

/// Leads one release through its phases in one lab and strikes where it is told to.
pub struct Director<'a> {
    pub(super) lab: &'a Lab,
    pub(super) terminal: TerminalRef,
    pub(super) version: Version,
    pub(super) target: Slot,
    /// Stands still for the phase at hand.
    pub(super) gate: Option<Part>,
    /// The release's row, held for [`super::Phase::Showing`].
    pub(super) held: Option<(Held, Instant)>,
    /// Why the last look showed nothing.
    pub(super) trouble: Option<String>,
}

impl<'a> Director<'a> {
    /// For `version`, whose way ends on `terminal` in slot `target`.
    pub fn new(lab: &'a Lab, terminal: TerminalRef, version: Version, target: Slot) -> Self {
        Self { lab, terminal, version, target, gate: None, held: None, trouble: None }
    }

    /// Lets what stood still for a phase go on.
    pub(super) fn open_gate(&mut self) -> anyhow::Result<()> {
        if let Some(gate) = self.gate.take() {
            self.lab.resume(&gate)?;
        }
        Ok(())
    }
}
