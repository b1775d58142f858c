//! The real programs: `terminal-agent` and `terminal-helper` as processes of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../support/mod.rs"]
mod support;

mod cli;
mod helper_end_trial;
mod helper_fuzz;
mod helper_process;
mod packages_cli;
