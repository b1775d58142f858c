//! The root helper: the one process that writes slots and boot state and restarts the machine. It trusts the agent, which
//! talks to the network, with nothing: it verifies metadata and plan with a trust store and floors of its own, hashes the
//! slot itself, and only then sets the trial. Nothing in a request names a device, a slot to be written, a number of attempts
//! or a command.
//!
//! `terminal-helper` is this behind a Unix socket ([`serve`]); every request may be repeated.

pub mod boot;
pub mod end;
pub mod protocol;
pub mod request;
pub mod serve;
pub mod server;
