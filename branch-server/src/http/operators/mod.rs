//! Handlers of the operators' listener.

pub mod identities;
pub mod kit;
pub mod status;
