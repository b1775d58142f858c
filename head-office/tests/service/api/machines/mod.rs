//! The branch servers' resources.

mod branch_audits;
mod enrol;
mod events;
mod evidence;
mod numbering;
mod packages;
mod plans;
mod proofs;
pub mod reports;
mod sync;
