//! The branch servers' resources.

mod enrol;
mod events;
mod evidence;
pub mod reports;
mod sync;
