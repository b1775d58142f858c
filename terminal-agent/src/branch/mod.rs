//! The branch server: enrolment, signed metadata and plans, reports.

pub mod certify;
pub mod facts;
pub mod fetch;
pub mod identity;
mod join_token;
pub mod metadata;
pub mod plans;
pub mod reports;
pub mod talk;
pub mod wanted;
