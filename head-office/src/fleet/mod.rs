//! Branches and terminals: [`reports`] taken in, [`views`] for screens, [`events`] for branches,
//! [`enrolment`] of branch servers, [`removal`].

mod branch_audits;
pub mod carried;
pub mod enrolment;
pub mod events;
pub mod holders;
pub mod removal;
pub mod report_error;
pub mod reports;
pub mod states;
pub mod views;
