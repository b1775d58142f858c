//! Artifacts: what the plan wants of them, what is here, and what that calls for.

pub mod action;
pub mod announce;
pub mod check;
pub mod checks;
pub mod describe;
pub mod descriptions;
pub mod failure;
pub mod library;
pub mod look;
pub mod model;
pub mod parts;
pub mod peers;
pub mod plan;
pub mod progress;
pub mod room;
pub mod room_report;
pub mod run;
pub mod store;
pub mod trouble;
pub mod watch;
