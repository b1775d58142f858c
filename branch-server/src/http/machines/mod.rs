//! Handlers of the machines' listener.

pub mod artifacts;
pub mod enrol;
pub mod events;
pub mod metadata;
pub mod reports;
pub mod sync;
