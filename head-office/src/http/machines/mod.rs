//! The branch servers' resources.

pub mod enrol;
pub mod events;
pub mod reports;
pub mod sync;
