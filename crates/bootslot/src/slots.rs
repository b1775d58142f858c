//! The trait that every bootloader's store implements.

use fleet_types::Slot;

use crate::error::BootError;
use crate::marks::{Stored, Verified};
use crate::state::BootState;

/// A bootloader's store of the boot state.
pub trait BootSlots: Send + Sync {
    /// Reads the state from the medium.
    ///
    /// # Errors
    /// The store is missing, unreadable or does not hold a state.
    fn read(&self) -> Result<BootState, BootError>;

    /// Replaces the state durably; it is without marks then.
    ///
    /// On failure the old state remains, or the next [`BootSlots::read`] reports the damage.
    ///
    /// # Errors
    /// The store is missing, invalid or cannot be written.
    fn write(&self, state: &BootState) -> Result<(), BootError>;

    /// Creates a new store with `state`, in place of a missing or damaged one.
    ///
    /// # Errors
    /// A valid store exists, or the new one cannot be written.
    fn create(&self, state: &BootState) -> Result<(), BootError>;

    /// Returns whether the store keeps marks of verified slots.
    fn keeps_marks(&self) -> bool {
        false
    }

    /// Reads the state with its marks.
    ///
    /// # Errors
    /// As [`BootSlots::read`].
    fn read_marked(&self) -> Result<Stored, BootError> {
        self.read().map(Stored::from)
    }

    /// Replaces the state by a settled one with these marks, durably and in every place where marks are kept.
    ///
    /// Without marks where the store keeps none.
    ///
    /// # Errors
    /// As [`BootSlots::write`].
    fn mark(&self, default: Slot, _verified: Verified) -> Result<(), BootError> {
        self.write(&BootState::settled(default))
    }
}
