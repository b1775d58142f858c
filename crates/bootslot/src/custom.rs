//! The `custom` backend: a machine-specific program for other bootloaders.
//!
//! # Protocol
//! `PROGRAM [ARGUMENTS] get` prints the state on its standard output, in these three lines in any order, and exits 0:
//!
//! ```text
//! default=A
//! trial=B
//! trial_left=2
//! ```
//!
//! `default` is `A` or `B`; `trial` is the other one or nothing (`trial=`); `trial_left` is one digit. Without a trial it is
//! 0, or, if `boot.custom_marks` says that the bootloader looks at marks, 4 plus 1 if slot A and 2 if slot B is verified: then it
//! falls back to no slot that is not. If its store is readable but has no state (never written, or damaged), it exits 65 (`EX_DATAERR`). Any other
//! exit is a failure, explained on standard error.
//!
//! `PROGRAM [ARGUMENTS] set` reads the same three lines from its standard input, to the end, and replaces the state
//! as one step: cut at any instant, the old state stands or the new one. It exits 0 only when the new one has reached
//! the medium, and replaces a store that holds no state too. What else lies in the store it leaves alone.
//!
//! Both run as root, with `PATH` and `LC_ALL=C` as their only environment, end within the time limit and say at most
//! 4096 bytes; children that they leave behind are killed. The bootloader's own side is up to the machine: with a trial that has attempts left it takes one off,
//! saves, and boots the trial's slot; what cannot be saved is not tried; otherwise it boots the default.

use std::path::PathBuf;
use std::time::Duration;

use crate::adapters::process::{self, ToolError};
use fleet_types::Slot;

use crate::error::{BlockError, BootError};
use crate::fields::{self, LinesError};
use crate::marks::{Stored, Verified};
use crate::slots::BootSlots;
use crate::state::BootState;

/// The exit code for a store without a state, as in sysexits.h.
const NO_STATE: i32 = 65;

const NAMES: [&str; 3] = ["default", "trial", "trial_left"];

/// A program that stores the state.
#[derive(Debug, Clone)]
pub struct CustomProgram {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Arguments before `get` or `set`.
    pub arguments: Vec<String>,
    /// The time limit.
    pub limit: Duration,
    /// Whether program and bootloader know marks of verified slots.
    pub marks: bool,
}

impl CustomProgram {
    /// `program` with `arguments`, and the usual time limit.
    pub fn new(program: impl Into<PathBuf>, arguments: Vec<String>) -> Self {
        Self { program: program.into(), arguments, limit: Duration::from_secs(20), marks: false }
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<Vec<u8>, BootError> {
        let arguments = self.arguments.iter().map(String::as_str).chain([verb]);
        let ended = process::run(&self.program, arguments, input, self.limit).map_err(|e| self.failed(e))?;
        if verb == "get" && ended.status.code() == Some(NO_STATE) {
            return Err(self.unusable(BlockError::NoState(process::one_line(&ended.errors))));
        }
        ended.success().map_err(|e| self.failed(e))
    }

    fn set(&self, stored: &Stored) -> Result<(), BootError> {
        self.run("set", fields::to_lines(NAMES, stored).as_bytes())?;
        let kept = self.read_marked()?;
        match kept == *stored {
            true => Ok(()),
            false => Err(BootError::NotKept { path: self.program.clone(), written: stored.state, kept: kept.state }),
        }
    }

    fn failed(&self, source: ToolError) -> BootError {
        BootError::Tool { program: self.program.clone(), source }
    }

    fn unusable(&self, source: BlockError) -> BootError {
        BootError::Block { path: self.program.clone(), source }
    }
}

impl BootSlots for CustomProgram {
    fn read(&self) -> Result<BootState, BootError> {
        self.read_marked().map(|stored| stored.state)
    }

    fn keeps_marks(&self) -> bool {
        self.marks
    }

    fn read_marked(&self) -> Result<Stored, BootError> {
        let output = self.run("get", b"")?;
        fields::from_lines(NAMES, &output).map_err(|error| {
            let why = match error {
                LinesError::Answer(why) => why,
                LinesError::State(_) => "these values are not a valid state; without a state it must exit 65",
            };
            self.failed(ToolError::Answer { said: process::one_line(&output), why })
        })
    }

    fn write(&self, state: &BootState) -> Result<(), BootError> {
        self.read()?;
        self.set(&(*state).into())
    }

    fn mark(&self, default: Slot, verified: Verified) -> Result<(), BootError> {
        self.read()?;
        let verified = Some(verified).filter(|_| self.marks);
        self.set(&Stored { state: BootState::settled(default), verified })
    }

    fn create(&self, state: &BootState) -> Result<(), BootError> {
        match self.read() {
            Ok(_) => Err(BootError::AlreadyValid { path: self.program.clone() }),
            Err(BootError::Block { .. }) => self.set(&(*state).into()),
            Err(error) => Err(error),
        }
    }
}
