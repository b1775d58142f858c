//! Keeping in step with head office: accept its plan, decide what that means for the artifacts here, do it.

pub mod accept;
pub mod action;
pub mod calls;
pub mod check;
pub mod describe;
pub mod descriptions;
pub mod failure;
pub mod peers;
pub mod plan;
pub mod progress;
pub mod room;
pub mod run;
