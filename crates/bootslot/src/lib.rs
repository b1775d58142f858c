//! Boot slots: which slot boots by default, which one is on trial, and how often it may still be tried.
//!
//! Decide as values, write explicitly: [`BootState`] is a plain value that is edited without touching any disk, and
//! a [`BootSlots`] backend reads it and writes it as one step. This crate must never decide when to switch, never
//! restart a machine, and never write anything but the bootloader's variables.

mod adapters;
mod block;
mod cmdline;
mod custom;
mod fields;
mod grub;
mod state;
mod uboot;

use std::io;
use std::path::PathBuf;

pub use adapters::process::{MOST_OUTPUT, ToolError};
pub use block::{BLOCK_SIZE, BlockError, read_block};
pub use cmdline::{RunningSlotError, SlotRoots, running_slot};
pub use custom::CustomProgram;
pub use grub::GrubEnv;
pub use state::{BootState, EditError, MAX_ATTEMPTS, Trial};
pub use uboot::UBootEnv;

/// Where a bootloader keeps its state.
pub trait BootSlots: Send + Sync {
    /// The state as it stands on the medium.
    ///
    /// # Errors
    /// The store is missing, unreadable or does not hold a state.
    fn read(&self) -> Result<BootState, BootError>;

    /// Replaces the state. When this returns, it has reached the medium; when it fails, the old state still stands
    /// or the next [`BootSlots::read`] says that it does not.
    ///
    /// # Errors
    /// The store is missing, invalid or cannot be written.
    fn write(&self, state: &BootState) -> Result<(), BootError>;

    /// Makes a fresh store that holds `state`, in place of one that [`BootSlots::read`] calls unusable.
    ///
    /// # Errors
    /// A usable one is there already, or the fresh one cannot be written.
    fn create(&self, state: &BootState) -> Result<(), BootError>;
}

/// Why the bootloader's state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The store cannot be opened.
    #[error("cannot open the boot environment {path}: check that its partition is mounted and the block was created")]
    Open {
        /// The store.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else's lock on the store could not be waited for.
    #[error("cannot lock the boot environment {path}")]
    Lock {
        /// The store.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store cannot be read.
    #[error("cannot read the boot environment {path}")]
    Read {
        /// The store.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store cannot be written or synced.
    #[error("cannot write the boot environment {path}: check that its partition is writable")]
    Write {
        /// The store.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store can be reached and does not hold a usable state.
    #[error("the boot environment {path} is not usable: make a fresh one with the slot that runs now")]
    Block {
        /// The store.
        path: PathBuf,
        /// What is wrong with it.
        source: BlockError,
    },
    /// A fresh block was asked for where a good one lies.
    #[error("the boot environment {path} is in order already: it is not replaced by a fresh one")]
    AlreadyValid {
        /// The store.
        path: PathBuf,
    },
    /// A bootloader's tool did not do its work.
    #[error("the boot tool {program} failed")]
    Tool {
        /// The program.
        program: PathBuf,
        /// How it failed.
        source: ToolError,
    },
    /// A tool said that it wrote, and reads back something else.
    #[error(
        "{path} took the boot state {written:?} and gives back {kept:?}: check that its medium keeps what is written"
    )]
    NotKept {
        /// The store, or the program that keeps it.
        path: PathBuf,
        /// What it was told.
        written: BootState,
        /// What it says now.
        kept: BootState,
    },
    /// U-Boot's environment has one copy, or the configuration is something else.
    #[error("{path} names {copies} copies of U-Boot's environment instead of 2: with one alone a power cut loses it")]
    NotRedundant {
        /// The configuration.
        path: PathBuf,
        /// How many it names.
        copies: usize,
    },
    /// A fresh environment cannot be made without U-Boot's own variables.
    #[error(
        "cannot open U-Boot's built-in variables {path}, and an environment without bootcmd would boot nothing: install that file"
    )]
    Defaults {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
