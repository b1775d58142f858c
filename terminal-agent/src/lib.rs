//! The terminal agent: fetches an update into the boot slot that does not run, tries it, confirms it or goes back.
//!
//! A turn: [`slot::observe`] looks and builds values, [`swarm::peers`] and [`slot::decide`] judge them and return what to
//! do, [`swarm::remedies`] and [`slot::act`] do it through [`ports`], [`model::state`] has the only table of moves, and
//! [`memory::journal`] makes them durable. All of it survives `kill -9` and power loss at any instant.
//!
//! What the agent must never do: write to the running slot; activate what head office did not order or the release keys
//! did not sign, whatever its branch server says; take a slot for the running one by anything but the kernel command line;
//! call an update done that was not read back and confirmed; act on a plan that does not name it; retry by itself a digest
//! that failed here; take silence for health.

pub mod adapters;
pub mod agent;
pub mod branch;
pub mod config;
pub mod error;
pub mod helper;
pub mod memory;
pub mod model;
pub mod packages;
pub mod ports;
pub mod slot;
pub mod swarm;
pub mod trust;
