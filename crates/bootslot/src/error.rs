//! Errors of reading and writing the boot state.

use std::io;
use std::path::PathBuf;

use crate::adapters::process::ToolError;
use crate::state::BootState;

/// Length of GRUB's environment block in bytes, always the same.
pub const BLOCK_SIZE: usize = 1024;

/// Damage of an environment block, or of another store of the three variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not 1024 bytes.
    #[error("it has {0} bytes instead of {BLOCK_SIZE}")]
    Length(u64),
    /// No GRUB signature.
    #[error("it does not start with GRUB's signature")]
    Signature,
    /// A truncated last line.
    #[error("its last line is truncated")]
    CutOff,
    /// A line that is neither a comment nor a variable.
    #[error("line {0} is neither a comment nor name=value")]
    Line(usize),
    /// One of our variables is missing.
    #[error("the variable {0} is missing")]
    Missing(&'static str),
    /// One of our variables occurs twice.
    #[error("the variable {0} occurs twice")]
    Twice(&'static str),
    /// One of our variables has an invalid value.
    #[error("the variable {name} has the invalid value {value:?}")]
    Value {
        /// Which variable.
        name: &'static str,
        /// The value, cut to 32 characters.
        value: String,
    },
    /// U-Boot's environment: neither copy has a valid checksum.
    #[error("neither of its two copies has a valid checksum")]
    Copies,
    /// The custom program reports it.
    #[error("its program reports that it has no state: {0:?}")]
    NoState(String),
}

impl BlockError {
    /// The stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length(_) => "block-length",
            Self::Signature => "block-signature",
            Self::CutOff => "block-cut-off",
            Self::Line(_) => "block-line",
            Self::Missing(_) => "block-variable-missing",
            Self::Twice(_) => "block-variable-twice",
            Self::Value { .. } => "block-variable-value",
            Self::Copies => "block-copies",
            Self::NoState(_) => "block-no-state",
        }
    }
}

/// Why the bootloader's state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The store cannot be opened.
    #[error("cannot open the boot environment {path}: check that its partition is mounted and that it was created")]
    Open {
        /// The store.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store's lock cannot be acquired.
    #[error("cannot lock the boot environment {path}")]
    Lock {
        /// The store.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store cannot be read.
    #[error("cannot read the boot environment {path}")]
    Read {
        /// The store.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store cannot be written or synced.
    #[error("cannot write the boot environment {path}: check that its partition is writable")]
    Write {
        /// The store.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store is readable but has no valid state.
    #[error("the boot environment {path} is damaged: create a new one with the running slot")]
    Block {
        /// The store.
        path: PathBuf,
        /// The damage.
        source: BlockError,
    },
    /// Other programs' variables leave no room for ours.
    #[error(
        "other programs' variables leave no room in the boot environment {path}: remove some with `grub-editenv {path} unset NAME`"
    )]
    NoRoom {
        /// The store.
        path: PathBuf,
    },
    /// A new store was requested where a valid one exists.
    #[error("the boot environment {path} is valid, so it is not replaced")]
    AlreadyValid {
        /// The store.
        path: PathBuf,
    },
    /// A bootloader's tool failed.
    #[error("the boot tool {program} failed")]
    Tool {
        /// The program.
        program: PathBuf,
        /// How it failed.
        source: ToolError,
    },
    /// A tool reported success, but reads back another state.
    #[error("{path} accepted the boot state {written:?} but returns {kept:?}: check that its medium is writable")]
    NotKept {
        /// The store, or the program that keeps it.
        path: PathBuf,
        /// The written state.
        written: BootState,
        /// The state read back.
        kept: BootState,
    },
    /// U-Boot's environment is not redundant, or its configuration is invalid.
    #[error(
        "{path} configures {copies} copies of U-Boot's environment instead of 2: a power cut would destroy a single copy"
    )]
    NotRedundant {
        /// The configuration.
        path: PathBuf,
        /// Number of copies.
        copies: usize,
    },
    /// A new environment cannot be created without U-Boot's built-in variables.
    #[error(
        "cannot open U-Boot's built-in variables {path}: install that file, as an environment without bootcmd does not boot"
    )]
    Defaults {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}
