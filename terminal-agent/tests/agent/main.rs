//! The agent with its ports as strict fakes: one module for each subject.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod branch;
mod decisions;
mod delivered;
mod failed_in;
mod formats;
mod helper;
mod identity;
mod image_write;
mod killed_in;
mod marks;
mod numbering;
mod packages;
mod peers;
mod plan;
mod recovery;
mod rolled_back;
mod transitions;
mod unjudged;
mod update;
