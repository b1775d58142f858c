//! Marks of verified slots: their bytes were checked, and nothing was written since. The boot scripts fall back to no other
//! slot.
//!
//! They stand in the digit of a trial's attempts while there is no trial: 0 without marks, else 4, 1 more for slot A and 2
//! more for slot B. A program that does not know them ignores that digit and writes 0 with its next change of the
//! state, so that marks do not outlive what they say.

use fleet_types::Slot;

use crate::state::BootState;

/// The digit when marks are kept and no slot is marked.
const NONE: u8 = 4;

/// Slots whose bytes were verified and not written since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    a: bool,
    b: bool,
}

impl Verified {
    /// Both slots.
    pub const BOTH: Self = Self { a: true, b: true };

    /// This slot and not the other one.
    pub fn only(slot: Slot) -> Self {
        Self { a: slot == Slot::A, b: slot == Slot::B }
    }

    /// Returns whether a slot is marked.
    pub const fn has(self, slot: Slot) -> bool {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// Returns the digit that stands for the marks.
    pub(crate) fn digit(self) -> u8 {
        NONE + u8::from(self.a) + 2 * u8::from(self.b)
    }

    /// Returns the marks that a digit stands for; `None` without marks.
    pub(crate) fn of_digit(digit: u8) -> Option<Self> {
        let bits = digit.checked_sub(NONE).filter(|bits| *bits < 4)?;
        Some(Self { a: bits & 1 != 0, b: bits & 2 != 0 })
    }
}

/// A boot state as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The state.
    pub state: BootState,
    /// The marks; `None` without, as on trial and after a program that does not know them.
    pub verified: Option<Verified>,
}

impl Stored {
    /// No trial, `default` boots, and these slots are marked.
    pub const fn settled(default: Slot, verified: Verified) -> Self {
        Self { state: BootState::settled(default), verified: Some(verified) }
    }
}

impl From<BootState> for Stored {
    fn from(state: BootState) -> Self {
        Self { state, verified: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_has_a_digit_of_its_own_and_other_digits_are_none() {
        for (a, b) in [(false, false), (true, false), (false, true), (true, true)] {
            let marks = Verified { a, b };
            assert_eq!(Verified::of_digit(marks.digit()), Some(marks));
            assert_eq!((marks.has(Slot::A), marks.has(Slot::B)), (a, b));
        }
        for digit in [0, 1, 2, 3, 8, 9] {
            assert_eq!(Verified::of_digit(digit), None);
        }
    }
}
