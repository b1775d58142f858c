//! Boot slots: the default slot, the slot on trial, and its remaining attempts.
//!
//! [`BootState`] is a plain value, edited without touching a disk; a [`BootSlots`] backend reads and writes it in one step.
//! This crate must never decide when to switch, restart a machine, or write anything but the bootloader's variables.

mod adapters;
mod block;
mod cmdline;
mod custom;
mod error;
mod fields;
mod grub;
mod marks;
mod slots;
mod state;
mod uboot;

pub use adapters::process::{MOST_OUTPUT, ToolError};
pub use block::read_block;
pub use cmdline::{RunningSlotError, SlotRoots, running_slot};
pub use custom::CustomProgram;
pub use error::{BLOCK_SIZE, BlockError, BootError};
pub use grub::GrubEnv;
pub use marks::{Stored, Verified};
pub use slots::BootSlots;
pub use state::{BootState, EditError, MAX_ATTEMPTS, Trial};
pub use uboot::UBootEnv;
