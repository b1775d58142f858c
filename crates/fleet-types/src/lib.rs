//! The words of Filial as types: identifiers, versions, digests, slots and states.
//!
//! Pure values. This crate must never do I/O, read a clock, spawn, or know about async;
//! everything in it can be built from bytes in a test.

mod digest;
mod names;
mod plural;
mod size;
mod slot;
mod states;
mod text;
mod version;

pub use digest::{Digest, InfoHash, ParseHexError};
pub use names::{BranchName, ModelName, NameError, OperatorName, ProductName, TerminalName, TerminalRef};
pub use plural::plural;
pub use size::size;
pub use slot::{ParseSlotError, Slot};
pub use states::{ParseStateError, ReleaseState, TransitionError, UpdateState};
pub use text::{is_invisible, is_plain, printable};
pub use version::{Version, VersionError, VersionRange};
