//! The operators' resources.

mod assignments;
mod audit;
mod branches;
mod kit;
mod releases;
mod session;
mod status;
mod terminals;
mod tokens;
pub mod uploads;
mod uploads_end;
