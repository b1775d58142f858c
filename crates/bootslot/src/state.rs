//! The state of both slots as a value. Nothing here touches a disk.

use fleet_types::Slot;
use serde::{Deserialize, Serialize};

/// Most attempts that a trial may have.
///
/// The counter is one digit, so that the block never changes its length.
pub const MAX_ATTEMPTS: u8 = 9;

/// What the bootloader does next.
///
/// With a trial that has attempts left it takes one off, saves, and boots the trial's slot; otherwise it boots the
/// default slot. A confirmed boot writes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootState {
    /// The confirmed slot.
    pub default: Slot,
    /// The slot being tried, if one is.
    pub trial: Option<Trial>,
}

/// A slot on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which slot.
    pub slot: Slot,
    /// How many boots it still has; 0 when the last one was begun.
    pub left: u8,
}

/// An edit that would endanger the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The confirmed slot cannot be tried: there would be nothing to fall back on.
    #[error("slot {0} is the default; only the other slot can be tried")]
    TrialOfDefault(Slot),
    /// No attempts, or more than the counter holds.
    #[error("a trial must have 1 to {MAX_ATTEMPTS} attempts; {0} were given")]
    Attempts(u8),
    /// The slot that runs was not on trial.
    #[error("slot {0} is running but not on trial, so there is nothing to confirm")]
    NotOnTrial(Slot),
    /// The slot that runs is on trial and must earn its place by [`BootState::confirm`].
    #[error("slot {0} is on trial; it becomes the default only when confirmed")]
    StillOnTrial(Slot),
}

impl BootState {
    /// No trial; `default` boots.
    pub const fn settled(default: Slot) -> Self {
        Self { default, trial: None }
    }

    /// Puts `slot` on trial for `attempts` boots.
    ///
    /// # Errors
    /// `slot` is the default, or the number of attempts is outside 1 to [`MAX_ATTEMPTS`].
    pub fn start_trial(self, slot: Slot, attempts: u8) -> Result<Self, EditError> {
        if slot == self.default {
            return Err(EditError::TrialOfDefault(slot));
        }
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            return Err(EditError::Attempts(attempts));
        }
        Ok(Self { default: self.default, trial: Some(Trial { slot, left: attempts }) })
    }

    /// Ends any trial: the next boot is the default slot.
    #[must_use]
    pub const fn clear_trial(self) -> Self {
        Self::settled(self.default)
    }

    /// The trial's slot runs and is good: it becomes the default.
    ///
    /// Doing it again changes nothing.
    ///
    /// # Errors
    /// `running` was not the slot on trial.
    pub fn confirm(self, running: Slot) -> Result<Self, EditError> {
        match self.trial {
            Some(trial) if trial.slot == running => Ok(Self::settled(running)),
            None if self.default == running => Ok(self),
            _ => Err(EditError::NotOnTrial(running)),
        }
    }

    /// The slot that runs becomes the default and any trial of the other one ends.
    ///
    /// For a machine whose bootloader had to take another slot than its default: before that default is overwritten,
    /// it must not be one any more.
    ///
    /// # Errors
    /// `running` is itself on trial.
    pub fn adopt(self, running: Slot) -> Result<Self, EditError> {
        match self.trial {
            Some(trial) if trial.slot == running => Err(EditError::StillOnTrial(running)),
            _ => Ok(Self::settled(running)),
        }
    }

    /// What the bootloader boots now, and the state that it leaves behind.
    ///
    /// Simulators and tests use it.
    #[must_use]
    pub const fn boot(self) -> (Slot, Self) {
        match self.trial {
            Some(Trial { slot, left }) if left > 0 => {
                (slot, Self { default: self.default, trial: Some(Trial { slot, left: left - 1 }) })
            }
            _ => (self.default, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Slot::{A, B};

    #[test]
    fn a_trial_is_booted_as_often_as_it_has_attempts_and_then_never() {
        let mut state = BootState::settled(A).start_trial(B, 2).unwrap();
        let mut booted = Vec::new();
        for _ in 0..4 {
            let (slot, after) = state.boot();
            booted.push(slot);
            state = after;
        }
        assert_eq!(booted, [B, B, A, A]);
        assert_eq!(state.trial, Some(Trial { slot: B, left: 0 }));
    }

    #[test]
    fn a_trial_in_its_last_attempt_can_still_be_confirmed() {
        let (running, state) = BootState::settled(A).start_trial(B, 1).unwrap().boot();
        let state = state.confirm(running).unwrap();
        assert_eq!(state, BootState::settled(B));
        assert_eq!(state.confirm(B), Ok(state), "confirming again changes nothing");
    }

    #[test]
    fn forbidden_edits_are_errors() {
        let state = BootState::settled(A);
        assert_eq!(state.start_trial(A, 3), Err(EditError::TrialOfDefault(A)));
        assert_eq!(state.start_trial(B, 0), Err(EditError::Attempts(0)));
        assert_eq!(state.start_trial(B, 10), Err(EditError::Attempts(10)));
        assert_eq!(state.confirm(B), Err(EditError::NotOnTrial(B)));
        let trial = state.start_trial(B, 3).unwrap();
        assert_eq!(trial.confirm(A), Err(EditError::NotOnTrial(A)), "the old slot runs: the trial did not");
        assert_eq!(trial.adopt(B), Err(EditError::StillOnTrial(B)));
        assert_eq!(trial.adopt(A), Ok(BootState::settled(A)));
        assert_eq!(state.adopt(B), Ok(BootState::settled(B)));
        assert_eq!(trial.clear_trial(), state);
    }
}
