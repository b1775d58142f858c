//! The terminal agent: fetches an update into the boot slot that does not run, tries it, confirms it or goes back.
//!
//! [`observe`] builds a value, [`decide`] turns it into one action, [`act`] performs that action through [`ports`],
//! [`state`] says what may follow what, [`journal`] makes it durable. All of it survives `kill -9` and power loss at
//! any instant.
//!
//! What the agent must never do: write to the running slot; activate what head office did not order or the release keys did
//! not sign, whatever its branch server says; believe that a slot runs from anything but the kernel
//! command line; call an update done that was not read back and confirmed; act on a plan that does not name it; try
//! a digest again by itself that failed here; take silence for health.

mod accepted;
pub mod act;
pub mod adapters;
pub mod agent;
mod believed;
mod certify;
pub mod config;
pub mod decide;
mod event_log;
pub mod evidence;
pub mod health;
pub mod helper;
pub mod identity;
pub mod journal;
mod metadata;
pub mod observe;
pub mod packages;
mod peers;
pub mod ports;
mod reports;
mod session;
pub mod state;
pub mod status;
mod talk;
pub mod wanted;

pub use accepted::AcceptedError;
pub use agent::{Agent, AgentError, run};
