//! The trait that every bootloader's store implements.

use crate::error::BootError;
use crate::state::BootState;

/// A bootloader's store of the boot state.
pub trait BootSlots: Send + Sync {
    /// Reads the state from the medium.
    ///
    /// # Errors
    /// The store is missing, unreadable or does not hold a state.
    fn read(&self) -> Result<BootState, BootError>;

    /// Replaces the state durably.
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
}
