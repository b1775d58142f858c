//! The operators' resources.

pub mod accounts;
pub mod assignments;
pub mod audit;
pub mod branches;
pub mod incidents;
pub mod kit;
pub mod releases;
pub mod session;
pub mod status;
pub mod terminals;
pub mod tokens;
pub mod uploads;
