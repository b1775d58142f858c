//! The operators' resources.

pub mod assignments;
pub mod branches;
pub mod incidents;
pub mod kit;
pub mod releases;
pub mod status;
pub mod terminals;
pub mod uploads;
